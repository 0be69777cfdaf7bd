"""Cuts are found where a coder began a group of pictures early, and frames after them looked at."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from longvid.decode.cut_engine import early
from longvid.decode.cuts import read_cuts
from longvid.errors import VideoError
from longvid.indexing.text_reader import _plans


def film(path: Path, shots: tuple[float, ...]) -> Path:
    """Write noise that stays for each shot, 10 frames a second, groups of at most 2 s."""
    random = np.random.default_rng(0)
    with av.open(str(path), "w") as out:
        track = out.add_stream("libx264", rate=10)
        track.width = track.height = 64
        track.pix_fmt = "yuv420p"
        track.options = {"g": "20"}
        at = 0
        for seconds in shots:
            picture = random.integers(0, 255, (64, 64, 3)).astype(np.uint8)
            for _ in range(round(10 * seconds)):
                frame = av.VideoFrame.from_ndarray(picture, "rgb24")
                frame.pts, frame.time_base = at, Fraction(1, 10)
                out.mux(track.encode(frame))
                at += 1
        out.mux(track.encode(None))
    return path


def test_cuts_of_a_coded_film(tmp_path: Path) -> None:
    path = film(tmp_path / "film.mp4", (2.7, 4.4, 0.6, 5.0))
    assert read_cuts(str(path)) == pytest.approx([2.7, 7.1, 7.7])


def test_groups_of_one_length_say_nothing(tmp_path: Path, data: Path) -> None:
    assert read_cuts(str(film(tmp_path / "film.mp4", (7.0,)))) == ()
    assert len(early(np.zeros(0))) == len(early(np.zeros(1))) == 0
    assert read_cuts(str(data / "bottles_40s.mp4")) == ()


def test_a_file_that_is_none(tmp_path: Path) -> None:
    path = tmp_path / "none.mp4"
    path.write_bytes(b"nothing")
    with pytest.raises(VideoError) as caught:
        read_cuts(str(path))
    assert caught.value.stage == "text"


def test_frames_after_cuts_are_among_those_looked_at() -> None:
    plans = _plans(0.0, 10.0, 2.0, (2.7, 4.0, 11.0))
    assert [time for plan in plans for time in plan.sample_seconds] == [
        0.0,
        2.0,
        2.7,
        4.0,
        6.0,
        8.0,
    ]
    assert plans[-1].end_seconds == 10.0
    assert len(_plans(0.0, 20.0, 1.0)) == 3
