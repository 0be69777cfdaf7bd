"""Messages between a decoder and its child process: JSON with file descriptors beside it.

The first message of the parent (`process.py`) names the engine, its options and its limits; the
child (`child.py`) answers `ready`, or `error`. Then one request at a time, by its `kind`:

    parent         child
    probe      →   facts             what a file says of itself
    groups     →   starts            when its groups of pictures begin
    text       →   lines             its subtitles
    decode     →   segment | gap …   a segment's frames are in a file, whose descriptor travels
    read       →                     the parent has read a segment, its slot is free

Every answer ends with `end`, or with `error`: a kind of failure and a sentence. While the child
works it sends `tick`, which keeps the parent from killing it.
"""

from __future__ import annotations

import array
import errno
import json
import os
import socket
import struct
import time
from collections.abc import Callable
from typing import Any, TypeVar

Result = TypeVar("Result")

_MAX_WAIT_SECONDS, _PAUSE_SECONDS = 60.0, 0.02
_HEADER = struct.Struct("!I")
_MOST_BYTES = 64 * 1024 * 1024


class ChannelClosed(Exception):
    """The other side is gone."""


def when_descriptors_are_free(work: Callable[[], Result]) -> Result:
    """Do something that needs a file descriptor, as soon as this process may have one more.

    Frames that wait for the encoder hold one each; it takes them one after the other.

    Raises:
        OSError: Anything else, or no descriptor was free for a minute.
    """
    until = time.monotonic() + _MAX_WAIT_SECONDS
    while True:
        try:
            return work()
        except OSError as error:
            if error.errno not in (errno.EMFILE, errno.ENFILE) or time.monotonic() > until:
                raise
            time.sleep(_PAUSE_SECONDS)


class Channel:
    """One end of a Unix socket pair.

    Args:
        end: A connected stream socket; the channel owns it from now on.
    """

    def __init__(self, end: socket.socket) -> None:
        self._socket = end

    def send(self, message: dict[str, Any], descriptor: int | None = None) -> None:
        """Send one message, with a copy of a file descriptor if one is given.

        Raises:
            ChannelClosed: Nobody is there to read it.
        """
        body = json.dumps(message).encode()
        ancillary = []
        if descriptor is not None:
            rights = array.array("i", [descriptor])
            ancillary.append((socket.SOL_SOCKET, socket.SCM_RIGHTS, rights))
        try:
            # Four bytes are never split: the descriptor travels with the header.
            self._socket.sendmsg([_HEADER.pack(len(body))], ancillary)
            self._socket.sendall(body)
        except (BrokenPipeError, ConnectionResetError) as error:
            raise ChannelClosed from error

    def receive(self, timeout_seconds: float | None = None) -> tuple[dict[str, Any], int | None]:
        """Wait for one message and the descriptor that came with it.

        Raises:
            ChannelClosed: The other side is gone.
            TimeoutError: Nothing came in time; the channel is of no use after that.
        """
        self._socket.settimeout(timeout_seconds)
        try:
            # A descriptor for which this process has no room is lost for good: wait for the
            # message, then for room, and only then take it.
            self._socket.recv(1, socket.MSG_PEEK)
            when_descriptors_are_free(lambda: os.close(os.dup(self._socket.fileno())))
            header, descriptors, _, _ = socket.recv_fds(self._socket, _HEADER.size, 1)
            header += self._exactly(_HEADER.size - len(header)) if header else b""
            if not header:
                raise ChannelClosed
            (length,) = _HEADER.unpack(header)
            if length > _MOST_BYTES:
                raise ChannelClosed
            message: dict[str, Any] = json.loads(self._exactly(length))
        except ConnectionResetError as error:
            raise ChannelClosed from error
        return message, descriptors[0] if descriptors else None

    def _exactly(self, count: int) -> bytes:
        parts = bytearray()
        while len(parts) < count:
            part = self._socket.recv(count - len(parts))
            if not part:
                raise ChannelClosed
            parts += part
        return bytes(parts)

    def close(self) -> None:
        self._socket.close()
