"""Killing an indexing run anywhere loses nothing: the same command finishes what is left."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import longvid

SEED = 20261121


def start(clips: Path, store: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "longvid.cli", "index", str(clips), "--store", str(store)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        env=os.environ,
    )


def objects(store: Path) -> dict[str, bytes]:
    """Return every object of the finished videos, without the caches made from them."""
    return {
        str(path.relative_to(store)): path.read_bytes()
        for path in sorted((store / "videos").rglob("*"))
        if path.is_file()
    }


def finished(store: Path) -> set[str]:
    return {path.parent.name for path in store.glob("videos/*/manifest.json")}


@pytest.mark.parametrize("seed", range(SEED, SEED + 3))
def test_a_killed_run_is_finished_by_the_same_command(
    seed: int, few_clips: Path, small_store: Path, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    process = start(few_clips, store)
    # Models load before the first object is written: the draw begins there.
    while not (store / "store.json").exists() and process.poll() is None:
        time.sleep(0.01)
    time.sleep(random.Random(seed).uniform(0, 1.5))
    # Not polled since, so that its process group is there even if it has ended.
    assert (store / "store.json").exists(), f"the run ended with {process.returncode}"
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()

    before = finished(store)
    report = longvid.index([few_clips], store=store, config="mini")
    assert report.videos_indexed == 3 - len(before)
    assert not report.failures
    assert objects(store) == objects(small_store)
