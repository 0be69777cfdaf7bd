"""The queue between decoding and encoding: bounded, so that memory stays flat."""

from __future__ import annotations

import resource
import threading
from collections import deque

from longvid.indexing.messages import ChunkDone, DecodedItem
from longvid.types import FrameBatch

#: File descriptors that a process needs beside those of waiting frames, and the fewest batches.
_OTHER_DESCRIPTORS, _MIN_BATCHES = 128, 8


class QueueClosed(Exception):
    """The queue was closed: nobody will read what is put, and nothing more comes."""


def max_batches() -> int:
    """Return how many frame batches may wait: each may hold a file descriptor."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        soft = 1 << 20
    return max(_MIN_BATCHES, (soft - _OTHER_DESCRIPTORS) // 2)


class FrameQueue:
    """Decoded segments in the order in which they come, from several threads to one.

    Segments differ a hundredfold in size, so the bound is on bytes. It may be exceeded by one
    batch: otherwise a batch larger than the bound would never pass.
    """

    def __init__(self, max_bytes: int, max_batches: int) -> None:
        self._max_bytes, self._max_batches = max_bytes, max_batches
        self._messages: deque[DecodedItem | ChunkDone] = deque()
        self._num_bytes = self._num_batches = 0
        self._changed = threading.Condition()
        self._closed = False
        self._error: BaseException | None = None

    def put(self, message: DecodedItem | ChunkDone) -> None:
        """Add a message as soon as there is room.

        Raises:
            QueueClosed: Nobody reads any more.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._closed or not self._full())
            if self._closed:
                raise QueueClosed
            self._messages.append(message)
            self._count(message, 1)
            self._changed.notify_all()

    def get(self) -> DecodedItem | ChunkDone:
        """Return the next message, waiting for it.

        Raises:
            QueueClosed: The queue was closed.
            BaseException: What the queue was closed with.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._messages)
            if self._error is not None:
                raise self._error
            if self._closed:
                raise QueueClosed
            message = self._messages.popleft()
            self._count(message, -1)
            self._changed.notify_all()
            return message

    def close(self, error: BaseException | None = None) -> None:
        """End all waiting."""
        with self._changed:
            self._closed = True
            self._error = self._error or error
            self._messages.clear()
            self._changed.notify_all()

    def _full(self) -> bool:
        return self._num_bytes >= self._max_bytes or self._num_batches >= self._max_batches

    def _count(self, message: DecodedItem | ChunkDone, sign: int) -> None:
        if isinstance(message, DecodedItem) and isinstance(message.item, FrameBatch):
            self._num_bytes += sign * message.item.data.nbytes
            self._num_batches += sign
