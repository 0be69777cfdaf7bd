"""Real titles are read exactly, through the real networks."""

from __future__ import annotations

import dataclasses
import os
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw, ImageFont

from longvid.decode.pyav import PyAVDecoder
from longvid.errors import ConfigError
from longvid.transcribe import screen_lines
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
        # The print of the key with quotation marks is two strokes, too.
        ("text/keyboard_1080p_hevc.mp4", {"F11", "F12", "11"}),
        ("edge/hevc_128.mp4", {"Frame 0"}),
        ("edge/av1_10bit.mp4", {"00:00:00.000"}),
        ("edge/vp9_odd_321x241.mp4", {"00:00:00.000"}),
        ("edge/h264_odd_321x241_yuv444.mp4", {"00:00:00.000"}),
    ],
)
def test_keys_and_counters(
    name: str, texts: set[str], data: Path, reader: ScreenTextReader
) -> None:
    """All that can be read by eye; keys whose print is one character are no lines."""
    assert {line.text for line in lines_of(data / name, reader)} == texts


def test_letter_blocks(data: Path, reader: ScreenTextReader) -> None:
    """A hand lays SAM TWO; blocks that lie about in all directions are no lines."""
    [line] = lines_of(data / "text/letter_blocks_end.mp4", reader)
    assert line.text in ("SAM TW", "SAM TWO")
    assert line.end_seconds == pytest.approx(1.4, abs=0.01)


@pytest.mark.skipif(not CLIPS, reason="LONGVID_CLIPS names no folder of further clips")
@pytest.mark.parametrize(
    ("name", "texts"),
    [
        ("bbb_opening_30s_vp8.webm", {"THE PEACH OPEN MOVIE PROJECT / PRESENTS", "BUNKY"}),
        ("sintel_trailer_30s.mp4", {"THE BLENDER FOUNDATION / presents"}),
    ],
)
def test_clips_that_are_not_shipped(name: str, texts: set[str], reader: ScreenTextReader) -> None:
    assert {line.text for line in lines_of(Path(CLIPS) / name, reader)} == texts


def test_signs_in_chinese_and_japanese(data: Path) -> None:
    reader = ScreenText(scripts="latin,han,kana").setup()
    lines = lines_of(data / "text/chinese_signs.mp4", reader)
    assert [line.text for line in lines] == [
        "博物馆九点开门",
        "紧急出口请勿停车",  # drawn with a gap
        "東京タワーの入口",
    ]
    assert [line.start_seconds for line in lines] == pytest.approx([0.0, 3.0, 6.0], abs=0.6)


@pytest.mark.parametrize(
    "name",
    [
        "flower_bloom.mp4",
        "sign_book_640x480.mkv",
        "office_bw_640x480.mp4",
        "bbb_bird_vp9_642x642.webm",
        "edge/av1_640x360.mkv",
        "edge/nasa_hevc_hdr10.mp4",
    ],
)
def test_no_text_is_read_where_there_is_none(
    name: str, data: Path, reader: ScreenTextReader
) -> None:
    assert lines_of(data / name, reader, 8.0) == []


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
        ("any", ["EXIT 4", "東京タワー", "יציאה", "مخرج"]),
    ],
)
def test_scripts(scripts: str, kept: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """What is read of other scripts is kept where its script is asked for."""
    reader = ScreenText(scripts=scripts).setup()
    texts = ("EXIT 4", "東京タワー", "יציאה", "مخرج")
    boxes = np.array(
        [[[100, at], [400, at], [400, at + 30], [100, at + 30]] for at in (50, 250, 450, 650)]
    )
    result = SimpleNamespace(txts=texts, scores=(0.95,) * 4, boxes=boxes)
    monkeypatch.setattr(reader, "_read", lambda picture: result)
    lines = list(reader([written(["anything"], 40)]))
    assert sorted(line.text for line in lines) == sorted(kept)


@pytest.mark.parametrize("script", ["hangul", "cyrillic", "arabic", "hebrew", "devanagari", "thai"])
def test_a_script_that_the_networks_do_not_know_is_refused(script: str) -> None:
    part = ScreenText(scripts=f"latin,{script}")
    for ask in (part.identity, part.setup):
        with pytest.raises(ConfigError, match=f"cannot read {script}: .* latin, han, kana, greek"):
            ask()


def test_the_scripts_that_are_read_are_those_of_the_dictionary(reader: ScreenTextReader) -> None:
    letters = reader._read.text_rec.postprocess_op.character
    known = [
        script
        for script, starts in screen_lines._SCRIPTS.items()
        if any(unicodedata.name(one[0], "").startswith(starts) for one in letters if one)
    ]
    assert known == list(screen_lines.READ_SCRIPTS)


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
