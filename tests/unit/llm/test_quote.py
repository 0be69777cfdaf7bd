"""Lines are quoted, with their time where that is asked for; nothing is made up."""

from __future__ import annotations

import pytest

from longvid.llm.quote import LISTED_NOTE, NOTHING_FOUND, Quote
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
