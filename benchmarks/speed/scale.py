"""Run the real planner, runner, ledger and store on simulated workers, and fit cost to work.

Decoding and encoding only take their time (see stand_ins.py), so one machine can stand for many:
a simulated worker is a process of its own that sleeps, or with `--fused` one of four decoders that
sleep in the process of their encoder. What is measured is the price of the
runner: how nearly n workers do n times the work of one, and what a chunk costs the driver. The
clock of a run starts when every actor is up. With `--files`, what is measured is the memory of the
driver while it lists and accounts for very many files.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measurements import Row
from benchmarks.speed.processes import own_peak_mib, tree
from benchmarks.speed.stand_ins import StandInDecoder, StandInEncoder, make_footage, stand_in_config
from longvid.indexing.report import Progress

#: As the preset `longvid` cuts footage: 8 segments of 8 frames at 1 frame a second.
_CHUNK_FRAMES, _SEGMENT_FRAMES = 64, 8
#: What such a chunk of 720p takes one core: 17.99 s for 600 s (benchmarks/results/decode.json).
_CHUNK_SECONDS = 1.92
_CHUNKS_PER_VIDEO = 4
#: An encoder serves so many decoders, each of which takes this many times as long for a frame.
_RATIO = 4


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--workers", default="1,2,4,8,16,32,64", help="decoders (%(default)s)")
    parser.add_argument("--chunks-per-worker", type=int, default=16)
    parser.add_argument(
        "--chunk-seconds", type=float, default=_CHUNK_SECONDS, help="to decode (%(default)s)"
    )
    parser.add_argument(
        "--fused", action="store_true", help="decode and encode in one process for four decoders"
    )
    parser.add_argument(
        "--files",
        metavar="N,N",
        help="instead: the driver's memory for these numbers of listed files",
    )
    parser.add_argument("--contents", type=int, default=1000, help="different ones among --files")
    parser.add_argument("--one-run", metavar="WORKERS", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--one-list", metavar="FILES", type=int, help=argparse.SUPPRESS)


def run(options: argparse.Namespace) -> list[Row]:
    """Give each number of workers work in proportion, one run a number, each in a fresh process."""
    if options.one_run:
        print(json.dumps(_one_run(options.one_run, options)))
        sys.exit(0)
    if options.one_list:
        print(json.dumps(_one_list(options.one_list, options.contents)))
        sys.exit(0)
    if options.files:
        contents = ("--contents", str(options.contents))
        return _list_rows(
            [
                _in_process(f"{number} files", "--one-list", str(number), *contents)
                for number in map(int, options.files.split(","))
            ]
        )
    measured = [
        _in_process(
            f"{workers} workers",
            *("--one-run", str(workers)),
            *("--chunks-per-worker", str(options.chunks_per_worker)),
            *("--chunk-seconds", str(options.chunk_seconds)),
            *(("--fused",) if options.fused else ()),
        )
        for workers in map(int, options.workers.split(","))
    ]
    return _rows(measured, options)


def _in_process(what: str, *words: str) -> dict[str, Any]:
    """Do one run in a fresh process, whose memory is its own."""
    command = [sys.executable, "-m", "benchmarks", "speed", "scale", *words]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"the run with {what} failed:\n{done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    print(f"{what}: {found['seconds']:.1f} s", file=sys.stderr, flush=True)
    return found


def _rows(measured: list[dict[str, Any]], options: argparse.Namespace) -> list[Row]:
    rows = []
    one = measured[0]
    per_worker = one["chunks"] / one["workers"] / one["seconds"]
    for found in measured:
        rate = found["chunks"] / found["seconds"]
        task, subject = "decoding 4 x slower than encoding", f"{found['workers']} decoders"
        task += ", fused" if options.fused else ""
        rows += [
            Row(task, subject, "wall", found["seconds"], "s"),
            Row(task, subject, "chunks", rate, "1/s"),
            Row(task, subject, "of linear", rate / (per_worker * found["workers"]), ""),
            Row(task, subject, "of the bound", found["bound"] / found["seconds"], ""),
            Row(task, subject, "driver processor a chunk", found["driver_ms"], "ms"),
            Row(task, subject, "driver peak RSS", found["driver_mb"], "MB"),
            Row(task, subject, "actor processes", found["processes"], ""),
            Row(task, subject, "memory of an actor", found["actor_mb"], "MB"),
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


def _list_rows(measured: list[dict[str, Any]]) -> list[Row]:
    rows = []
    for found in measured:
        task, subject = "files listed, hashed and accounted for", f"{found['files']} files"
        rows += [
            Row(task, subject, "videos", found["videos"], ""),
            Row(task, subject, "wall", found["seconds"], "s"),
            Row(task, subject, "driver before", found["before_mb"], "MB"),
            Row(task, subject, "driver peak", found["peak_mb"], "MB"),
        ]
    return rows


def _one_list(files: int, contents: int) -> dict[str, Any]:
    """Index many files of few contents: each is listed, hashed, claimed and accounted for."""
    import ray

    from longvid.cluster.ray_runner import index

    os.environ["RAY_DISABLE_MEMORY_MONITOR"] = "1"
    ray.init("local", log_to_driver=False, logging_level="WARNING", include_dashboard=False)
    with tempfile.TemporaryDirectory(prefix="longvid-scale-") as folder:
        videos = make_footage(Path(folder) / "videos", files, 1, contents)
        before = own_peak_mib()
        report = index([videos], store=f"{folder}/store", config=stand_in_config())
    ray.shutdown()
    done = report.videos_indexed + report.videos_skipped
    if done != files:
        sys.exit(f"{done} of {files} files were accounted for")
    return {
        "files": files,
        "videos": report.videos_indexed,
        "seconds": report.seconds,
        "before_mb": before,
        "peak_mb": own_peak_mib(),
    }


def _one_run(workers: int, options: argparse.Namespace) -> dict[str, Any]:
    """Index made-up videos with so many decoders."""
    import ray

    from longvid.cluster.ray_runner import run_job, start

    encoders = -(-workers // _RATIO)
    per_frame = options.chunk_seconds / _CHUNK_FRAMES
    config = stand_in_config(
        "sample.fps=1.0",
        f"sample.segment_frames={_SEGMENT_FRAMES}",
        f"sample.chunk_segments={_CHUNK_FRAMES // _SEGMENT_FRAMES}",
        f"ray.decode_actors={workers}",
        "ray.decode_cpus=1.0",
        f"ray.encode_actors={encoders}",
        f"ray.fused={str(options.fused).lower()}",
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
    chunks = workers * options.chunks_per_worker
    with tempfile.TemporaryDirectory(prefix="longvid-scale-") as folder:
        videos = make_footage(
            Path(folder) / "videos",
            -(-chunks // _CHUNKS_PER_VIDEO),
            _CHUNK_FRAMES * _CHUNKS_PER_VIDEO,
        )
        actors = start(config)
        started = time.process_time()
        memory: list[float] = []

        def look_once(progress: Progress) -> None:
            if progress.seconds_done and not memory:
                memory.extend(islice(_actor_mb(), 1))

        run_job([str(videos)], f"{folder}/store", config, actors, look_once, together=True)
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
        "driver_mb": own_peak_mib(),
        "processes": encoders if options.fused else workers + encoders,
        "actor_mb": memory[0],
    }


def _actor_mb() -> Iterator[float]:
    """Yield the proportional set size of actors: their own memory and their part of the shared."""
    for process in tree(os.getpid()):
        with contextlib.suppress(OSError):
            if b"ray::Actor" in Path(f"/proc/{process}/cmdline").read_bytes():
                found = Path(f"/proc/{process}/smaps_rollup").read_text()
                yield int(found.partition("\nPss:")[2].split()[0]) / 1024
