"""The child process: one engine, one request at a time, frames through shared memory.

It is started by `process.py`, imports neither torch nor the carriers, and dies with its parent. Its
own limits on memory, processor time and open files are the second line behind the parent's
deadline: they hold even when the parent hangs. It has no keys or tokens in its environment, and no
network (`sandbox.py`).
"""

from __future__ import annotations

import base64
import errno
import fcntl
import gc
import importlib
import math
import mmap
import os
import resource
import signal
import socket
import sys
import tempfile
import time
import traceback
from dataclasses import asdict
from typing import Any

import numpy as np

from longvid.decode.channel import Channel, ChannelClosed
from longvid.decode.engine import DecodedSegment, Engine, FrameArray, plan_from_message
from longvid.decode.sandbox import give_up_privileges
from longvid.errors import VideoError
from longvid.types import SegmentPlan

_TICK_SECONDS = 0.5
_OPEN_FILES = 64


def main(socket_descriptor: int, lifeline: int) -> None:
    """Serve one parent until it hangs up.

    Args:
        socket_descriptor: This process's end of the socket pair.
        lifeline: Read end of a pipe that only the parent can write to, and never does.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent to answer
    _die_with_parent(lifeline)
    channel = Channel(socket.socket(fileno=socket_descriptor))
    try:
        server = _Server(channel)
        server.start()
        server.run()
    except VideoError as error:
        channel.send({"kind": "error", "failure_kind": error.kind, "sentence": str(error)})
    except ChannelClosed:
        return


def _die_with_parent(lifeline: int) -> None:
    """Let the kernel end this process when the parent's end of the pipe closes.

    A thread that waits for it could not act while native code holds the interpreter.
    """
    if hasattr(fcntl, "F_SETSIG"):
        fcntl.fcntl(lifeline, fcntl.F_SETSIG, signal.SIGKILL)
    signal.signal(signal.SIGIO, signal.SIG_DFL)
    fcntl.fcntl(lifeline, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | os.O_ASYNC)


class _Server:
    """Answers requests with the engine that the first message names."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._last_tick = time.monotonic()

    def start(self) -> None:
        """Read the set-up, make the engine, and only then set the limits."""
        setup, _ = self._channel.receive()
        self._slots: int = setup["slots"]
        self._deadline_seconds: float = setup["deadline_seconds"]
        module, _, name = setup["engine"].partition(":")
        factory = getattr(importlib.import_module(module), name)
        self._engine: Engine = factory(setup["options"], self._tick)
        give_up_privileges()  # after the engine's libraries are loaded: that may start programs
        _limit_memory(setup["memory_bytes"])
        gc.freeze()  # what start-up made lives for ever; collecting the rest is then quick
        self._channel.send({"kind": "ready"})

    def run(self) -> None:
        """Answer requests for ever."""
        while True:
            request, _ = self._channel.receive()
            _limit_processor(self._deadline_seconds)
            try:
                self._answer(request)
            except VideoError as error:
                self._fail(error.kind, str(error))
            except MemoryError:
                self._fail("out-of-memory", "")
            except ChannelClosed:
                raise
            except Exception as error:  # noqa: BLE001  # the parent must learn what it was
                # What PyAV or this program did not foresee: the video fails with its own sentence.
                # The engine's state is unknown now; the parent ends this process.
                traceback.print_exc()
                self._fail("decoder-error", f"the decoder raised {_described_error(error)}")
            else:
                self._channel.send({"kind": "end"})
            gc.collect()  # pictures whose side data were read hang in cycles, megabytes each

    def _fail(self, kind: str, sentence: str) -> None:
        self._channel.send({"kind": "error", "failure_kind": kind, "sentence": sentence})

    def _answer(self, request: dict[str, Any]) -> None:
        if request["kind"] == "probe":
            del request["kind"]
            facts = self._engine.probe(**request)
            self._channel.send({"kind": "facts", **asdict(facts)})
            return
        if request["kind"] == "groups":
            starts = self._engine.group_starts(request["path"])
            self._channel.send({"kind": "starts", "seconds": starts})
            return
        if request["kind"] == "text":
            # Imported here: most videos have no text, and it takes a while.
            from longvid.decode.subtitle_engine import read_text

            lines = read_text(request["path"], self._tick)
            self._channel.send({"kind": "lines", "lines": lines})
            return
        segments = [plan_from_message(segment) for segment in request["segments"]]
        memory = _SharedFrames()
        try:
            self._stream(request["path"], segments, memory)
        finally:
            memory.close()

    def _stream(self, path: str, segments: list[SegmentPlan], memory: _SharedFrames) -> None:
        unread = 0
        for item in self._engine.decode(path, segments, memory.allocate):
            if not isinstance(item, DecodedSegment):
                self._channel.send({"kind": "gap", **_prefixed(asdict(item))})
                continue
            while unread >= self._slots:
                self._channel.receive()  # an acknowledgement: a slot is free
                unread -= 1
            descriptor = memory.take(item.data)
            try:
                self._channel.send(_described(item), descriptor)
            finally:
                os.close(descriptor)
            unread += 1
            # Dropped before the engine goes on, or two segments would be held at once.
            del item
        for _ in range(unread):
            self._channel.receive()

    def _tick(self) -> None:
        now = time.monotonic()
        if now - self._last_tick >= _TICK_SECONDS:
            self._last_tick = now
            self._channel.send({"kind": "tick"})


