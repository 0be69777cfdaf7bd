"""Engines that misbehave, to be run in a child process."""

from __future__ import annotations

import ctypes
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from longvid.decode.engine import DecodedSegment
from longvid.errors import VideoError
from longvid.types import SegmentPlan, Video

Allocate = Callable[[tuple[int, ...]], np.ndarray[Any, Any]]


class Engine:
    """Gives one grey frame a wanted time; `options["misdeed"]` says what goes wrong.

    The misdeed happens at the segment whose index is `options["at"]`, or when probed if that is -1.
    """

    def __init__(self, options: dict[str, Any], progress: Callable[[], None]) -> None:
        self._options, self._progress = options, progress
        if options["misdeed"] == "not_start":
            raise VideoError("no engine today.", kind="unsupported", path="", stage="probe")

    def probe(self, path: str, video_id: str) -> Video:
        if self._options.get("at", -1) == -1:
            self._misbehave()
        return Video(path, video_id, 0.0, 10.0, 1.0, 10, 4, 6)

    def decode(
        self, path: str, segments: Sequence[SegmentPlan], allocate: Allocate
    ) -> Iterator[DecodedSegment]:
        for segment in segments:
            if segment.segment_index == self._options.get("at"):
                self._misbehave()
            if "count" in self._options:
                with Path(self._options["count"]).open("a") as file:
                    file.write("x")
            times = segment.sample_seconds
            data = allocate((len(times), 3, 4, 6))
            data[:] = segment.segment_index
            yield DecodedSegment(
                segment.segment_index, data, times, (0.5,) * len(times), tuple(range(len(times)))
            )

    def _misbehave(self) -> None:
        getattr(self, f"_{self._options['misdeed']}")()

    def _none(self) -> None:
        return

    def _sleep(self) -> None:
        time.sleep(3600)

    def _spin_without_releasing_the_interpreter(self) -> None:
        ctypes.PyDLL(None).sleep(3600)

    def _work_for_ever(self) -> None:
        while True:
            time.sleep(0.01)
            self._progress()

    def _allocate_without_end(self) -> None:
        held = []
        while True:
            held.append(np.ones(1 << 24, np.uint8))
            self._progress()

    def _abort(self) -> None:
        print("a last word", file=sys.stderr, flush=True)
        os.abort()

    def _be_killed(self) -> None:
        os.kill(os.getpid(), 9)

    def _look_around(self) -> None:
        found: dict[str, Any] = {"environment": dict(os.environ)}
        for name, act in (
            ("socket", socket.socket),
            ("program", lambda: subprocess.run(["true"], check=False)),
        ):
            try:
                act()
            except OSError as error:
                found[name] = error.strerror
        raise VideoError(json.dumps(found), kind="unsupported", path="")

    def _have_a_bug(self) -> None:
        raise ZeroDivisionError("of the engine's own making")

    def close(self) -> None:
        return
