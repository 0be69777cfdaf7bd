"""Lines are quoted, with their time where that is asked for; nothing is made up."""

from __future__ import annotations

import os

import pytest

from longvid.llm.quote import ALL_LISTED_NOTE, LISTED_NOTE, NOTHING_FOUND, Quote
from longvid.types import Evidence, Question, Selection

LINES = (
    ("they eat up to four tons of krill every day", "speech", 47.0),
    ("welcome to the harbor museum", "speech", 3.0),
    ("NO SWIMMING", "screen", 100.0),
)


def selection(*, pictures_only: bool = False) -> Selection:
    seen = Evidence("v", "v.mp4", 0.0, 8.0, 0.9)
    lines = [Evidence("v", "v.mp4", at, at + 3, 1.0, text, source) for text, source, at in LINES]
    return Selection((), (seen,) if pictures_only else (*lines, seen), 512)


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("What do they eat every day?", LINES[0][0]),
        ("Where are we, in the museum?", LINES[1][0]),
        ("What does the sign say?", "NO SWIMMING"),
        ("When does she mention krill?", f"at 00:47: {LINES[0][0]}"),
        ("What does the sign say at 0:04?", "NO SWIMMING"),
        ("What is written on the keys?", "NO SWIMMING"),
        ("When does the bakery open, says the sign?", NOTHING_FOUND),
        ("What does the doctor say about knees?", NOTHING_FOUND),
        ("Who painted the ceiling?", NOTHING_FOUND),
        ("Who?", NOTHING_FOUND),
    ],
)
def test_open_questions(question: str, answer: str) -> None:
    assert Quote().setup().answer(Question(question), selection()).text == answer


def test_what_is_written_is_listed_and_said_to_be_no_match() -> None:
    keys = [Evidence("v", "v.mp4", 0, 1, 0.0, text, "screen") for text in ("AltGr", "F9", "F9")]
    talk = Evidence("v", "v.mp4", 0, 1, 0.0, "up to four tons of krill", "speech")
    answer = (
        Quote()
        .setup()
        .answer(Question("What is written on the keyboard?"), Selection((), (*keys, talk), 512))
    )
    assert (answer.text, answer.note) == ("AltGr; F9", LISTED_NOTE)
    assert not Quote().setup().answer(Question("What does the sign say?"), selection()).note


@pytest.mark.parametrize(
    ("question", "answer", "note"),
    [
        ("When does he say swimming?", NOTHING_FOUND, "no speech has the question's words"),
        ("What does the sign say about krill?", NOTHING_FOUND, "they are in speech at 00:47"),
        ("What does he say?", f"{LINES[0][0]}; {LINES[1][0]}", ALL_LISTED_NOTE),
        ("What does it say?", "; ".join(line[0] for line in LINES), ALL_LISTED_NOTE),
        ("When does he speak?", f"at 00:47: {LINES[0][0]}", ""),
        ("What does he say about swimming in the museum?", LINES[1][0], ""),
    ],
)
def test_the_source_that_is_named_wins(question: str, answer: str, note: str) -> None:
    found = Quote().setup().answer(Question(question), selection())
    assert found.text == answer
    assert note in found.note


def test_a_line_of_another_source_is_named_with_its_video() -> None:
    found = Quote().setup().answer(Question("What does the sign say about krill?"), selection())
    assert f"at 00:47 of {os.path.basename(selection().evidence[0].path)}: " in found.note


def test_subtitles_are_on_the_screen_where_there_is_no_other_text() -> None:
    line = Evidence("v", "v.mp4", 1, 4, 1.0, "pour it into the blue mug", "subtitle")
    quoter, alone = Quote().setup(), Selection((), (line,), 512)
    assert quoter.answer(Question("What is on the screen?"), alone).text == line.text
    assert quoter.answer(Question("What is written on the mug?"), alone).text == NOTHING_FOUND
    sign = Evidence("v", "v.mp4", 1, 4, 0.0, "CAFE", "screen")
    both = Selection((), (line, sign), 512)
    assert quoter.answer(Question("What is on the screen?"), both).text == "CAFE"


def test_without_lines_nothing_is_found() -> None:
    quoter = Quote().setup()
    assert quoter.answer(Question("What?"), selection(pictures_only=True)).text == NOTHING_FOUND
    assert quoter.note == "quoted, not understood"


def test_choices() -> None:
    quoter = Quote().setup()
    asked = Question("What do they eat?", choices=("grass", "four tons of krill", "fish"))
    generation = quoter.answer(asked, selection())
    assert (generation.text, generation.choice) == ("four tons of krill", 1)
    asked = Question("What do they eat?", choices=("grass", "fish"))
    assert quoter.answer(asked, selection()).text == "cannot tell"
    assert quoter.answer(asked, selection()).choice is None
    assert [one.text for one in quoter.answer_many([(asked, selection())] * 2)] == [
        "cannot tell"
    ] * 2
