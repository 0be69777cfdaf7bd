"""Real titles are read exactly, through the real networks."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw, ImageFont

from longvid.decode.pyav import PyAVDecoder
from longvid.errors import ConfigError
from longvid.transcribe.screen_text import ScreenText, ScreenTextReader
from longvid.types import Chunk, FrameBatch, FrameSize, SegmentPlan, TextLine

#: A folder of clips whose licence does not allow them here.
CLIPS = os.environ.get("LONGVID_CLIPS", "")

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


@pytest.mark.parametrize(
    ("name", "texts"),
    [
        ("text/keyboard_rot0.mov", {"AltGr"}),
        ("text/keyboard_rot90.mov", {"F9", "F10", "F11", "F12", "AltGr", "PrtS"}),
        ("text/keyboard_rot180.mov", {"End", "PgUp", "PgDn", "PrtSc Ctrl"}),
        ("edge/hevc_128.mp4", {"Frame 0"}),
        ("edge/vp9_odd_321x241.mp4", {"00:00:00.000"}),
        ("edge/h264_odd_321x241_yuv444.mp4", {"00:00:00.000"}),
    ],
)
def test_keys_and_counters(
    name: str, texts: set[str], data: Path, reader: ScreenTextReader
) -> None:
    """All that can be read by eye; keys whose print is one character are no lines."""
    assert {line.text for line in lines_of(data / name, reader)} == texts


@pytest.mark.skipif(not CLIPS, reason="LONGVID_CLIPS names no folder of further clips")
@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("bbb_opening_30s_vp8.webm", "THE PEACH OPEN MOVIE PROJECT / PRESENTS"),
        ("letter_blocks.mp4", "SAM"),
        ("edge/hevc_1080p_rot_datatrack.mp4", "F12"),
    ],
)
def test_clips_that_are_not_shipped(name: str, text: str, reader: ScreenTextReader) -> None:
    assert text in [line.text for line in lines_of(Path(CLIPS) / name, reader)]


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


CODE = (
    "def read_many(self, names):",
    "    for name in sorted(names):",
    "        data = self.read(name)",
    "        if data is None:",
    "            continue  # gone since",
    "        yield name, len(data)",
    "print('<|im_end|> <image>')",
)


def written(lines: Sequence[str], pixels: int) -> FrameBatch:
    """Return one frame of 720p with lines of text under each other."""
    image = Image.new("RGB", (1280, 720), (250, 250, 245))
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(size=pixels)
    for number in range(720 // (2 * pixels)):
        text = lines[number % len(lines)]
        draw.text((40, 2 * pixels * number), text, font=font, fill=(10, 10, 20))
    data = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None]
    times = torch.zeros(1, dtype=torch.float64)
    return FrameBatch("v", 0, 0.0, 1.0, data, times, torch.ones_like(times), times > 9)


def test_a_page_of_dense_code(reader: ScreenTextReader) -> None:
    found = " ".join(line.text for line in reader([written(CODE, 18)]))
    letters = "".join(letter for letter in found if letter.isalnum())
    for words in ("readmany", "sortednames", "dataisNone", "yieldname", "imend", "image"):
        assert words.replace(" ", "") in letters


@pytest.mark.parametrize(
    ("scripts", "kept"),
    [
        ("latin", ["EXIT 4"]),
        ("han,kana", ["東京タワー"]),
        ("hebrew,arabic", ["יציאה", "مخرج"]),
        ("any", ["EXIT 4", "東京タワー", "יציאה", "مخرج"]),
    ],
)
def test_scripts(scripts: str, kept: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """What the networks read of other scripts is kept where its script is asked for."""
    reader = ScreenText(scripts=scripts).setup()
    texts = ("EXIT 4", "東京タワー", "יציאה", "مخرج")
    boxes = np.array(
        [[[100, at], [400, at], [400, at + 30], [100, at + 30]] for at in (50, 250, 450, 650)]
    )
    result = SimpleNamespace(txts=texts, scores=(0.95,) * 4, boxes=boxes)
    monkeypatch.setattr(reader, "_read", lambda picture: result)
    lines = list(reader([written(["anything"], 40)]))
    assert sorted(line.text for line in lines) == sorted(kept)


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
