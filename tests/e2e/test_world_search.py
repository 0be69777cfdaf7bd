"""The tables of what a search finds: what is unique, what counts as found, what tells nothing."""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path

import pytest

from benchmarks.__main__ import main
from benchmarks.tasks.world import search_tables
from benchmarks.tasks.world.films import prepare
from benchmarks.tasks.world.library import draw_library
from benchmarks.tasks.world.search_tables import Place
from benchmarks.tasks.world.suites import SUITES
from longvid.config import load_config
from longvid.models.mini_vocabulary import SIGNS
from longvid.qa.video_qa import VideoQA
from longvid.store import Hit
from longvid.world.questions import view

CONFIG = load_config("mini")
SHORT = dataclasses.replace(SUITES["1 min"], seconds=24.0, file_fps=4, file_size=64)


def test_a_library_has_things_that_one_shot_of_all_films_has() -> None:
    films = draw_library(3, 12)
    assert films == draw_library(3, 12)
    signs = Counter(shot.sign for film in films for shot in film.shots if shot.sign >= 0)
    assert sum(count == 1 for count in signs.values()) >= 14
    pairs: Counter[tuple[int, int]] = Counter()
    for film in films:
        pairs.update(view(film).pairs)
    assert sum(count == 1 for count in pairs.values()) >= 7
    assert len(signs) <= len(SIGNS)


def test_a_segment_shows_a_shot_when_one_of_its_frames_does() -> None:
    place = Place("sign", "?", "", 10.0, 18.0)
    hits = [Hit("a", 0, 0.0, 8.0, 0.9), Hit("a", 1, 17.5, 25.5, 0.8), Hit("a", 2, 8.0, 16.0, 0.7)]
    assert search_tables._rank(hits, place) == 3
    assert search_tables._rank(hits[:2], place) == 3
    assert search_tables._rank([], place) == 1


def test_measures_of_nothing() -> None:
    assert search_tables._area([0.5, 0.7], [0.1, 0.5]) == pytest.approx((1 + 0.5 + 1 + 1) / 4)
    hits = [Hit("a", i, 8.0 * i, 8.0 * i + 8, 0.9 - 0.1 * i) for i in range(6)]
    # The two segments beside the best one may show the same shot, and are no rivals.
    assert search_tables._margin(hits) == pytest.approx(0.9 - (0.6 + 0.5 + 0.4) / 3)


def test_places_far_apart_are_paired_once() -> None:
    found = [Place("sign", str(i), "", 1000.0 * i, 1000.0 * i + 9) for i in range(8)]
    pairs = [(a.text, b.text) for a, b in search_tables._far_apart(found)]
    assert pairs == [("0", "4"), ("1", "5"), ("2", "6"), ("3", "7")]


def test_tables_are_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search_tables, "_APART_SECONDS", 4.0)
    cases = prepare(SHORT, 71, 2, tmp_path, CONFIG, lambda line: None)
    qa = VideoQA(cases[0].store, CONFIG)
    first = search_tables.first(cases, qa, CONFIG)
    assert {row.subject.split(" (")[0] for row in first} == set(search_tables.SETTINGS)
    nothing = search_tables.nothing(cases, qa, CONFIG)
    library = search_tables.library(cases, qa, CONFIG)
    both = search_tables.two_places(cases, qa, CONFIG)
    assert {row.subject.split(" (")[0] for row in both} == {
        "ask.route = none",
        "ask.route = auto",
    }
    every = (*first, *nothing, *library, *both)
    shares = [row.value for row in every if row.metric != "threshold"]
    assert all(0 <= share <= 1 for share in shares)
    # A film of a few shots: what is unique in it is among its first eight segments.
    assert {row.value for row in first if row.metric == "in the first 8"} == {1.0}


def test_a_table_that_is_none_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["world", "--search", "everything"]) == 1
    assert "no table of 'everything'; tables are 'first', 'nothing'" in capsys.readouterr().err
