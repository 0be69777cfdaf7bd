"""Frames of one video, beside other decoders: wall time, processor time, memory and time error.

Every subject runs in a process of its own, which has done its imports (and started its children)
before the clock starts; opening the file is timed. All give RGB at 384x216. The order of subjects
is reversed from one repetition to the next. Times are compared with those of the packets.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.measurements import Row, median_row
from benchmarks.speed import keep
from benchmarks.speed.decode_footage import make_footage
from longvid.errors import ConfigError

_SEED = 7


def _one_a_second(start: float, duration: float) -> list[float]:
    return [start + second for second in range(max(1, int(duration)))]


def _uniform(start: float, duration: float) -> list[float]:
    return [start + (i + 0.5) * duration / 64 for i in range(64)]


def _random(start: float, duration: float) -> list[float]:
    chosen = random.Random(_SEED)
    return sorted(start + chosen.random() * duration for _ in range(32))


#: Name of a task -> its wanted times, and whether keyframes may stand in for them.
TASKS: dict[str, tuple[Callable[[float, float], list[float]], bool]] = {
    "1 fps throughout": (_one_a_second, False),
    "64 uniform": (_uniform, False),
    "32 random": (_random, False),
    "1 fps from keyframes only": (_one_a_second, True),
}

_EXACT = ("longvid", "longvid-1-child", "longvid-1-inside", "pyav-all", "opencv", "decord")
_OPTIONAL = ("torchcodec", "ffmpeg")
_APPROXIMATE = ("longvid-no-loop-filter", "longvid-reference")
_KEYFRAMES = ("longvid-keyframe", "pyav-keyframe", "decord-keyframe", "ffmpeg-keyframe")

_METRICS = (
    ("wall", "s"),
    ("cpu", "s"),
    ("rss a process", "MB"),
    ("rss in all", "MB"),
    ("frames", ""),
    ("max pts error", "s"),
    ("psnr", "dB"),
    ("start", "s"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--video", required=True, metavar="FILE", help="the video to decode")
    parser.add_argument(
        "--make", type=float, metavar="SECONDS", help="make FILE first: 1280x720, 30 fps, H.264"
    )
    parser.add_argument("--clips", metavar="FOLDER", help="make it of these clips, not a pattern")
    parser.add_argument("--repeats", type=int, default=2, metavar="N", help="2 shows both orders")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, metavar="N")
    parser.add_argument("--subjects", default="", metavar="A,B", help="only these")
    parser.add_argument("--tasks", default="", metavar="A,B", help="only these")


def run(options: argparse.Namespace) -> list[Row]:
    if options.make:
        make_footage(options.video, options.make, options.clips)
    if not Path(options.video).is_file():
        raise ConfigError(f"There is no video {options.video}; --make SECONDS makes one.")
    truth = _true_times(options.video)
    rows: list[Row] = []
    for task, (times, keyframes) in TASKS.items():
        if options.tasks and task not in options.tasks.split(","):
            continue
        wanted = times(truth[0], truth[-1] - truth[0])
        subjects = [*_KEYFRAMES] if keyframes else [*_EXACT, *_OPTIONAL, *_APPROXIMATE]
        if task != "1 fps throughout" and "ffmpeg" in subjects:
            subjects.remove("ffmpeg")  # its fps filter knows no other grid
        if options.subjects:
            subjects = [name for name in subjects if name in options.subjects.split(",")]
        measured: list[Row] = []
        for measured in _measure(task, subjects, wanted, truth, options):
            keep(options, [*rows, *measured])
        rows += measured
    return rows


def _measure(
    task: str,
    subjects: Sequence[str],
    wanted: list[float],
    truth: list[float],
    options: argparse.Namespace,
) -> Iterator[list[Row]]:
    """Yield the rows of a task after each measurement, and print a line for it."""
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in subjects}
    for repeat in range(options.repeats):
        for name in subjects if repeat % 2 == 0 else reversed(subjects):
            result = _in_own_process(name, wanted, truth, options)
            if result is not None:
                found[name].append(result)
                print(
                    f"{task}, {name}, {repeat + 1} of {options.repeats}: "
                    f"{result['wall']:.3g} s, {result['cpu']:.3g} s of processors",
                    flush=True,
                )
            yield _rows(task, found)


def _rows(task: str, found: dict[str, list[dict[str, Any]]]) -> list[Row]:
    rows = []
    for name, results in found.items():
        for metric, unit in _METRICS:
            values = [result[metric] for result in results if result.get(metric) is not None]
            if values:
                rows.append(median_row(task, name, metric, values, unit))
    return rows


def _in_own_process(
    name: str, wanted: list[float], truth: list[float], options: argparse.Namespace
) -> dict[str, Any] | None:
    """Run one subject; None if it cannot run here, which it says on stderr."""
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        order = {
            "subject": name,
            "video": options.video,
            "wanted": wanted,
            "truth": truth,
            "workers": options.workers,
        }
        json.dump(order, file)
        file.flush()
        command = [sys.executable, "-m", "benchmarks.speed.decode_subjects", file.name]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        reason = (result.stderr.strip().splitlines() or ["no reason given"])[-1]
        print(f"{name}: not measured: {reason}", file=sys.stderr)
        return None
    measured: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    return measured


def _true_times(path: str) -> list[float]:
    """Return the presentation time of every frame, read from the packets."""
    import av

    with av.open(path, metadata_errors="ignore") as container:
        stream = container.streams.best("video")
        if stream is None:
            raise ConfigError(f"{path} has no video stream.")
        return sorted(
            float(packet.pts * packet.time_base)
            for packet in container.demux(stream)
            if packet.pts is not None and not packet.is_discard
        )
