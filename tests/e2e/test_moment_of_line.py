"""A question about the moment of a line is answered from the pictures beside it."""

from __future__ import annotations

from pathlib import Path

import longvid
from longvid.config import load_config
from longvid.models.mini_vocabulary import COLORS, SHAPES
from longvid.qa.video_qa import VideoQA
from longvid.world.film import write_film
from longvid.world.scene import make_film


def test_how_well_the_pictures_fit_is_no_reason_to_doubt_them(tmp_path: Path) -> None:
    """The line says where to look, so a low score of the search says nothing of the answer."""
    film = make_film(20_261_130, 0, num_shots=3)
    write_film(film, tmp_path / "film.mp4")
    start, shot = film.starts_seconds[1], film.shots[1]
    span = " --> ".join(f"00:00:{start + after:06.3f}" for after in (1, 3)).replace(".", ",")
    (tmp_path / "film.srt").write_text(f"1\n{span}\nThe ferry leaves.\n")
    longvid.index([tmp_path / "film.mp4"], store=tmp_path / "store", config="mini")
    question = f"What color is the {SHAPES[shot.things[0].shape]} when the ferry is mentioned?"
    for fit_score in (-1, 1.1):
        qa = VideoQA(tmp_path / "store", load_config("mini", [f"ask.fit_score={fit_score}"]))
        answer = qa.ask(question)
        assert (answer.text, answer.note) == (COLORS[shot.things[0].color], ""), fit_score
        assert answer.evidence[0].text == "The ferry leaves."
