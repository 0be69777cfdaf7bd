"""Question-free compressors beside their authors' algorithms in eager torch, on the same tokens.

Each rival gets the tokens as its authors do, (T, n, D) in the dtype of the model; longvid's parts
get a segment, check that it is finite and on one grid, and give back a segment.

Each gain stands beside the most that the machine allows: tokens are read once and those kept are
copied, at the rate of a copy; FlashVID's products of tokens, which decide what is kept, are made at
the rate of a GEMM.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from benchmarks.measurements import Row, in_turns
from benchmarks.speed import eager_compressors as eager
from longvid.compress.flashvid import FlashVID
from longvid.compress.ranking import DifferentialTokenDrop, EfficientVideoSampling, VCast, VidCom2
from longvid.compress.whole_video import compress_video
from longvid.types import Segment, Tokens

GOAL = 5.0
SEGMENT_FRAMES = 8
Rival = Callable[[Tensor], Tensor]

COMPRESSORS: dict[str, tuple[Any, Rival]] = {
    "evs": (EfficientVideoSampling(ratio=0.75), lambda x: eager.evs(x, 0.75)),
    "vidcom2": (VidCom2(ratio=0.25), lambda x: eager.vidcom2(x, 0.25)),
    "vcast": (VCast(ratio=0.25), lambda x: eager.vcast(x, 0.25)),
    "dtd": (DifferentialTokenDrop(threshold=0.5), lambda x: eager.dtd(x, 0.5)),
    "flashvid": (
        FlashVID(ratio=0.25, scene_threshold=-1.0, exact=False),
        lambda x: eager.flashvid(x, 0.25),
    ),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--frames", type=int, default=64)
    parser.add_argument("--side", type=int, default=14, help="rows and columns of a frame's grid")
    parser.add_argument("--width", type=int, default=3584)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", default="", metavar="NAME", help="only this compressor")
    parser.add_argument("--dtypes", nargs="+", default=["float32", "bfloat16"])


def run(options: argparse.Namespace) -> list[Row]:
    """Measure every compressor in both dtypes, and how much a whole video differs from segments."""
    rows: list[Row] = []
    grid = draw_video(options.frames, options.side, options.width)
    with torch.inference_mode():
        for dtype in options.dtypes:
            segment = segment_of(grid.to(getattr(torch, dtype)))
            for name, (part, rival) in COMPRESSORS.items():
                if options.only in name:
                    found = _compare(f"{name}, {dtype}", part, rival, segment, options.repeats)
                    rows += [*found, _most(name, found, segment, options.repeats)]
        segment = segment_of(grid)
        for name, (part, _) in COMPRESSORS.items():
            if options.only in name:
                rows.append(_overlap(name, part, segment))
    return rows


def draw_video(num_frames: int, side: int, width: int) -> Tensor:
    """Draw tokens of a video: places that persist, change slowly, and jump at a few cuts."""
    generator = torch.Generator().manual_seed(0)
    scene = torch.randn(side, side, width, generator=generator)
    frames = []
    for t in range(num_frames):
        if t % 24 == 23:
            scene = torch.randn(side, side, width, generator=generator)
        moved = torch.rand(side, side, 1, generator=generator) < 0.2
        scene = torch.where(moved, torch.randn(side, side, width, generator=generator), scene)
        frames.append(scene + 0.3 * torch.randn(side, side, width, generator=generator))
    return torch.stack(frames)


def segment_of(grid: Tensor) -> Segment:
    num_frames = len(grid)
    return Segment(
        video_id="drawn",
        segment_index=0,
        start_seconds=0.0,
        end_seconds=float(num_frames),
        pts_seconds=torch.arange(num_frames, dtype=torch.float64),
        slow=torch.ones(num_frames, dtype=torch.bool),
        frame_embeddings=torch.ones(num_frames, 1),
        tokens=Tokens.from_grid(grid),
        space="drawn",
    )


def _compare(task: str, part: Any, rival: Rival, segment: Segment, repeats: int) -> list[Row]:
    worker = part.setup()
    num_frames = segment.num_frames
    x = segment.tokens.data.view(num_frames, -1, segment.tokens.data.shape[1])
    calls: dict[str, Callable[[], int]] = {
        "longvid": lambda: len(worker(segment).tokens),
        "authors' algorithm, eager": lambda: len(rival(x)),
    }
    times: dict[str, list[float]] = {name: [] for name in calls}
    rows = []
    for name, call in calls.items():
        rows.append(Row(task, name, "tokens kept", call(), ""))
    for name in in_turns(calls, repeats):
        start = time.perf_counter()
        calls[name]()
        times[name].append(time.perf_counter() - start)
    medians = {name: statistics.median(values) for name, values in times.items()}
    for name, values in times.items():
        spread = (max(values) - min(values)) * 1e3
        rows.append(Row(task, name, "wall", medians[name] * 1e3, "ms", len(values), spread))
        rows.append(Row(task, name, "speed", num_frames / medians[name], "frames/s"))
    gain = medians["authors' algorithm, eager"] / medians["longvid"]
    rows.append(Row(task, "longvid", "faster by", gain, "x", repeats))
    rows.append(Row(task, "longvid", "goal", GOAL, "x"))
    return rows


def _most(name: str, found: list[Row], segment: Segment, repeats: int) -> Row:
    """Say how much faster than the authors' algorithm this machine allows any code to be."""
    values = {(row.subject, row.metric): row.value for row in found}
    data = segment.tokens.data
    target = torch.empty_like(data)
    copied = _median_seconds(lambda: target.copy_(data), repeats)
    share = values["longvid", "tokens kept"] / len(data)
    least = copied * (0.5 + share)  # a copy reads and writes: half of it is one read
    if name == "flashvid":
        num_frames, width = segment.num_frames, data.shape[1]
        num_tokens = len(data) // num_frames
        chosen, _ = COMPRESSORS[name][0].settings().counts(num_tokens)
        free = num_tokens - chosen
        square = torch.randn(1024, 1024)
        rate = 2 * 1024**3 / _median_seconds(lambda: square @ square, repeats)
        # Cosines within a frame are symmetric; those to the frame before are not.
        products = num_frames * num_tokens**2 + 2 * (num_frames - 1) * free**2
        least += width * products / rate
    most = values["authors' algorithm, eager", "wall"] / 1e3 / least
    return Row(found[0].task, "longvid", "at most, on this machine", most, "x", repeats)


