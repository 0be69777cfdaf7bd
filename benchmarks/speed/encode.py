"""Time the encoder beside the bare forward of its towers, and with tokens merged inside them.

The bare towers are given normalised pixels in batches of the same size; the encoder is given
decoded frames and returns segments. Both orders alternate.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from benchmarks.measurements import Row, in_turns, median_row
from benchmarks.speed.random_weights import with_random_weights
from longvid.config import load_config, torch_device
from longvid.types import FrameBatch


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", default="mini", metavar="NAME|FILE")
    parser.add_argument("--set", metavar="KEY=VALUE", action="append", default=[])
    parser.add_argument("--random-weights", action="store_true", help="of the true sizes")
    parser.add_argument("--depth", type=int, default=0, help="most layers of random weights")
    parser.add_argument("--frames", type=int, default=16, help="of one segment")
    parser.add_argument("--segments", type=int, default=1, help="encoded in one measurement")
    parser.add_argument(
        "--merge-share",
        type=float,
        action="append",
        default=[],
        help="share of a frame's tokens merged by the last layer, at the same pace in every layer",
    )
    parser.add_argument("--repeat", type=int, default=5, help="runs of each subject")


def run(options: argparse.Namespace) -> list[Row]:
    """Measure every subject `repeat` times, in alternating order."""
    config = load_config(options.config, options.set)
    device = torch_device(config.run.device)
    with tempfile.TemporaryDirectory(prefix="longvid-encode-") as folder:
        if options.random_weights:
            config = with_random_weights(config, folder, options.depth, towers_only=True)
        part = config.encoder
        size = part.frame_size()
        generator = torch.Generator().manual_seed(0)
        shape = (options.frames, 3, size.height, size.width)
        data = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
        worker = part.setup(device)
        subjects: dict[str, Callable[[], Any]] = {
            "bare towers": _bare(worker, data, part.batch_frames),
            "longvid": lambda: worker(_batch(data)),
        }
        segment = worker(_batch(data))
        num_layers = len(worker._embedder.module.vision_model.encoder.layers)
        for share in options.merge_share:
            r = round(share * segment.grid[0] * segment.grid[1] / num_layers)
            merging = replace(part, merge_r=r).setup(device)
            name = f"longvid, {share:.0%} merged, {r} a layer"
            subjects[name] = lambda merging=merging: merging(_batch(data))
        walls = _measure(subjects, options.repeat, options.segments, device)
    layers = f", {options.depth} layers" if options.random_weights and options.depth else ""
    task = f"encode {options.frames} frames of {size.height}x{size.width}{layers}"
    return _rows(task, walls, options.frames * options.segments)


def _bare(worker: Any, data: torch.Tensor, batch_frames: int) -> Callable[[], None]:
    """Return the forward of each tower over normalised pixels, and nothing else."""
    batches = data.split(batch_frames)
    pixels = [worker._pixels(frames, worker._vision_format) for frames in batches]
    others = [worker._pixels(frames, worker._embedder_format) for frames in batches]

    def forward() -> None:
        for mine, other in zip(pixels, others, strict=True):
            worker._tower(mine)
            if worker._shared is not None:
                worker._embedder.embed_pooled(worker._shared.take_pooled())
            else:
                worker._embedder.embed_frames(other)

    return forward


def _batch(data: torch.Tensor) -> FrameBatch:
    times = torch.arange(len(data), dtype=torch.float64)
    slow = torch.ones(len(data), dtype=torch.bool)
    return FrameBatch("0" * 32, 0, 0.0, float(len(data)), data, times, torch.ones_like(times), slow)


def _measure(
    subjects: dict[str, Callable[[], Any]], repeat: int, times: int, device: str
) -> dict[str, list[float]]:
    walls: dict[str, list[float]] = {subject: [] for subject in subjects}
    for subject in subjects.values():
        subject()  # memory is taken and kernels are chosen
    for name in in_turns(subjects, repeat):
        started = time.perf_counter()
        for _ in range(times):
            subjects[name]()
        if device.startswith("cuda"):
            torch.cuda.synchronize()
        walls[name].append(time.perf_counter() - started)
    return walls


def _rows(task: str, walls: dict[str, list[float]], num_frames: int) -> list[Row]:
    rows = []
    bare = walls["bare towers"]
    for subject, values in walls.items():
        speeds = [num_frames / value for value in values]
        rows.append(median_row(task, subject, "speed", speeds, "frames/s"))
        ratios = [mine / theirs for mine, theirs in zip(values, bare, strict=True)]
        rows.append(median_row(task, subject, "time beside bare towers", ratios, "x"))
    return rows
