"""Measure reading and finding timed text: cost a frame and an hour, lines found, lines read.

Every cost is CPU seconds of the process and its children, and wall seconds. Signs are drawn over
real footage with known spans, so that recall, precision and the overlap of spans are exact;
questions are asked of lines of a made-up hour whose right lines are known.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from benchmarks.measurements import Row
from benchmarks.speed.processes import peak_mb
from benchmarks.speed.text_questions import QUESTIONS, hour_of_lines
from longvid.config import Config, load_config
from longvid.decode.audio_decoder import AudioReader
from longvid.decode.pyav import PyAVDecoder
from longvid.indexing.text_reader import TextReader
from longvid.store import Store
from longvid.timed_text.lexical_search import LexicalIndex
from longvid.timed_text.words import content_words, indexed_text
from longvid.transcribe.screen_text import ScreenText, ScreenTextReader
from longvid.types import Chunk, FrameBatch, FrameSize, SegmentPlan, TextLine

_WORDS = (
    *("harbor", "museum", "garden", "river", "station", "winter", "market", "bridge", "island"),
    *("window", "number", "morning", "closed", "open", "north", "south", "exit", "platform"),
    *("ticket", "coffee", "bakery", "library", "school", "doctor"),
)
_SIGN_SECONDS = (4.0, 9.0)
_HEIGHT, _WIDTH = 720, 1280
_VIDEO = str(Path(__file__).parents[2] / "tests/data/cars_overhead_30s.mp4")
_SLIDES_SECONDS, _A_SLIDE_SECONDS = 600, 30


@dataclass(frozen=True, slots=True)
class _Sign:
    text: str
    start: float
    end: float
    x: int
    y: int


class _Clock:
    """CPU seconds, of children that have ended too, and wall seconds of a `with` block."""

    cpu = wall = 0.0

    def __enter__(self) -> _Clock:
        self._before = os.times()
        return self

    def __exit__(self, *_: object) -> None:
        after = os.times()
        spent = [late - early for late, early in zip(after, self._before, strict=True)]
        self.cpu, self.wall = sum(spent[:4]), spent[4]

    def rows(self, task: str, subject: str, metric: str, unit: str, scale: float) -> list[Row]:
        """Return both, in a unit that is seconds times `scale`."""
        return [
            Row(task, subject, f"{metric}, CPU".lstrip(", "), self.cpu * scale, unit),
            Row(task, subject, f"{metric}, wall".lstrip(", "), self.wall * scale, unit),
        ]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--video", metavar="FILE", default=_VIDEO, help="footage without text")
    parser.add_argument("--seconds", type=int, default=120, help="of film with signs a size")
    parser.add_argument("--lines", type=int, default=600_000, help="of the search")
    parser.add_argument("--sizes", type=int, nargs="+", default=[12, 16, 20, 28, 40])


def run(options: argparse.Namespace) -> list[Row]:
    rows = _search(options.lines) + _questions() + _audio()
    frames = _footage(options.video)
    reader = ScreenText().setup()
    rows += _cost(reader, frames) + _slides()
    for size in options.sizes:
        rows += _signs(reader, frames, size, options.seconds)
    return rows


def _footage(path: str) -> list[torch.Tensor]:
    """Decode up to 60 frames at one a second, (3, 720, 1280) each."""
    decoder = PyAVDecoder(size=FrameSize(_HEIGHT, _WIDTH)).setup()
    with decoder:
        video = decoder.probe(path)
        times = tuple(np.arange(video.start_seconds, video.end_seconds, 1.0).tolist()[:60])
        plan = SegmentPlan(0, times[0], video.end_seconds, times, (False,) * len(times))
        found = decoder.decode(Chunk(video, (plan,)))
        return [frame for batch in found if isinstance(batch, FrameBatch) for frame in batch.data]


def _cost(reader: ScreenTextReader, frames: Sequence[torch.Tensor]) -> list[Row]:
    """Measure a frame: without text, with text over a picture that changes, and of one picture."""
    rows = []
    sign = _Sign("the harbor museum", 0.0, 1e9, 300, 300)
    still = [frames[0]] * len(frames)
    for subject, shown, signs in (
        ("no text", frames, ()),
        ("text", frames, (sign,)),
        ("text on a fixed picture", still, (sign,)),
    ):
        batches = list(_batches(shown, signs, 28, len(shown)))
        with _Clock() as clock:
            lines = list(reader(batches))
        task = "screen text, a frame of 720p"
        rows += clock.rows(task, subject, "", "s", 1 / len(shown))
        rows += clock.rows(task, subject, "an hour at 1 a second", "min", 60 / len(shown))
        rows.append(Row(task, subject, "lines", len(lines), ""))
    return rows


def _slides() -> list[Row]:
    """Read ten minutes of slides from a file, decoding and all: one each 30 s, 5 frames a s."""
    import av

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "slides.mp4"
        with av.open(str(path), "w") as out:
            track = out.add_stream("libx264", rate=5, options={"preset": "veryfast"})
            track.width, track.height, track.pix_fmt = _WIDTH, _HEIGHT, "yuv420p"
            font = ImageFont.load_default(size=40)
            random = np.random.default_rng(0)
            for second in range(0, _SLIDES_SECONDS, _A_SLIDE_SECONDS):
                picture = Image.new("RGB", (_WIDTH, _HEIGHT), (250, 250, 245))
                draw = ImageDraw.Draw(picture)
                for row in range(6):
                    words = " ".join(random.choice(_WORDS, 4, replace=False))
                    draw.text((80, 100 + 90 * row), words, font=font, fill=(10, 10, 20))
                frame = av.VideoFrame.from_image(picture)
                for number in range(5 * second, 5 * (second + _A_SLIDE_SECONDS)):
                    frame.pts = number
                    out.mux(track.encode(frame))
            out.mux(track.encode(None))
        with PyAVDecoder().setup() as decoder:
            video = decoder.probe(str(path))
        config = Config.from_dict(
            {**load_config("mini").to_dict(), "text_sources": [{"name": "screen_text"}]}
        )
        store = Store.create(
            Path(folder) / "store", fingerprint="0" * 16, config={}, space="none", embedding_width=1
        )
        with _Clock() as clock, TextReader(config) as reader:
            read = reader.read(store, video)
    task, subject = "screen text, a file of 720p", "slides"
    per_hour = 3600 / _SLIDES_SECONDS / 60
    return [
        *clock.rows(task, subject, "an hour, decoded and read", "min", per_hour),
        Row(task, subject, "lines", read.num_lines["screen"], ""),
    ]


def _signs(
    reader: ScreenTextReader, frames: Sequence[torch.Tensor], size: int, seconds: int
) -> list[Row]:
    """Read signs with known spans, one after the other."""
    random = np.random.default_rng(size)
    signs: list[_Sign] = []
    at = 2.0
    while not signs or at < seconds - 10:
        text = " ".join(random.choice(_WORDS, 3, replace=False))
        length = float(random.uniform(*_SIGN_SECONDS))
        place = int(random.integers(40, 500)), int(random.integers(40, 600))
        signs.append(_Sign(text, at, at + length, *place))
        at += length + float(random.uniform(2.0, 4.0))
    lines = list(reader(_batches(frames, signs, size, seconds)))
    matched = {sign: _overlap(sign, lines) for sign in signs}
    known = {_letters(sign.text) for sign in signs}
    right = sum(_letters(line.text) in known for line in lines)
    spans = [overlap for overlap in matched.values() if overlap > 0]
    task, subject = "signs drawn over footage", f"{size} pixels"
    return [
        Row(task, subject, "signs", len(signs), ""),
        Row(task, subject, "recall", len(spans) / len(signs), ""),
        Row(task, subject, "precision", right / max(1, len(lines)), ""),
        Row(task, subject, "span IoU", float(np.mean(spans)) if spans else 0.0, ""),
    ]


def _overlap(sign: _Sign, lines: Sequence[TextLine]) -> float:
    best = 0.0
    for line in lines:
        if _letters(line.text) == _letters(sign.text):
            both = min(sign.end, line.end_seconds) - max(sign.start, line.start_seconds)
            either = max(sign.end, line.end_seconds) - min(sign.start, line.start_seconds)
            best = max(best, both / either)
    return best


def _letters(text: str) -> str:
    return "".join(letter for letter in text.casefold() if letter.isalnum())


def _batches(
    frames: Sequence[torch.Tensor], signs: Sequence[_Sign], size: int, seconds: int
) -> Iterator[FrameBatch]:
    """Yield one frame a second at 720p, as the text source is given them."""
    font = ImageFont.load_default(size=size)
    for second in range(seconds):
        picture = Image.fromarray(frames[second % len(frames)].permute(1, 2, 0).numpy())
        draw = ImageDraw.Draw(picture)
        for sign in signs:
            if sign.start <= second < sign.end:
                left, top, right, bottom = draw.textbbox((sign.x, sign.y), sign.text, font=font)
                draw.rectangle((left - 6, top - 4, right + 6, bottom + 4), fill=(250, 250, 245))
                draw.text((sign.x, sign.y), sign.text, font=font, fill=(10, 10, 20))
        drawn = np.array(picture)
        times = torch.tensor([float(second)], dtype=torch.float64)
        yield FrameBatch(
            "v",
            second,
            float(second),
            second + 1.0,
            torch.from_numpy(drawn).permute(2, 0, 1)[None],
            times,
            torch.ones_like(times),
            torch.zeros(1, dtype=torch.bool),
        )


def _search(num_lines: int) -> list[Row]:
    random = np.random.default_rng(0)
    share = 1 / np.arange(1, 50_001)
    words = random.choice(50_000, size=(num_lines, 11), p=share / share.sum())
    texts = [" ".join(f"w{word}" for word in row) for row in words]
    with _Clock() as clock:
        index = LexicalIndex.build(texts)
    index.search("w0", 1)  # scores are computed once
    taken = []
    asked = [" ".join(f"w{word}" for word in row[:6]) for row in words[:200]]
    for query in (*asked, " ".join(f"w{word}" for word in range(50))):
        started = time.process_time(), time.perf_counter()
        index.search(query, 12)
        ended = time.process_time(), time.perf_counter()
        taken.append([1000 * (late - early) for late, early in zip(ended, started, strict=True)])
    task, subject = "search by words", f"{num_lines:,} lines"
    rows = clock.rows(task, subject, "build", "s", 1.0)
    for name, (*of_lines, commonest) in zip(("CPU", "wall"), zip(*taken, strict=True), strict=True):
        rows += [
            Row(task, subject, f"{name}, median", float(np.median(of_lines)), "ms", len(of_lines)),
            Row(task, subject, f"{name}, slowest", max(of_lines), "ms", len(of_lines)),
            Row(task, subject, f"{name}, the 50 commonest words", commonest, "ms"),
        ]
    return rows


def _questions() -> list[Row]:
    """Ask 60 questions of one hour of 600 lines; each has one right line."""
    lines, right = hour_of_lines()
    index = LexicalIndex.build(indexed_text(line) for line in lines)
    places = []
    for question, place in zip(QUESTIONS, right, strict=True):
        found = [one for _, one in index.search(content_words(question[0]), 3)]
        places.append(found.index(place) if place in found else 3)
    task, subject = "right line", f"{len(QUESTIONS)} questions, {len(lines)} lines"
    return [
        Row(task, subject, "first", sum(place == 0 for place in places) / len(places), ""),
        Row(task, subject, "in three", sum(place < 3 for place in places) / len(places), ""),
    ]


def _audio() -> list[Row]:
    """Decode ten minutes of stereo AAC, and say what the child needed at most."""
    import av

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tone.m4a"
        with av.open(str(path), "w", format="mp4") as out:
            track = out.add_stream("aac", rate=48_000)
            track.codec_context.layout = "stereo"
            noise = np.random.default_rng(0).normal(0, 0.1, (2, 48_000)).astype(np.float32)
            for second in range(600):
                frame = av.AudioFrame.from_ndarray(noise, "fltp", "stereo")
                frame.sample_rate, frame.pts = 48_000, 48_000 * second
                out.mux(track.encode(frame))
            out.mux(track.encode(None))
        sound, peak = 0.0, 0.0
        with _Clock() as clock, AudioReader() as reader:
            for block in reader.blocks(str(path)):
                sound += len(block.data) / 16_000
                peak = max(peak, peak_mb(reader.pid))
    task, subject = "sound", "AAC, stereo, 48 kHz"
    return [
        *clock.rows(task, subject, "", "% of real time", 100 / sound),
        Row(task, subject, "memory of the child", peak, "MB"),
    ]
