"""List ahead of the work: a run knows early how many videos it has and how large they are."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from queue import SimpleQueue

from longvid.remote_files import file_bytes, is_remote


class ListedPaths:
    """Paths in their order, listed by a thread of their own.

    Only names are held, as whoever lists holds them anyway.

    Attributes:
        num_listed: Paths so far.
        num_bytes: Size of their files; a remote file counts nothing, which would take a request.
        is_complete: Whether that is all.
    """

    def __init__(self, paths: Iterable[str]) -> None:
        self.num_listed = 0
        self.num_bytes = 0
        self.is_complete = False
        self._queue: SimpleQueue[str | BaseException | None] = SimpleQueue()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._list, args=(paths,), name="list", daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[str]:
        """Yield the paths, waiting for the next one.

        Raises:
            ConfigError: Something named cannot be listed.
        """
        while (path := self._queue.get()) is not None:
            if isinstance(path, BaseException):
                raise path
            yield path

    def close(self) -> None:
        self._stop.set()
        self._thread.join()

    def _list(self, paths: Iterable[str]) -> None:
        try:
            for path in paths:
                if self._stop.is_set():
                    return
                self.num_bytes += 0 if is_remote(path) else file_bytes(path)
                self.num_listed += 1
                self._queue.put(path)
            self.is_complete = True
        except BaseException as error:  # noqa: BLE001  # raised to whoever reads the paths
            self._queue.put(error)
        finally:
            self._queue.put(None)
