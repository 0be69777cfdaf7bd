"""Real titles are read exactly, through the real networks."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from longvid.decode.pyav import PyAVDecoder
from longvid.errors import ConfigError
from longvid.transcribe.screen_text import ScreenText, ScreenTextReader
from longvid.types import Chunk, FrameBatch, FrameSize, SegmentPlan, TextLine

pytest.importorskip("rapidocr")
pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def reader() -> ScreenTextReader:
    return ScreenText().setup()


def lines_of(path: Path, reader: ScreenTextReader, end_seconds: float = 99.0) -> list[TextLine]:
    with PyAVDecoder().setup() as decoder:
        video = decoder.probe(str(path))
    scale = min(1.0, 1280 / max(video.height, video.width))
    size = FrameSize(round(video.height * scale), round(video.width * scale))
    end = min(end_seconds, video.end_seconds)
    times = tuple(np.arange(video.start_seconds, end, 1.0).tolist())
    plan = SegmentPlan(0, video.start_seconds, end, times, (False,) * len(times))
    with dataclasses.replace(PyAVDecoder(), size=size).setup() as decoder:
        batches = [b for b in decoder.decode(Chunk(video, (plan,))) if isinstance(b, FrameBatch)]
    return list(reader(batches))


@pytest.mark.parametrize(
    ("name", "text", "start", "end"),
    [
        ("stream_title_vfr_vp8.webm", "Audioless Video", 0.1, 1.3),
        ("text/sintel_title_11s.mp4", "THE BLENDER FOUNDATION / presents", 7.7, 9.5),
        ("text/bbb_title_vp8.webm", "THE PEACH OPEN MOVIE PROJECT / PRESENTS", 0.0, 2.0),
    ],
)
def test_titles(
    name: str, text: str, start: float, end: float, data: Path, reader: ScreenTextReader
) -> None:
    found = [line for line in lines_of(data / name, reader) if "BUN" not in line.text]
    assert [line.text for line in found] == [text]
    assert found[0].start_seconds == pytest.approx(start, abs=0.6)
    assert found[0].end_seconds == pytest.approx(end, abs=0.6)
    assert found[0].box is not None
    assert found[0].confidence > 0.95


def test_no_text_is_read_where_there_is_none(data: Path, reader: ScreenTextReader) -> None:
    assert lines_of(data / "cars_overhead_30s.mp4", reader, 8.0) == []
    assert lines_of(data / "flower_bloom.mp4", reader) == []


def test_noise_gives_nothing(reader: ScreenTextReader) -> None:
    noise = torch.randint(0, 256, (3, 3, 180, 320), generator=torch.Generator().manual_seed(0))
    times = torch.arange(3, dtype=torch.float64)
    batch = FrameBatch(
        "v", 0, 0.0, 3.0, noise.to(torch.uint8), times, torch.ones_like(times), times > 9
    )
    assert list(reader([batch])) == []
    assert list(reader([])) == []


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"scripts": "runes"}, "runes"),
        ({"every_seconds": 0.0}, "every_seconds"),
        ({"max_pixels": 8}, "max_pixels"),
        ({"min_score": 2.0}, "min_score"),
    ],
)
def test_settings_out_of_range(settings: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        ScreenText(**settings)  # type: ignore[arg-type]
