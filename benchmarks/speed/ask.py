"""Time the second question about an indexed video beside asking the same model the usual way.

The usual way opens, decodes and encodes the video and reads the prompt for every question, with
processes started and models loaded; it is measured over every frame that the index looks at, and,
in turn with longvid, over only as many frames, spread evenly, as one prompt holds. Time to the
first token is all of it, from the text of the question on. Memory is that of a fresh process that
opens a store and asks.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

from benchmarks.measurements import Row, median_row
from benchmarks.speed.footage import CLIP, QUESTIONS, loop_clip
from benchmarks.speed.random_weights import with_random_weights
from longvid.config import Config, load_config, torch_device
from longvid.indexing.decode_workers import DecodeWorkers
from longvid.indexing.local_runner import run_local
from longvid.indexing.messages import ChunkDone, DecodedItem
from longvid.indexing.segment_pipeline import SegmentPipeline, torch_threads
from longvid.qa.video_qa import VideoQA
from longvid.sample import plan_chunks
from longvid.types import (
    Chunk,
    Failure,
    FrameBatch,
    Question,
    Segment,
    SegmentPlan,
    Selection,
    Video,
)

_BESIDE_THE_MODEL = ("embed", "search", "load", "select")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--video", metavar="FILE", help="default: a clip of the tests, repeated")
    parser.add_argument("--minutes", type=float, default=60, help="least length of the video")
    parser.add_argument("--short-minutes", type=float, default=6, help="of the other, for memory")
    parser.add_argument("--config", default="mini", metavar="NAME|FILE")
    parser.add_argument("--set", metavar="KEY=VALUE", action="append", default=[])
    parser.add_argument("--random-weights", action="store_true", help="of the true sizes")
    parser.add_argument("--depth", type=int, default=0, help="most layers of random weights")
    parser.add_argument("--repeat", type=int, default=5, help="rounds of four questions")


def run(options: argparse.Namespace) -> list[Row]:
    """Index once, then ask in one process and the usual way in the same."""
    config = load_config(options.config, options.set)
    with tempfile.TemporaryDirectory(prefix="longvid-ask-") as folder:
        if options.random_weights:
            config = with_random_weights(config, folder, options.depth)
        clip = str(options.video or CLIP)
        rows = []
        for minutes in dict.fromkeys((options.minutes, options.short_minutes)):
            video = loop_clip(clip, f"{folder}/{minutes:g}{Path(clip).suffix}", minutes * 60)
            report = run_local([video], f"{folder}/store-{minutes:g}", config)
            if report.videos_failed:
                sys.exit(report.failures[0].error)
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as fresh:
                asking = fresh.submit(_peak_of_asking, f"{folder}/store-{minutes:g}", config)
            peak = asking.result()
            task = f"a question about {minutes:g} minutes, memory of the process"
            rows.append(Row(task, "longvid", "peak RSS", peak / 1e6, "MB"))
        video = f"{folder}/{options.minutes:g}{Path(clip).suffix}"
        store = f"{folder}/store-{options.minutes:g}"
        return _speed(video, store, config, options) + rows


def _speed(video: str, store: str, config: Config, options: argparse.Namespace) -> list[Row]:
    task = f"a question about {options.minutes:g} minutes"
    qa = VideoQA(store, config, config.run.device)
    beside: dict[str, list[float]] = {step: [] for step in _BESIDE_THE_MODEL}
    first_token: list[float] = []
    same_selection: list[float] = []
    by_spread_frames: list[float] = []
    with DecodeWorkers(config) as threads:
        usual = _UsualWay(video, qa, config, threads)
        usual.first_token(usual.spread)  # starts the decoding processes
        qa.ask(QUESTIONS[0])  # loads models and the index
        for _ in range(options.repeat):
            for text in QUESTIONS:
                seconds = qa.ask(text).seconds
                for step, values in beside.items():
                    values.append(1000 * seconds[step])
                preparing = sum(seconds[step] for step in _BESIDE_THE_MODEL)
                first_token.append(preparing + seconds["llm"] - seconds["decode"])
            shown = qa.select(Question(QUESTIONS[0]))
            qa.llm.answer(Question(QUESTIONS[0]), shown)
            same_selection += [_about_the_same(qa, text, shown) for text in QUESTIONS[1:]]
            by_spread_frames.append(usual.first_token(usual.spread))
        by_every_frame = usual.first_token(usual.every)
    rows = [median_row(task, "longvid", step, values, "ms") for step, values in beside.items()]
    together = [sum(values) for values in zip(*beside.values(), strict=True)]
    rows.append(median_row(task, "longvid", "all but the LLM", together, "ms"))
    rows.append(median_row(task, "longvid", "first token", first_token, "s"))
    again = "longvid, the selection read before"
    rows.append(median_row(task, again, "first token", same_selection, "s"))
    for subject, rival in (
        ("the usual way, evenly spread frames", by_spread_frames),
        ("the usual way, every indexed frame", [by_every_frame]),
    ):
        rows.append(median_row(task, subject, "first token", rival, "s"))
        for name, values in (("longvid", first_token), (again, same_selection)):
            ratio = statistics.median(rival) / statistics.median(values)
            rows.append(Row(task, name, f"sooner than {subject}", ratio, "x", len(values)))
    return rows


def _about_the_same(qa: VideoQA, text: str, shown: Selection) -> float:
    """Time a question to its first token where it selects what was read for the one before."""
    started = time.perf_counter()
    qa.select(Question(text))
    seconds = qa.llm.answer(Question(text), shown).seconds
    return time.perf_counter() - started - seconds["decode"]


class _UsualWay:
    """Opens, decodes and encodes a video for every question; processes and models are at hand."""

    def __init__(self, video: str, qa: VideoQA, config: Config, threads: DecodeWorkers) -> None:
        self._qa = qa
        self._threads = threads
        self._budget = config.ask.budget
        self._device = torch_device(config.run.device)
        self._num_asked = 0
        with torch_threads(1 if self._device == "cpu" else None):
            self._pipeline = SegmentPipeline(config, self._device)
        opened = threads.open(video).result().found
        if isinstance(opened, Failure):
            sys.exit(opened.error)
        per_frame = qa.store.status().num_tokens / max(1, _frames_of(qa))
        #: As many frames as one prompt holds, and every frame that the index looks at.
        self.spread = _spread(opened, max(1, int(self._budget / per_frame)), config)
        self.every = plan_chunks(opened, config.sample)

    def first_token(self, chunks: Sequence[Chunk]) -> float:
        self._num_asked += 1
        video = chunks[0].video
        # By its own name the decoder would still have the file open from the question before.
        name = Path(video.path).with_stem(f"asked-{self._num_asked}")
        os.link(video.path, name)
        renamed = replace(video, path=str(name))
        nothing = Selection((), (), self._budget)
        self._qa.llm.answer(Question(QUESTIONS[1]), nothing)  # forget what was read
        started = time.perf_counter()
        segments = _encode(
            self._threads,
            [replace(chunk, video=renamed) for chunk in chunks],
            self._pipeline,
            self._device,
        )
        shown = _within(segments, self._budget)
        seconds = self._qa.llm.answer(Question(QUESTIONS[0]), shown).seconds
        taken = time.perf_counter() - started - seconds["decode"]
        name.unlink()
        return taken


def _frames_of(qa: VideoQA) -> int:
    keys = [(s.video.video_id, i) for s in qa.store.videos() for i in range(min(4, s.num_segments))]
    read = qa.store.load(keys)
    mean = statistics.fmean(segment.num_frames for segment in read)
    return round(mean * sum(stored.num_segments for stored in qa.store.videos()))


def _spread(video: Video, num_frames: int, config: Config) -> tuple[Chunk, ...]:
    """Plan frames at the middles of equal spans, in segments of the usual length."""
    length = config.sample.segment_frames
    step = video.duration_seconds / num_frames
    times = [video.start_seconds + (i + 0.5) * step for i in range(num_frames)]
    segments = []
    for index, first in enumerate(range(0, num_frames, length)):
        part = tuple(times[first : first + length])
        segments.append(SegmentPlan(index, part[0], part[-1] + step / 2, part, (True,) * len(part)))
    return tuple(Chunk(video, (segment,)) for segment in segments)


def _encode(
    threads: DecodeWorkers, chunks: Sequence[Chunk], pipeline: SegmentPipeline, device: str
) -> list[Segment]:
    for chunk in chunks:
        threads.decode(chunk)
    segments: list[Segment] = []
    left = len(chunks)
    with torch_threads(1 if device == "cpu" else None):
        while left:
            match threads.get():
                case DecodedItem(item=FrameBatch() as batch):
                    segments.append(pipeline(batch))
                case ChunkDone():
                    left -= 1
    return sorted(segments, key=lambda segment: segment.segment_index)


def _within(segments: Sequence[Segment], budget: int) -> Selection:
    """Show segments spread over the video, as many as the budget holds."""
    num_tokens = sum(len(segment.tokens) for segment in segments)
    step = max(1, -(-num_tokens // budget))
    shown = list(segments[::step])
    while sum(len(segment.tokens) for segment in shown) > budget:
        shown.pop()
    return Selection(tuple(shown), (), budget)


def _peak_of_asking(store: str, config: Config) -> float:
    qa = VideoQA(store, config, config.run.device)
    for text in QUESTIONS:
        qa.ask(text)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
