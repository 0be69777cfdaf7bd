"""The parent's side of the child process: start it, ask it, and kill it when it is late.

Nothing here knows what a video is. A child that hangs, crashes or asks for too much memory becomes
a `ChildFailure` that says which of the three it was.
"""

from __future__ import annotations

import json
import mmap
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

from longvid.decode.channel import Channel, ChannelClosed, when_descriptors_are_free
from longvid.decode.sandbox import child_environment

_START_SECONDS = 60.0
_LAST_WORDS_SECONDS = 5.0
_STDERR_BYTES = 4096
_STDERR_LINES = 8

# Isolated from the working directory and the environment: it must import the same packages as the
# parent, and nothing that merely lies next to a video.
_BOOT = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from longvid.decode.child import main; main(int(sys.argv[2]), int(sys.argv[3]))"
)


@dataclass(frozen=True, slots=True)
class Limits:
    """What a child may use.

    Args:
        deadline_seconds: For one request, counted while the parent waits.
        stall_seconds: Without any sign of progress.
        memory_bytes: Address space beyond that of the freshly started child.
        slots: Segments that may be decoded ahead of the reader.
    """

    deadline_seconds: float
    stall_seconds: float
    memory_bytes: int
    slots: int = 2


class ChildFailure(Exception):
    """The child did not answer a request.

    Args:
        kind: "decode-timeout", "out-of-memory" or "decoder-crash", or what the engine said.
        sentence: What happened, for a person.
        stderr: The last lines that the child printed.
    """

    def __init__(self, kind: str, sentence: str, stderr: str = "") -> None:
        super().__init__(sentence)
        self.kind = kind
        self.stderr = stderr


class ChildProcess:
    """A process with one engine, used for many requests, one at a time.

    Args:
        engine: "module:factory" of the engine, importable by the child.
        options: Its options, plain data.
        limits: What it may use.

    Raises:
        ChildFailure: It did not start.
    """

    def __init__(self, engine: str, options: dict[str, Any], limits: Limits) -> None:
        self._limits = limits
        self._stderr: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  # close() closes it
        ours, theirs = socket.socketpair()
        lifeline_read, self._lifeline = os.pipe()
        try:
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    *("-I", "-c", _BOOT),
                    json.dumps(_search_path()),
                    str(theirs.fileno()),
                    str(lifeline_read),
                ],
                stdin=subprocess.DEVNULL,
                stdout=self._stderr,
                stderr=self._stderr,
                pass_fds=(theirs.fileno(), lifeline_read),
                env=child_environment(),
            )
        finally:
            theirs.close()
            os.close(lifeline_read)
        self._channel = Channel(ours)
        setup = {
            "engine": engine,
            "options": options,
            "memory_bytes": limits.memory_bytes,
            "deadline_seconds": limits.deadline_seconds,
            "slots": limits.slots,
        }
        try:
            self._send(setup)
            message, _ = self._wait(_START_SECONDS, _START_SECONDS)
            if message["kind"] == "error":
                raise ChildFailure(message["failure_kind"], message["sentence"])
        except BaseException:
            self.close()
            raise

    def __del__(self) -> None:
        if hasattr(self, "_channel"):
            self.close()

    @property
    def pid(self) -> int:
        return self._process.pid

    def ask(self, request: dict[str, Any]) -> Iterator[tuple[dict[str, Any], mmap.mmap | None]]:
        """Yield the child's messages up to the end of its answer, with the frames they carry.

        A segment's slot is freed when the next message is asked for. Leaving early kills the
        child, which may be anywhere inside a decoder.

        Raises:
            ChildFailure: The child was late, died, or its engine gave up.
        """
        self._stderr.seek(0)
        self._stderr.truncate()
        finished = False
        left = self._limits.deadline_seconds
        try:
            self._send(request)
            while True:
                before = time.monotonic()
                message, memory = self._wait(left, min(left, self._limits.stall_seconds))
                left -= time.monotonic() - before
                if message["kind"] == "end":
                    finished = True
                    return
                if message["kind"] == "error":
                    kind = message["failure_kind"]
                    # What these left behind is unknown: such a child is not reused.
                    finished = kind not in ("out-of-memory", "decoder-error")
                    stderr = self._tail() if kind == "decoder-error" else ""
                    raise ChildFailure(kind, message["sentence"], stderr)
                if message["kind"] == "tick":
                    continue
                yield message, memory
                if memory is not None:
                    del memory  # the reader may have dropped the frames by now
                    self._send({"kind": "read"})
        finally:
            if not finished:
                self.kill()

    def _send(self, message: dict[str, Any]) -> None:
        try:
            self._channel.send(message)
        except ChannelClosed:
            raise self._post_mortem() from None

    def _wait(
        self, left_seconds: float, timeout_seconds: float
    ) -> tuple[dict[str, Any], mmap.mmap | None]:
        try:
            message, descriptor = self._channel.receive(max(timeout_seconds, 0.001))
        except TimeoutError:
            self.kill()
            stalled = timeout_seconds < left_seconds
            limit = self._limits.stall_seconds if stalled else self._limits.deadline_seconds
            what = "showed no progress for" if stalled else "did not finish within"
            raise ChildFailure(
                "decode-timeout", f"the decoder {what} {limit:g} s and was stopped", self._tail()
            ) from None
        except (ChannelClosed, OSError):
            raise self._post_mortem() from None
        if descriptor is None:
            return message, None
        try:
            # The mapping holds a descriptor of its own.
            return message, when_descriptors_are_free(partial(mmap.mmap, descriptor, 0))
        finally:
            os.close(descriptor)

    def _post_mortem(self) -> ChildFailure:
        """Find out what a dead child died of."""
        try:
            # It hung up by itself; its own cause of death must not be painted over.
            status = self._process.wait(_LAST_WORDS_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            status = self._process.wait()
        tail = self._tail()
        if any(word in tail for word in ("MemoryError", "bad_alloc", "Cannot allocate memory")):
            return ChildFailure(
                "out-of-memory", "the decoder ran out of the memory it may use", tail
            )
        if status == -signal.SIGXCPU:
            return ChildFailure("decode-timeout", "the decoder used up its processor time", tail)
        if status == -signal.SIGKILL:
            return ChildFailure(
                "out-of-memory", "the system killed the decoder, most likely for its memory", tail
            )
        how = f"signal {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"
        return ChildFailure("decoder-crash", f"the decoder died with {how}", tail)

    def _tail(self) -> str:
        size = self._stderr.seek(0, os.SEEK_END)
        self._stderr.seek(max(0, size - _STDERR_BYTES))
        lines = self._stderr.read().decode(errors="replace").splitlines()
        return "\n".join(lines[-_STDERR_LINES:])

    @property
    def alive(self) -> bool:
        """Whether the child can be asked again."""
        return self._process.poll() is None

    def kill(self) -> None:
        """End the child at once and wait for it; any thread may call this."""
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        """End the child and release everything that belongs to it."""
        self.kill()
        self._channel.close()
        self._stderr.close()
        if self._lifeline >= 0:
            os.close(self._lifeline)
            self._lifeline = -1


def _search_path() -> list[str]:
    """Return where the parent imports from, longvid's own place first."""
    home = str(Path(__file__).parents[2])
    return [home, *(entry or os.getcwd() for entry in sys.path)]
