"""Threads that probe and decode videos, each with a decoding process of its own.

This is the left end of the index side. It knows files, chunks and frames, and no models.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from longvid.config import Config
from longvid.indexing.frame_queue import FrameQueue, QueueClosed, max_batches
from longvid.indexing.messages import ChunkDone, DecodedItem, Opened
from longvid.indexing.video_reader import Reader
from longvid.types import Chunk

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


class DecodeWorkers:
    """Threads with a decoding process each, whose frames arrive in one bounded queue.

    Args:
        config: Names the decoder and the size of the queue.
        num_threads: None takes `run.decode_workers`, or a thread for each processor.

    Raises:
        ConfigError: The decoder cannot be used here.
    """

    def __init__(self, config: Config, num_threads: int | None = None) -> None:
        self.num_threads = num_threads or config.run.decode_workers or os.cpu_count() or 1
        self._queue = FrameQueue(config.run.prefetch_mb * 1_000_000, max_batches())
        # Made here, not in the threads: what their decoder refuses is raised to the caller.
        self._readers = [Reader(config) for _ in range(self.num_threads)]
        self._unused = iter(self._readers)
        self._local = threading.local()
        self._pool = ThreadPoolExecutor(self.num_threads, "decode", self._start_thread)

    def _start_thread(self) -> None:
        self._local.reader = next(self._unused)

    def __enter__(self) -> DecodeWorkers:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._queue.close()
        for reader in self._readers:
            reader.close()
        self._pool.shutdown(cancel_futures=True)

    def open(self, path: str) -> Future[Opened]:
        """Probe a file."""
        return self._pool.submit(self._open, path)

    def decode(self, chunk: Chunk) -> None:
        """Decode a chunk: `get` returns a DecodedItem for each segment, then a ChunkDone."""
        self._submit(self._decode, chunk)

    def rest_until(self, other: Future[None]) -> None:
        """Keep one thread idle until something else is done, unless it is the only thread."""
        if self.num_threads > 1:
            self._submit(other.exception)

    def get(self) -> DecodedItem | ChunkDone:
        """Wait for the next message of `decode`.

        Raises:
            QueueClosed: There will be none.
            BaseException: What a thread did not expect.
        """
        return self._queue.get()

    def cancel(self, error: BaseException) -> None:
        """Stop decoding because nobody can take the frames; `get` raises the error."""
        self._queue.close(error)

    def _open(self, path: str) -> Opened:
        opened: Opened = self._local.reader.open(path)
        return opened

    def _decode(self, chunk: Chunk) -> None:
        busy_seconds = 0.0
        started = time.perf_counter()
        for item in self._local.reader.decode(chunk):
            busy_seconds += time.perf_counter() - started
            self._queue.put(DecodedItem(chunk, item))
            del item  # frames may be large, and the next ones are being decoded
            started = time.perf_counter()
        busy_seconds += time.perf_counter() - started
        self._queue.put(ChunkDone(chunk, busy_seconds))

    def _submit(
        self, work: Callable[_Arguments, object], *args: _Arguments.args, **named: _Arguments.kwargs
    ) -> None:
        self._pool.submit(work, *args, **named).add_done_callback(self._report)

    def _report(self, task: Future[object]) -> None:
        """Hand on what a thread did not expect."""
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, QueueClosed):
            self._queue.close(error)
