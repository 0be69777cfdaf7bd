"""Open and decode videos beside whatever else a run does: threads with a decoding process each.

This is the left end of the index wing. It knows files, chunks and frames, and nothing of models.
"""

from __future__ import annotations

import contextlib
import os
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from longvid.config import Config
from longvid.indexing.video_reader import Reader, open_video, sized_decoder
from longvid.types import Chunk, Failure, FrameBatch, Video

__all__ = ["DecodingThreads", "open_video", "sized_decoder"]


class _Stopped(Exception):
    """Raised inside a decoding thread when the run ends early."""


class _ByteQueue(queue.Queue[Any]):
    """A queue that is full by the bytes of the frames in it: segments differ a hundredfold."""

    def _init(self, maxsize: int) -> None:
        super()._init(maxsize)
        self._num_bytes = 0

    def _qsize(self) -> int:
        return self._num_bytes

    def _put(self, item: Any) -> None:
        self._num_bytes += _num_bytes(item)
        super()._put(item)

    def _get(self) -> Any:
        item = super()._get()
        self._num_bytes -= _num_bytes(item)
        return item


def _num_bytes(item: Any) -> int:
    """Return what a result weighs; at least 1, since a queue of weight 0 counts as empty."""
    batch = item[1] if isinstance(item, tuple) else None
    return 1 + (batch.data.nbytes if isinstance(batch, FrameBatch) else 0)


class DecodingThreads:
    """Threads with a decoding process each, whose results arrive in one bounded queue.

    The queue is what keeps memory flat: when the encoder falls behind, decoding waits.

    Args:
        config: Names the decoder, the number of threads and the size of the queue.

    Raises:
        ConfigError: The decoder cannot be used here.
    """

    def __init__(self, config: Config) -> None:
        self._results = _ByteQueue(config.run.prefetch_mb * 1_000_000)
        self._stop = threading.Event()
        self._local = threading.local()
        self.num_threads = config.run.decode_workers or os.cpu_count() or 1
        # Made here, not in the threads: what their decoder refuses is raised to the caller.
        self._readers = [Reader(config) for _ in range(self.num_threads)]
        self._unused = iter(self._readers)
        self._pool = ThreadPoolExecutor(self.num_threads, "decode", self._start_thread)

    def _start_thread(self) -> None:
        self._local.reader = next(self._unused)

    def __enter__(self) -> DecodingThreads:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for reader in self._readers:
            reader.close()
        self._pool.shutdown(cancel_futures=True)

    def submit_open(self, path: str) -> None:
        """Probe a file; gives one `(path, Video | Failure)`."""
        self._pool.submit(self._run, lambda: self._put((path, self._open(path))))

    def submit_decode(self, chunk: Chunk) -> None:
        """Decode a chunk; gives `(chunk, FrameBatch | Failure)` a segment, then `(chunk, None)`."""
        self._pool.submit(self._run, lambda: self._decode(chunk))

    def rest_until(self, other: Future[Any]) -> None:
        """Let one thread decode nothing until something else is done; not the only one.

        Args:
            other: What needs a processor.
        """
        if self.num_threads > 1:
            self._pool.submit(other.exception)

    def get(self) -> Any:
        """Wait for the next result; what a thread did not expect is raised here."""
        result = self._results.get()
        if isinstance(result, BaseException):
            raise result
        return result

    def _open(self, path: str) -> Video | Failure:
        found: Video | Failure = self._local.reader.open(path)
        return found

    def _decode(self, chunk: Chunk) -> None:
        for item in self._local.reader.decode(chunk):
            self._put((chunk, item))
        self._put((chunk, None))

    def _run(self, work: Callable[[], None]) -> None:
        try:
            work()
        except _Stopped:
            return
        except BaseException as error:  # noqa: BLE001  # raised again by get(), nothing is lost
            with contextlib.suppress(_Stopped):
                self._put(error)

    def _put(self, result: Any) -> None:
        while not self._stop.is_set():
            try:
                self._results.put(result, timeout=0.1)
                return
            except queue.Full:
                continue
        raise _Stopped
