"""Opening videos wherever they are: whatever a name leads to, the result is data."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from longvid.config import load_config
from longvid.indexing.video_reader import Reader
from longvid.types import Failure, Video


@pytest.fixture
def reader() -> Reader:
    return Reader(load_config("mini"))


@pytest.mark.parametrize("name", ["zero\0byte.mp4", "", "none.mp4", "x" * 300, "s3", "pipe", "."])
def test_what_cannot_be_opened_is_one_sentence(name: str, reader: Reader, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    path = f"{tmp_path}/{name}"
    opened = reader.open(path)
    assert isinstance(opened.found, Failure)
    assert (opened.path, opened.found.path) == (path, path)
    assert (opened.found.stage, opened.found.kind) == ("probe", "unreadable")
    assert "\n" not in opened.found.error


def test_an_opened_video_has_its_text_and_the_state_of_its_file(
    reader: Reader, data: Path, tmp_path: Path
) -> None:
    clip = tmp_path / "clip.mp4"
    clip.write_bytes((data / "flower_bloom.mp4").read_bytes())
    (tmp_path / "clip.srt").write_text("1\n00:00:01,000 --> 00:00:02,000\na flower\n")
    opened = reader.open(str(clip))
    reader.close()
    assert isinstance(opened.found, Video)
    assert [line.text for line in opened.text.beside] == ["a flower"]
    assert (opened.text.inside, opened.text.failures) == ((), ())
    assert opened.state is not None
    assert opened.state.num_bytes == clip.stat().st_size
