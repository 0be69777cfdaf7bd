"""Time `longvid index` beside its two halves, and watch its memory as the video grows.

Decoding and encoding work side by side, so the whole should take little more than the slower half.
The halves run with the same processes and threads as the whole does. Every clock starts in a fresh
process that has imported longvid: what a half needs before its first frame is its own.
"""

from __future__ import annotations

import argparse
import multiprocessing
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.measurements import Row, in_turns, median_row
from benchmarks.speed.footage import CLIP, loop_clip
from benchmarks.speed.processes import tree_rss_bytes
from benchmarks.speed.runners import compare_runners
from longvid.config import Config, load_config, torch_device
from longvid.indexing.decode_workers import DecodeWorkers
from longvid.indexing.ledger import open_store
from longvid.indexing.local_runner import run_local
from longvid.indexing.messages import ChunkDone, DecodedItem
from longvid.indexing.segment_pipeline import SegmentPipeline, torch_threads
from longvid.sample import plan_chunks
from longvid.types import Failure, FrameBatch, Video

# With a core for each half the ratio shows whether they overlap. With a decoding process a core
# both halves draw on the same cores, and the whole cannot be faster than the sum of their work.
_ARRANGEMENTS: dict[str, list[str]] = {
    "a core for each half": ["run.decode_workers=1"],
    "a decoding process a core": [],
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--video", metavar="FILE", help="default: a clip of the tests, repeated")
    parser.add_argument("--minutes", type=float, default=10, help="least length of the video")
    parser.add_argument("--long-minutes", type=float, default=180, help="0 leaves memory out")
    parser.add_argument("--config", default="mini", metavar="NAME|FILE")
    parser.add_argument("--set", metavar="KEY=VALUE", action="append", default=[])
    parser.add_argument(
        "--runner",
        choices=("local", "ray"),
        default="local",
        help="ray: compare the Ray runner on this machine with the local one instead",
    )
    parser.add_argument("--repeat", type=int, default=3, help="runs of each subject; 0 for none")


def run(options: argparse.Namespace) -> list[Row]:
    """Measure each subject `repeat` times, in alternating order."""
    load_config(options.config, options.set)  # a wrong setting shows before any work
    rows = []
    with tempfile.TemporaryDirectory(prefix="longvid-speed-") as folder:
        clip = str(options.video or CLIP)
        video = loop_clip(clip, f"{folder}/short{Path(clip).suffix}", options.minutes * 60)
        if options.runner == "ray":
            return compare_runners(
                options.minutes, video, options.config, options.set, options.repeat, folder
            )
        for name, overrides in _ARRANGEMENTS.items() if options.repeat else ():
            task = f"{options.minutes:g} minutes, {name}"
            rows += _halves_and_whole(task, video, options, overrides, folder)
        if options.long_minutes:
            long = loop_clip(clip, f"{folder}/long{Path(clip).suffix}", options.long_minutes * 60)
            for minutes, path in ((options.minutes, video), (options.long_minutes, long)):
                wall, peak = _in_process(_index, path, options.config, options.set, folder)
                task = f"memory, {minutes:g} minutes"
                rows.append(Row(task, "index", "wall", wall, "s"))
                rows.append(Row(task, "index", "peak RSS", peak, "MB"))
    return rows


def _halves_and_whole(
    task: str, video: str, options: argparse.Namespace, overrides: list[str], folder: str
) -> list[Row]:
    """Measure both halves and the whole, in alternating order."""
    subjects = {"decode alone": _decode, "encode alone": _encode, "index": _index}
    walls: dict[str, list[float]] = {subject: [] for subject in subjects}
    peaks: dict[str, list[float]] = {subject: [] for subject in subjects}
    settings = [*overrides, *options.set]
    for subject in in_turns(subjects, options.repeat):
        wall, peak = _in_process(subjects[subject], video, options.config, settings, folder)
        walls[subject].append(wall)
        peaks[subject].append(peak)
    rows = []
    for subject in subjects:
        rows.append(median_row(task, subject, "wall", walls[subject], "s"))
        rows.append(median_row(task, subject, "peak RSS", peaks[subject], "MB"))
    median = {subject: statistics.median(values) for subject, values in walls.items()}
    slower = max(median["decode alone"], median["encode alone"])
    ratio = median["index"] / slower
    return [*rows, Row(task, "index", "of the slower half", ratio, "x", options.repeat)]


def _in_process(
    subject: Callable[..., Any], video: str, config: str, overrides: list[str], folder: str
) -> tuple[Any, float]:
    """Run one subject in a fresh process; return its own wall time and the tree's peak RSS."""
    context = multiprocessing.get_context("spawn")
    answers: Any = context.Queue()
    store = f"{folder}/store"
    process = context.Process(
        target=_child, args=(subject, video, config, overrides, store, answers)
    )
    process.start()
    peak = 0
    while process.is_alive():
        peak = max(peak, tree_rss_bytes(process.pid or 0))
        process.join(timeout=0.1)
    shutil.rmtree(store, ignore_errors=True)
    if process.exitcode:
        raise RuntimeError(f"{subject.__name__} ended with status {process.exitcode}.")
    return answers.get(), peak / 1e6


def _child(
    subject: Callable[..., Any],
    video: str,
    name: str,
    overrides: list[str],
    store: str,
    answers: Any,
) -> None:
    answers.put(subject(video, load_config(name, overrides), store))


def _open(threads: DecodeWorkers, path: str) -> Video:
    found = threads.open(path).result().found
    if isinstance(found, Failure):
        sys.exit(found.error)
    return found


def _decoded(threads: DecodeWorkers, video: Video, config: Config) -> list[FrameBatch]:
    """Decode every chunk with all threads; keep what came."""
    chunks = plan_chunks(video, config.sample)
    for chunk in chunks:
        threads.decode(chunk)
    batches = []
    left = len(chunks)
    while left:
        match threads.get():
            case DecodedItem(item=FrameBatch() as batch):
                batches.append(batch)
            case ChunkDone():
                left -= 1
    return batches


def _decode(video: str, config: Config, store: str) -> float:
    started = time.perf_counter()
    with DecodeWorkers(config) as threads:
        _decoded(threads, _open(threads, video), config)
    return time.perf_counter() - started


def _encode(video: str, config: Config, store: str) -> float:
    started = time.perf_counter()
    device = torch_device(config.run.device)
    target = open_store(store, config)
    with torch_threads(1 if device == "cpu" else None):
        pipeline = SegmentPipeline(config, device)
        loaded = time.perf_counter() - started
        with DecodeWorkers(config) as threads:
            opened = _open(threads, video)
            batches = _decoded(threads, opened, config)
        started = time.perf_counter()
        for batch in batches:
            target.write_chunk(opened.video_id, [pipeline(batch)])
        return loaded + time.perf_counter() - started


def _index(video: str, config: Config, store: str) -> float:
    return run_local([video], store, config).seconds