def _described_error(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def _prefixed(gap: dict[str, Any]) -> dict[str, Any]:
    gap["failure_kind"] = gap.pop("kind")
    return gap


def _described(segment: DecodedSegment) -> dict[str, Any]:
    return {
        "kind": "segment",
        "segment_index": segment.segment_index,
        "shape": segment.data.shape,
        "pts_seconds": segment.pts_seconds,
        "duration_seconds": segment.duration_seconds,
        "rows": segment.rows,
        "pts_error_seconds": segment.pts_error_seconds,
        "pictures": [
            {**asdict(picture), "jpeg": base64.b64encode(picture.jpeg).decode()}
            for picture in segment.pictures
        ],
    }


class _SharedFrames:
    """Arrays in anonymous shared files: they have no name to leak and die with the last reader."""

    def __init__(self) -> None:
        self._descriptors: dict[int, int] = {}

    def allocate(self, shape: tuple[int, ...]) -> FrameArray:
        """Return a writable array whose memory another process can map."""
        num_bytes = math.prod(shape)
        descriptor = _anonymous_file()
        _set_size(descriptor, max(1, num_bytes))
        memory = mmap.mmap(descriptor, max(1, num_bytes))
        frames: FrameArray = np.frombuffer(memory, np.uint8, num_bytes).reshape(shape)
        self._descriptors[frames.ctypes.data] = descriptor
        return frames

    def take(self, frames: FrameArray) -> int:
        """Hand over the file behind an array, or behind its first rows."""
        return self._descriptors.pop(frames.ctypes.data)

    def close(self) -> None:
        """Forget the files that nobody took."""
        for descriptor in self._descriptors.values():
            os.close(descriptor)
        self._descriptors.clear()


def _set_size(descriptor: int, num_bytes: int) -> None:
    """Make an anonymous file so large, or say which limit forbids it.

    Raises:
        VideoError: Files of this process may not be so large.
    """
    try:
        os.ftruncate(descriptor, num_bytes)
    except OSError as error:
        os.close(descriptor)
        if error.errno != errno.EFBIG:
            raise
        raise VideoError(
            f"the frames of a segment take {num_bytes / 1e3:.0f} kB, more than a file may have "
            "here (ulimit -f); raise the limit",
            kind="out-of-memory",
            path="",
            stage="decode",
        ) from error


def _anonymous_file() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("longvid-frames", os.MFD_CLOEXEC)
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def _limit_memory(memory_bytes: int) -> None:
    """Allow so much address space beyond what interpreter and libraries already map."""
    mapped = 0
    if sys.platform == "linux":
        with open("/proc/self/statm") as file:
            mapped = int(file.read().split()[0]) * resource.getpagesize()
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    wanted = mapped + memory_bytes
    resource.setrlimit(resource.RLIMIT_AS, (wanted if hard < 0 else min(wanted, hard), hard))
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(_OPEN_FILES, hard), hard))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _limit_processor(deadline_seconds: float) -> None:
    """Allow so much processor time for the next request. Unread time is not counted, so this is
    looser than the parent's deadline and bites only when the parent cannot."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    wanted = math.ceil(usage.ru_utime + usage.ru_stime + 2 * deadline_seconds) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (wanted if hard < 0 else min(wanted, hard), hard))
