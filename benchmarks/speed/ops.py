"""Token operations beside eager torch: speed in both orders, and fidelity to a float64 oracle.

On the CPU and on CUDA alike. Every comparison runs in this process on the same tensors; the copy
bandwidth and the GEMM rate of the same run are printed with it, and losses are printed too.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.measurements import Row, median_row
from benchmarks.speed import eager
from benchmarks.speed.timed_calls import Bench, machine_rates
from longvid import ops
from longvid.errors import LongvidError
from longvid.ops import cuda

ROOT = Path(__file__).parents[2]
WINDOW = 8
THRESHOLD = 0.8


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--threads", type=int, default=0, help="torch threads (0: torch's own)")
    parser.add_argument("--repeats", type=int, default=20, help="measurements per subject")
    parser.add_argument("--frames", type=int, default=0, help="F (0: 16 on cpu, 1024 on cuda)")
    parser.add_argument("--tokens", type=int, default=576, help="N")
    parser.add_argument("--width", type=int, default=1152, help="C")
    parser.add_argument("--compile", action="store_true", help="also time torch.compile")
    parser.add_argument(
        "--only", default="", metavar="WORDS", help="only tasks whose name holds these words"
    )


def run(options: argparse.Namespace) -> list[Row]:
    if options.device == "cuda":
        _prepare_cuda(options)
    before = torch.get_num_threads()
    torch.set_num_threads(options.threads or before)
    bench = Bench(
        torch.device(options.device),
        options.repeats,
        options.frames or (16 if options.device == "cpu" else 1024),
        options.tokens,
        options.width,
        options.compile or options.device == "cuda",
    )
    rows = [
        Row("active implementation", f"{name}: {ops.implementation(name, bench.device)}", "", 1, "")
        for name in ops.NAMES
    ]
    try:
        with torch.inference_mode():
            for task, measure in TASKS.items():
                if options.only in task:
                    rows += measure(bench)
    finally:
        torch.set_num_threads(before)
    return rows


def _prepare_cuda(options: argparse.Namespace) -> None:
    """Build the CUDA kernels if they are not, test them on this GPU, and name the result file."""
    if not torch.cuda.is_available():
        raise LongvidError("no CUDA device is visible to torch; use --device cpu.")
    build = [sys.executable, "setup.py", "-q", "build_ext", "--inplace"]
    subprocess.run(build, check=True, cwd=ROOT, env={**os.environ, "LONGVID_CUDA": "1"})
    if not cuda.activate():
        raise LongvidError("the CUDA kernels were not built; is nvcc on the path?")
    test = [sys.executable, "-m", "pytest", "tests/gpu"]
    if subprocess.run(test, check=False, cwd=ROOT).returncode:
        raise LongvidError("the CUDA kernels fail their tests on this GPU; see above.")
    sanitizer = shutil.which("compute-sanitizer")
    if sanitizer:
        watched = [sanitizer, "--error-exitcode=1", *test, "-k", "equals_the_reference"]
        if subprocess.run(watched, check=False, cwd=ROOT).returncode:
            raise LongvidError("compute-sanitizer found a fault in the CUDA kernels; see above.")
    if not options.json:
        name = re.sub(r"[^a-z0-9]+", "_", torch.cuda.get_device_name().lower())
        options.json = str(ROOT / "benchmarks" / "results" / f"ops_cuda_{name}.json")


def _features(bench: Bench, frames: int, tokens: int, width: int, seed: int = 0) -> Tensor:
    """Redundant tokens as of a video: few things per frame, seen by many patches, with noise."""
    generator = torch.Generator(bench.device).manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, device=bench.device)

    things = torch.nn.functional.normalize(normal(frames, 48, width), dim=2)
    which = torch.randint(48, (frames, tokens), generator=generator, device=bench.device)
    x = things.gather(1, which.unsqueeze(2).expand(-1, -1, width))
    noise = torch.nn.functional.normalize(normal(frames, tokens, width), dim=2)
    return (x + 0.25 * noise).bfloat16()


def _merge_round(bench: Bench, metric_width: int, target: float) -> list[Row]:
    x = _features(bench, bench.frames, bench.tokens, bench.width)
    metric = (
        x
        if metric_width == bench.width
        else _features(bench, bench.frames, bench.tokens, metric_width, seed=1)
    )
    r = bench.tokens // 4
    task = f"merge round, metric of {metric_width} channels, r = {r}"
    rows = bench.compare(
        task,
        lambda: ops.match_and_merge(metric, x, r),
        {
            "eager ToMe in bf16": lambda: eager.merge_mean(x, *eager.match(metric, r)),
            "eager ToMe weighted in bf16": lambda: eager.merge_weighted(
                x, torch.ones_like(x[..., :1]), *eager.match(metric, r)
            ),
        },
        {"eager ToMe in bf16": target},
    )
    return rows + _fidelity(task, metric, x, r)


def _fidelity(task: str, metric: Tensor, x: Tensor, r: int) -> list[Row]:
    """Compare matching and merging with the same in float64 from the same bf16 input."""
    count = min(len(x), 32)
    metric, x = metric[:count], x[:count]
    num_a, num_b = (x.shape[1] + 1) // 2, x.shape[1] // 2
    oracle = ops.match(metric.double(), num_b)
    truth = torch.empty((count, num_a), dtype=torch.int64, device=x.device)
    truth.scatter_(1, oracle.source // 2, oracle.destination)
    best = torch.zeros((count, num_a), dtype=torch.bool, device=x.device)
    best.scatter_(1, oracle.source[:, :r] // 2, True)
    ideal = ops.merge(ops.match(metric.double(), r), x.double())

    def agreement(source: Tensor, destination: Tensor) -> tuple[float, float]:
        """Of all sources with their destinations; of the r best sources."""
        same = truth.gather(1, source // 2) == destination
        return 100 * same.double().mean().item(), 100 * best.gather(
            1, source[:, :r] // 2
        ).double().mean().item()

    everyone = ops.match(metric, num_b)
    ours = ops.match(metric, r)
    source, _, destination = eager.match(metric, num_b)
    eager_plan = eager.match(metric, r)
    rows = []
    for name, pair in (
        ("longvid", (everyone.source, everyone.destination)),
        ("eager ToMe in bf16", (2 * source[..., 0], 2 * destination[..., 0] + 1)),
    ):
        destinations, top = agreement(*pair)
        rows += [
            Row(task, name, "destinations as fp64", destinations, "%"),
            Row(task, name, "top r as fp64", top, "%"),
        ]
    restored = ops.unmerge(ours, ops.merge(ours, x))
    error = (restored.double() - x.double()).norm() / x.double().norm()
    rows.append(Row(task, "longvid", "reconstruction error", error.item(), ""))
    restored = _eager_unmerge(eager.merge_mean(x, *eager_plan), *eager_plan)
    error = (restored.double() - x.double()).norm() / x.double().norm()
    rows.append(Row(task, "eager ToMe in bf16", "reconstruction error", error.item(), ""))
    floor = ops.unmerge(ops.match(metric.double(), r), ideal)
    error = (floor - x.double()).norm() / x.double().norm()
    rows.append(Row(task, "fp64", "reconstruction error", error.item(), ""))
    again = ops.match(metric, r)
    equal = all(torch.equal(a, b) for a, b in zip(ours, again, strict=True))
    merged = [ops.match_and_merge(metric, x, r)[0] for _ in range(2)]
    equal = equal and torch.equal(*merged) and torch.equal(merged[0], ops.merge(ours, x))
    return [*rows, Row(task, "longvid", "reruns equal bit for bit", 100.0 * equal, "%")]


def _eager_unmerge(merged: Tensor, source: Tensor, unmerged: Tensor, destination: Tensor) -> Tensor:
    count = unmerged.shape[1]
    kept, odd = merged[:, :count], merged[:, count:]
    width = merged.shape[2]
    out = merged.new_empty((len(merged), merged.shape[1] + source.shape[1], width))
    out[:, 1::2] = odd
    even = out[:, ::2]
    even.scatter_(1, unmerged.expand(-1, -1, width), kept)
    even.scatter_(1, source.expand(-1, -1, width), odd.gather(1, destination.expand(-1, -1, width)))
    return out


def _segment_mean(bench: Bench) -> list[Row]:
    x = _features(bench, bench.frames, bench.tokens, bench.width)
    r = bench.tokens // 4
    plan, rival = ops.match(x, r), eager.match(x, r)
    rows_of_x = x.flatten(0, 1)
    task = "segment_mean alone"
    rows = bench.compare(
        task,
        lambda: ops.segment_mean(rows_of_x, plan.offsets, plan.members),
        {"gather + scatter_reduce + cat": lambda: eager.merge_mean(x, *rival)},
        {"gather + scatter_reduce + cat": 15 if bench.device.type == "cpu" else 0},
    )
    num_bytes = 2 * (x.numel() + len(plan.offsets) * bench.width)
    rate = num_bytes / (rows[0].value / 1000) / 1e9
    return [*rows, Row(task, "longvid", "bytes moved", rate, "GB/s")]


def _prune(bench: Bench) -> list[Row]:
    base = _features(bench, 1, bench.tokens, bench.width).float()
    change = _features(bench, bench.frames, bench.tokens, bench.width, seed=2).float()
    amount = torch.linspace(0, 0.84, bench.tokens, device=bench.device).view(1, -1, 1)
    x = (base + amount * change).bfloat16()

    task = f"spatial token compression, windows of {WINDOW}"
    rows = bench.compare(
        task,
        lambda: ops.prune(x, WINDOW, THRESHOLD),
        {
            "the window loop": lambda: eager.prune_loop(x, WINDOW, THRESHOLD),
            "vectorised eager": lambda: eager.prune_vectorised(x, WINDOW, THRESHOLD),
        },
        {"the window loop": 5, "vectorised eager": 2},
    )
    exact = ops.token_cosine(x.double(), WINDOW) < THRESHOLD
    exact[::WINDOW] = True
    packed, _, cu_seqlens = ops.prune(x, WINDOW, THRESHOLD)
    truth = x[exact]
    rows.append(Row(task, "longvid", "tokens kept", 100.0 * len(truth) / exact.numel(), "%"))
    rows.append(
        Row(
            task,
            "longvid",
            "as fp64 bit for bit",
            100.0 * torch.equal(packed[: int(cu_seqlens[-1])], truth),
            "%",
        )
    )
    for name, kept in (
        ("the window loop", eager.prune_loop(x, WINDOW, THRESHOLD)),
        ("vectorised eager", eager.prune_vectorised(x, WINDOW, THRESHOLD)),
    ):
        rows.append(Row(task, name, "as fp64 bit for bit", 100.0 * torch.equal(kept, truth), "%"))
    return rows


def _clip_merge(bench: Bench) -> list[Row]:
    clips = max(1, bench.frames // 4)
    x = _features(bench, clips, 1024, 1024)

    def ours(x: Tensor = x) -> Tensor:
        metric = ops.head_mean(x, 16)
        rounds = ops.clip_rounds(x.shape[1], 64)
        offsets, members, _, _ = ops.merge_rounds(metric, rounds)
        return ops.segment_mean(x.flatten(0, 1), offsets, members)

    task = f"clip merge 1024 to 64, {clips} clips"
    rows = bench.compare(
        task,
        ours,
        {"four eager rounds": lambda: eager.clip_merge(x, 64, 16)},
        {"four eager rounds": 5},
    )
    few = x[:8].double()
    metric = few.unflatten(-1, (16, -1)).mean(dim=2)
    offsets, members, _, _ = ops.merge_rounds(metric, ops.clip_rounds(1024, 64))
    truth = ops.segment_mean(few.flatten(0, 1), offsets, members)
    got = ours(x[:8]).double()
    same = (got - truth).abs().amax(dim=1) <= 2**-8 * truth.abs().amax(dim=1)
    rows.append(Row(task, "longvid", "tokens as fp64", 100 * same.double().mean().item(), "%"))
    got = eager.clip_merge(x[:8], 64, 16).flatten(0, 1).double()
    same = (got - truth).abs().amax(dim=1) <= 2**-8 * truth.abs().amax(dim=1)
    rows.append(
        Row(task, "four eager rounds", "tokens as fp64", 100 * same.double().mean().item(), "%")
    )
    return rows


def _context_attention(bench: Bench, per_frame: bool) -> list[Row]:
    x = _features(bench, bench.frames, bench.tokens, bench.width)
    generator = torch.Generator(bench.device).manual_seed(3)
    width, scale = bench.width, bench.width**-0.5

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, device=bench.device)

    x = (x.float() * width**0.5).bfloat16()
    query = normal(*((bench.frames,) if per_frame else ()), 32, width).bfloat16()
    key_weight = (normal(width, width) * scale).bfloat16()
    key_bias = normal(width).bfloat16()
    which = "of every frame" if per_frame else "of the text alone"
    task = f"context attention, 32 queries {which}"
    rows = bench.compare(
        task,
        lambda: ops.context_attention(query, key_weight, x, scale),
        {"the original formula": lambda: eager.context_attention(query, key_weight, key_bias, x)},
        {"the original formula": 10 if bench.device.type == "cpu" else 4},
    )
    few = slice(0, min(8, bench.frames))
    queries = query[few] if per_frame else query
    truth = eager.context_attention(
        queries.double(), key_weight.double(), key_bias.double(), x[few].double()
    )
    for name, got in (
        ("longvid", ops.context_attention(queries, key_weight, x[few], scale)),
        ("the original formula", eager.context_attention(queries, key_weight, key_bias, x[few])),
    ):
        error = (got.double() - truth).norm() / truth.norm()
        rows.append(Row(task, name, "error to fp64", error.item(), ""))
    return rows


def _window_gram(bench: Bench) -> list[Row]:
    frames = bench.frames if bench.device.type == "cpu" else bench.frames // 2
    x = _features(bench, frames, bench.tokens, bench.width).flatten(1)
    task = "temporal Gram, windows of 16"
    rows = bench.compare(
        task,
        lambda: ops.window_gram(x, 16),
        {"one window after another": lambda: eager.window_gram(x, 16)},
        {},
    )
    first = x[:16].double()
    unit = first / first.norm(dim=1, keepdim=True)
    truth = unit @ unit.T
    for name, gram in (
        ("longvid", ops.window_gram(x[:16], 16)[0]),
        ("one window after another", eager.window_gram(x[:16], 16)[0]),
    ):
        error = (gram.double() - truth).abs().max()
        rows.append(Row(task, name, "largest error", error.item(), ""))
    return rows


def _selectors(bench: Bench) -> list[Row]:
    """DPP and MMR over an hour at 1 fps; on the CPU, where selection runs."""
    if bench.device.type != "cpu":
        return []
    from longvid.select import algorithms

    generator = torch.Generator().manual_seed(4)
    embeddings = torch.nn.functional.normalize(torch.randn(3600, 768, generator=generator), dim=1)
    scores = torch.rand(3600, generator=generator)
    costs = torch.ones(3600, dtype=torch.int64)
    task = "select 64 of 3600 frames"
    times = bench.seconds(
        {
            "DPP": lambda: algorithms.determinantal(embeddings, scores, costs, 64),
            "MMR": lambda: algorithms.marginal_relevance(embeddings, scores, costs, 64, 0.5),
        }
    )
    rows = []
    for name, values in times.items():
        rows.append(median_row(task, name, "wall", [1000 * value for value in values], "ms"))
        rows.append(Row(task, name, "target, at most", 30, "ms"))
    return rows


TASKS: dict[str, Callable[[Bench], list[Row]]] = {
    "machine": machine_rates,
    "merge round, full width": lambda bench: _merge_round(
        bench, bench.width, 4 if bench.device.type == "cpu" else 4.4
    ),
    "merge round, 72 channels": lambda bench: _merge_round(
        bench, 72, 15 if bench.device.type == "cpu" else 4.4
    ),
    "segment_mean": _segment_mean,
    "prune": _prune,
    "clip merge": _clip_merge,
    "context attention per frame": lambda bench: _context_attention(bench, per_frame=True),
    "context attention shared": lambda bench: _context_attention(bench, per_frame=False),
    "window_gram": _window_gram,
    "select": _selectors,
}
