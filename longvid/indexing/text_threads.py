"""Read the text of videos beside decoding and encoding: threads with a text reader each."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from longvid.config import Config
from longvid.indexing.text_reader import TextReader, TextResult, summed
from longvid.store import Store
from longvid.types import Failure, Video


class TextThreads:
    """Reads videos in the background. Without text sources it does nothing and has no threads.

    Args:
        config: Names the text sources.
        store: Holds the videos.
        again: Replace text that other settings, weights or versions have read.
    """

    def __init__(self, config: Config, store: Store, *, again: bool = False) -> None:
        self._store, self._again = store, again
        self._local = threading.local()
        self._readers: list[TextReader] = []
        self._futures: dict[str, Future[TextResult]] = {}
        self._pool: ThreadPoolExecutor | None = None
        if config.text_sources:
            TextReader(config).close()  # a package that is missing is said before anything is done
            num_threads = config.run.decode_workers or max(1, (os.cpu_count() or 1) // 2)
            self._pool = ThreadPoolExecutor(num_threads, "text", lambda: self._start(config))

    def __enter__(self) -> TextThreads:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
        for reader in self._readers:
            reader.close()

    def submit(self, video: Video) -> None:
        """Read a finished video, once however often it is named."""
        if self._pool is not None and video.video_id not in self._futures:
            self._futures[video.video_id] = self._pool.submit(self._read, video)

    def finish(
        self, on_result: Callable[[TextResult], None] | None = None
    ) -> tuple[list[Failure], str]:
        """Wait for all of them and put their failures on record.

        Args:
            on_result: Called in this thread with every result, in the order of submission.

        Returns:
            The failures, and a note for a person, or "".
        """
        results = []
        for future in self._futures.values():
            results.append(future.result())
            if on_result is not None:
                on_result(results[-1])
        return summed(self._store, results)

    def _start(self, config: Config) -> None:
        self._local.reader = TextReader(config)
        self._readers.append(self._local.reader)

    def _read(self, video: Video) -> TextResult:
        reader: TextReader = self._local.reader
        return reader.read(self._store, video, again=self._again)
