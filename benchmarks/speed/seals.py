"""Share of the time that checksums take: computed and compared while indexing and while asking.

Every hash that the store computes is timed where it is computed, in processor time of its thread,
and divided by the processor time of the whole: this process and the decoding processes that it
started. Both are counted by the system, so a busy machine moves the share little. `mini`, whose
models are the smallest, is the hardest case: larger models take longer and store as many bytes.
"""

from __future__ import annotations

import argparse
import hashlib
import resource
import tempfile
import threading
import time
import types
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import xxhash

from benchmarks.measurements import Row, median_row
from benchmarks.speed.footage import QUESTIONS
from longvid.api import index
from longvid.config import Config, load_config
from longvid.qa.video_qa import VideoQA
from longvid.store import layout, seal

_CLIPS = Path(__file__).parents[2] / "tests" / "data"
_NAMES = ("bottles_40s.mp4", "cars_overhead_30s.mp4")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--video", metavar="FILE", action="append", help="default: two clips of the tests"
    )
    parser.add_argument("--config", default="mini", metavar="NAME|FILE")
    parser.add_argument("--set", metavar="KEY=VALUE", action="append", default=[])
    parser.add_argument("--repeat", type=int, default=3)


def run(options: argparse.Namespace) -> list[Row]:
    """Index the videos and ask about them, some times."""
    config = load_config(options.config, options.set)
    videos = options.video or [str(_CLIPS / name) for name in _NAMES]
    with tempfile.TemporaryDirectory(prefix="longvid-seals-") as folder:
        rounds = [_shares(videos, config, f"{folder}/{number}") for number in range(options.repeat)]
    metric = "share of processor time"
    return [
        median_row("checksums", name, metric, [shares[name] for shares in rounds], "%")
        for name in rounds[0]
    ]


def _shares(videos: Sequence[str], config: Config, store: str) -> dict[str, float]:
    shares = {"indexing": _share(lambda: index(videos, store=store, config=config))}
    with VideoQA(store) as qa:
        shares["opening a store, first question"] = _share(lambda: qa.ask(QUESTIONS[0]))
        shares["later questions"] = _share(lambda: [qa.ask(text) for text in QUESTIONS])
    return shares


def _share(work: Callable[[], object]) -> float:
    """Return the percentage of a work's processor time that goes into hashes."""
    with _timed_hashes() as hashing:
        before = _processor_seconds()
        work()
        whole = _processor_seconds() - before
    return 100 * sum(hashing) / whole


def _processor_seconds() -> float:
    """Return the processor time of this process and of those that it started and saw end."""
    own = resource.getrusage(resource.RUSAGE_SELF)
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + ended.ru_utime + ended.ru_stime


@contextmanager
def _timed_hashes() -> Iterator[list[float]]:
    """Collect the processor seconds of every hash that the store computes."""
    spent: list[float] = []
    lock = threading.Lock()

    class Timed:
        """A hash whose updates are timed."""

        def __init__(self, make: Callable[..., Any], *arguments: Any, **options: Any) -> None:
            started = time.thread_time()
            self._hash = make(*arguments, **options)
            self._add(started)

        def update(self, data: Any) -> None:
            started = time.thread_time()
            self._hash.update(data)
            self._add(started)

        def hexdigest(self) -> str:
            return str(self._hash.hexdigest())

        def _add(self, started: float) -> None:
            with lock:
                spent.append(time.thread_time() - started)

    def timed(make: Callable[..., Any]) -> Callable[..., Timed]:
        return lambda *arguments, **options: Timed(make, *arguments, **options)

    fast, slow = xxhash.xxh3_64, hashlib.blake2b
    with (
        mock.patch.object(seal, "xxhash", types.SimpleNamespace(xxh3_64=timed(fast))),
        mock.patch.object(layout, "hashlib", types.SimpleNamespace(blake2b=timed(slow))),
    ):
        yield spent
