"""Subtitle files of every format, with bad ones: refused in one sentence, never slow."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from longvid.errors import VideoError
from longvid.timed_text.subtitle_formats import (
    MAX_BYTES,
    MAX_LINES,
    parse_subtitles,
    plain_text,
    read_sidecar,
    sidecar_of,
)
from longvid.types import TextLine

ASS = """[Script Info]
ScriptType: v4.00+

[Events]
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text
Comment: 0,0:00:00.00,0:00:09.00,Default,,0,0,0,,a note
Dialogue: 0,0:00:03.00,0:00:04.50,Default,,0,0,0,,{\\an8}Second\\Nline
Dialogue: 0,0:00:01.00,0:00:02.00,Default,,0,0,0,,First
Dialogue: 0,0:00:01.00,0:00:02.00,Default,,0,0,0,,{\\p1}m 0 0 l 9 9{\\p0}
Dialogue: 0,0:00:08.00,0:00:07.00,Default,,0,0,0,,backwards
"""
TTML = """<?xml version="1.0"?>
<tt xmlns="http://www.w3.org/ns/ttml"><body><div>
<p begin="00:00:01.000" end="00:00:02.000">First</p>
<p begin="00:00:03.000" end="00:00:04.500">Second<br/>line</p>
</div></body></tt>
"""
SAMI = """<SAMI><BODY>
<SYNC Start=1000><P Class=EN>First
<SYNC Start=2000><P Class=EN>&nbsp;
<SYNC Start=3000><P Class=EN>Second line
<SYNC Start=4500><P Class=EN>&nbsp;
</BODY></SAMI>
"""


@pytest.mark.parametrize(("suffix", "text"), [("ass", ASS), ("ttml", TTML), ("smi", SAMI)])
def test_formats_by_pysubs2(suffix: str, text: str, tmp_path: Path) -> None:
    path = tmp_path / f"film.{suffix}"
    path.write_text(text)
    first, second = read_sidecar(str(path))
    assert (first.start_seconds, first.text) == (1.0, "First")
    assert (second.start_seconds, second.text) == (3.0, "Second line")
    if suffix != "smi":  # whose lines have no end of their own
        assert (first.end_seconds, second.end_seconds) == (2.0, 4.5)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1"])
def test_encodings(encoding: str, tmp_path: Path) -> None:
    path = tmp_path / "film.srt"
    path.write_bytes("1\n00:00:01,000 --> 00:00:02,000\nCafé\n".encode(encoding))
    assert read_sidecar(str(path)) == (TextLine(1.0, 2.0, "Café"),)


def test_times_that_pysubs2_misreads() -> None:
    text = "1\n100:00:01,000 --> 100:00:02,5\na\n\n00:03,000 --> 00:04,000\nb\n"
    assert parse_subtitles(text) == (
        TextLine(360001.0, 360002.5, "a"),
        TextLine(3.0, 4.0, "b"),
    )
    assert parse_subtitles("9" * 400 + ":00:00,000 --> 9:00:00,000\nno time\n") == ()


def test_webvtt_entities_and_notes() -> None:
    text = (
        "WEBVTT\n\n1\n00:01.000 --> 00:02.000\n<c.yellow>A &amp; B</c> &lt;b&gt;\n\n"
        "NOTE 2\n\nSTYLE\n::cue {}\n"
    )
    assert parse_subtitles(text) == (TextLine(1.0, 2.0, "A & B <b>"),)


def test_only_tags_of_the_formats_are_markup() -> None:
    assert plain_text("insert <image> if x<y and z>w <font color=red>now</font>") == (
        "insert <image> if x<y and z>w now"
    )


def test_a_format_without_preference_comes_after_srt() -> None:
    assert sidecar_of("film.mp4", ["film.ass", "film.srt"]) == "film.srt"
    assert sidecar_of("film.mp4", ["film.txt", "film.ass"]) == "film.ass"


@pytest.mark.parametrize(
    "body",
    [
        "1" * 200_000,
        "<" * 200_000,
        "{\\" * 100_000,
        "<b " * 70_000,
        "\n" * 200_000,
        " " * 200_000,
        "00:00:00,000 -->" * 12_000,
        "<1" * 100_000,
    ],
    ids=["digits", "angles", "braces", "tags", "newlines", "spaces", "arrows", "clocks"],
)
@pytest.mark.parametrize("before", ["00:00:00,000 --> ", "00:00:00,000 --> 00:00:01,000\n"])
def test_hostile_text_takes_linear_time(before: str, body: str) -> None:
    """Quadratic patterns took more than 100 s of processor time for each of these."""
    started = time.process_time()
    parse_subtitles(before + body)
    assert time.process_time() - started < 20


def test_what_is_refused(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.srt"
    os.mkfifo(pipe)
    large = tmp_path / "large.srt"
    with open(large, "wb") as file:
        file.truncate(MAX_BYTES + 1)
    many = tmp_path / "many.srt"
    many.write_text("00:00:01,0 --> 00:00:02,0\na\n\n" * MAX_LINES)
    bad = tmp_path / "bad.ttml"
    bad.write_text("<tt")
    for path, kind in (
        (pipe, "unreadable"),
        (tmp_path, "unreadable"),
        (tmp_path / "gone.srt", "unreadable"),
        (large, "too-large"),
        (many, "too-large"),
        (bad, "corrupt"),
    ):
        with pytest.raises(VideoError, match=str(path)) as caught:
            read_sidecar(str(path))
        assert (caught.value.kind, caught.value.stage) == (kind, "text")
