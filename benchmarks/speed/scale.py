"""Run the real planner, runner, ledger and store on simulated workers, and fit cost to work.

Decoding and encoding only take their time (see stand_ins.py), so one machine can stand for many:
a simulated worker is a process of its own that sleeps. What is measured is the price of the
runner: how nearly n workers do n times the work of one, and what a chunk costs the driver. The
clock of a run starts when every actor is up.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.rows import Row
from benchmarks.speed.stand_ins import (
    StandInDecoder,
    StandInEncoder,
    make_footage,
    stand_in_config,
)

__all__ = ["add_arguments", "run"]

_CHUNK_FRAMES = 64
_CHUNKS_PER_VIDEO = 4
#: An encoder serves so many decoders, each of which takes this many times as long for a frame.
_RATIO = 4


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this measurement's options."""
    parser.add_argument("--workers", default="1,2,4,8,16,32,64", help="decoders (%(default)s)")
    parser.add_argument("--chunks-per-worker", type=int, default=16)
    parser.add_argument("--chunk-seconds", type=float, default=2.0, help="to decode (%(default)s)")
    parser.add_argument("--one-run", metavar="WORKERS", type=int, help=argparse.SUPPRESS)


def run(options: argparse.Namespace) -> list[Row]:
    """Give each number of workers work in proportion, one run a number, each in a fresh process."""
    if options.one_run:
        print(json.dumps(_one_run(options.one_run, options)))
        sys.exit(0)
    measured = []
    for workers in map(int, options.workers.split(",")):
        done = subprocess.run(
            [
                *(sys.executable, "-m", "benchmarks", "speed", "scale"),
                *("--one-run", str(workers)),
                *("--chunks-per-worker", str(options.chunks_per_worker)),
                *("--chunk-seconds", str(options.chunk_seconds)),
            ],
            capture_output=True,
            text=True,
        )
        if done.returncode:
            sys.exit(f"the run with {workers} workers failed:\n{done.stderr[-2000:]}")
        measured.append(json.loads(done.stdout.splitlines()[-1]))
        print(f"{workers} workers: {measured[-1]['seconds']:.1f} s", file=sys.stderr, flush=True)
    return _rows(measured, options)


def _rows(measured: list[dict[str, Any]], options: argparse.Namespace) -> list[Row]:
    rows = []
    one = measured[0]
    per_worker = one["chunks"] / one["workers"] / one["seconds"]
    for found in measured:
        rate = found["chunks"] / found["seconds"]
        task, subject = "decoding 4 x slower than encoding", f"{found['workers']} decoders"
        rows += [
            Row(task, subject, "wall", found["seconds"], "s"),
            Row(task, subject, "chunks", rate, "1/s"),
            Row(task, subject, "of linear", rate / (per_worker * found["workers"]), ""),
            Row(task, subject, "of the bound", found["bound"] / found["seconds"], ""),
            Row(task, subject, "driver processor a chunk", found["driver_ms"], "ms"),
            Row(task, subject, "driver peak RSS", found["driver_mb"], "MB"),
        ]
    # wall = start + (chunks of one worker) * seconds a chunk + (all chunks) * cost of the runner
    work = np.array([[1, f["chunks"] / f["workers"], f["chunks"]] for f in measured], float)
    walls = np.array([f["seconds"] for f in measured])
    if len(measured) >= 3:
        # Every run gives a worker the same number of chunks, so their time is taken as stated.
        walls = walls - work[:, 1] * options.chunk_seconds
        (start, cost), *_ = np.linalg.lstsq(work[:, [0, 2]], walls, rcond=None)
        fit = "wall = start + chunks of a worker x their seconds + all chunks x cost"
        rows += [
            Row(fit, "fitted", "start and end", float(start), "s", len(measured)),
            Row(fit, "fitted", "cost a chunk", 1000 * float(cost), "ms", len(measured)),
        ]
    return rows


def _one_run(workers: int, options: argparse.Namespace) -> dict[str, Any]:
    """Index made-up videos with so many decoders."""
    import ray
    import ray.data

    from pipelines.index import index

    encoders = -(-workers // _RATIO)
    per_frame = options.chunk_seconds / _CHUNK_FRAMES
    config = stand_in_config(
        "sample.fps=1.0",
        f"sample.chunk_segments={_CHUNK_FRAMES // 16}",
        f"ray.decode_actors={workers}",
        "ray.decode_cpus=1.0",
        f"ray.encode_actors={encoders}",
        "ray.encode_cpus=1.0",
        decoder=StandInDecoder(seconds_per_frame=per_frame),
        # A little faster than a quarter: who waits must be the decoders.
        encoder=StandInEncoder(seconds_per_frame=0.8 * per_frame / _RATIO),
    )
    os.environ["RAY_DISABLE_MEMORY_MONITOR"] = "1"
    ray.init(
        "local",
        num_cpus=workers + encoders + 1,
        log_to_driver=False,
        logging_level="WARNING",
        include_dashboard=False,
    )
    context = ray.data.DataContext.get_current()
    context.wait_for_min_actors_s = 1800
    chunks = workers * options.chunks_per_worker
    with tempfile.TemporaryDirectory(prefix="longvid-scale-") as folder:
        videos = make_footage(
            Path(folder) / "videos",
            -(-chunks // _CHUNKS_PER_VIDEO),
            _CHUNK_FRAMES * _CHUNKS_PER_VIDEO,
        )
        started = time.process_time()
        index([videos], store=f"{folder}/store", config=config)
        spent = time.process_time() - started
        (path,) = Path(folder, "store", "runs").glob("*.json")
        done = json.loads(path.read_text())
    ray.shutdown()
    chunks = done["stages"]["decode"]["items"]
    return {
        "workers": workers,
        "chunks": chunks,
        "seconds": done["working_seconds"],
        # The best that any schedule can do.
        "bound": max(
            -(-chunks // workers) * options.chunk_seconds,
            -(-chunks // encoders) * 0.8 * options.chunk_seconds / _RATIO,
        ),
        "driver_ms": 1000 * spent / chunks,
        "driver_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