def _median_seconds(call: Callable[[], object], repeats: int) -> float:
    times = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])


def _overlap(name: str, part: Any, segment: Segment) -> Row:
    """Compare which places are kept of the whole video and of segments of 8 frames (Jaccard)."""
    pieces = [_piece(segment, first) for first in range(0, segment.num_frames, SEGMENT_FRAMES)]
    worker = part.setup()
    apart = _places([worker(piece) for piece in pieces])
    together = _places(compress_video(worker, pieces))
    overlap = len(apart & together) / max(1, len(apart | together))
    return Row(
        f"segments of {SEGMENT_FRAMES} frames against the whole video",
        name,
        "places kept by both, of those kept by either",
        100 * overlap,
        "%",
    )


def _piece(segment: Segment, first: int) -> Segment:
    last = min(first + SEGMENT_FRAMES, segment.num_frames)
    frames = slice(first, last)
    tokens = segment.tokens
    cut = tokens.keep((tokens.frame >= first) & (tokens.frame < last))
    return Segment(
        video_id=segment.video_id,
        segment_index=first // SEGMENT_FRAMES,
        start_seconds=float(first),
        end_seconds=float(last),
        pts_seconds=segment.pts_seconds[frames],
        slow=segment.slow[frames],
        frame_embeddings=segment.frame_embeddings[frames],
        tokens=Tokens(cut.data, cut.frame - first, cut.position, cut.size),
        space=segment.space,
    )


def _places(segments: list[Segment]) -> set[tuple[float, float, float]]:
    return {
        (float(segment.pts_seconds[frame]), row, column)
        for segment in segments
        for frame, (row, column) in zip(
            segment.tokens.frame.tolist(), segment.tokens.position.tolist(), strict=True
        )
    }
