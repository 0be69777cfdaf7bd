"""Runs of the yardstick: what is gone on with, and what begins anew."""

from __future__ import annotations

from pathlib import Path

from benchmarks.tasks.world.film_rows import open_rows, records_of
from benchmarks.tasks.world.films import Case
from benchmarks.tasks.world.suites import SUITES, draw_film, draw_questions
from longvid.config import load_config
from longvid.models import mini


def test_answers_found_with_other_weights_are_not_gone_on_with(tmp_path: Path) -> None:
    suite = SUITES["10 s"]
    film = draw_film(suite, 71, 0)
    questions = tuple(draw_questions(suite, 71, 0, film))
    rows = records_of([Case(suite, film, questions, tmp_path / "film.mp4", "store")])
    config = load_config("mini", [f"encoder.model={tmp_path / 'model'}"])
    runs = []
    for seed in (3, 4, 4):
        mini.save(tmp_path / "model", seed=seed)
        runs.append(open_rows(suite.name, rows, tmp_path, config).id)
    assert runs[0] != runs[1] == runs[2]
