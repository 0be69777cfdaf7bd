from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from longvid.world.film import main, write_film
from longvid.world.scene import make_film
from tests.reference.world_drawing import draw_one


@pytest.mark.parametrize("fps", [2, 30])
def test_a_film_is_written_as_h264_and_reads_back(tmp_path: Path, fps: int) -> None:
    film = make_film(41, 0, num_shots=2)
    path = tmp_path / "film.mp4"
    count = write_film(film, path, fps=fps, size=64)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "h264"
        decoded = [(float(f.time), f.to_ndarray(format="rgb24")) for f in container.decode(stream)]
    assert len(decoded) == count == round(film.duration_seconds * fps)
    for time, image in decoded[:: max(1, count // 10)]:
        shot, fraction = film.locate(np.array([time]))
        drawn = draw_one(film.shots[int(shot[0])], float(fraction[0])).transpose(1, 2, 0)
        assert np.abs(image.astype(int) - drawn.astype(int)).mean() < 8.0


def test_size_and_rate_are_checked(tmp_path: Path) -> None:
    film = make_film(41, 0)
    with pytest.raises(ValueError, match="even size"):
        write_film(film, tmp_path / "film.mp4", size=63)
    with pytest.raises(ValueError, match="2 to 30"):
        write_film(film, tmp_path / "film.mp4", fps=60)


def test_command_writes_a_film_and_questions(tmp_path: Path) -> None:
    film, questions = tmp_path / "film.mp4", tmp_path / "film.json"
    arguments = ["--minutes", "0.3", "--fps", "2", "--size", "64", "--output", str(film)]
    assert main([*arguments, "--questions", str(questions)]) == 0
    assert film.stat().st_size > 1000
    assert "evidence" in questions.read_text()
