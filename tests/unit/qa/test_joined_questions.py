"""Questions that join several: asked apart with a share of the budget, answered together."""

from __future__ import annotations

from pathlib import Path

import pytest

from longvid.config import Ask, load_config
from longvid.errors import BudgetError
from longvid.qa.joined_questions import (
    PartsListener,
    answer_of,
    answers_of,
    parts_of,
    selection_of,
)
from longvid.qa.video_qa import VideoQA
from longvid.types import Answer, Evidence, Failure, Picture, Question, Selection

FIRST, SECOND = "where is the star?", "what color is the circle?"
BOTH = "where is the star and what color is the circle?"


@pytest.fixture(scope="module")
def qa(small_store: Path) -> VideoQA:
    return VideoQA(small_store, load_config("mini", ["ask.route=auto"]))


def _answer(text: str, *spans: float, note: str = "") -> Answer:
    evidence = tuple(Evidence("v", "v.mp4", start, start + 8, 0.5) for start in spans)
    return Answer(text, evidence, 10, 20, 2, {"llm": 1.0, f"only_{text}": 1.0}, note=note)


def test_parts_are_asked_as_if_alone(qa: VideoQA) -> None:
    whole = qa.ask(BOTH, budget=513)
    one, two = qa.ask(FIRST, budget=256), qa.ask(SECOND, budget=256)
    assert whole.text == f"{one.text}; {two.text}"
    assert whole.visual_tokens == one.visual_tokens + two.visual_tokens
    assert whole.evidence[0] == one.evidence[0]
    assert set(whole.evidence) <= {*one.evidence, *two.evidence}
    assert len(whole.evidence) <= qa.config.ask.num_evidence
    [among_many] = qa.ask_many([Question(BOTH)], budget=513)
    assert isinstance(among_many, Answer)
    assert (among_many.text, among_many.evidence) == (whole.text, whole.evidence)


def test_what_is_not_taken_apart() -> None:
    auto = Ask(route="auto")
    assert len(parts_of(Question(BOTH), auto)) == 2
    assert parts_of(Question(BOTH), Ask(route="none")) == (Question(BOTH),)
    assert len(parts_of(Question(BOTH, choices=("a", "b")), auto)) == 1
    assert len(parts_of(Question(FIRST), auto)) == 1


def test_a_part_that_fails_fails_its_question_alone(qa: VideoQA) -> None:
    asked = [Question(FIRST), Question("where is my zebra and where is the star?"), Question(BOTH)]
    first, failed, last = qa.ask_many(asked)
    assert isinstance(first, Answer)
    assert isinstance(failed, Failure)
    assert "zebra" in failed.error
    assert isinstance(last, Answer)
    assert last.text.startswith(f"{first.text}; ")


def test_answers_are_joined_in_order() -> None:
    failure = Failure("", "", "ask", "question", "no")
    parts = [_answer("a", 0, 8, note="n"), _answer("b", 40, 0, note="n"), failure, _answer("c", 0)]
    asked = [(owner, Question(text)) for owner, text in zip((0, 0, 1, 2), "abcd", strict=True)]
    joined, alone, failed = answers_of(asked, [*parts[:2], parts[3], failure], 3)
    assert isinstance(joined, Answer)
    assert (joined.text, joined.note) == ("a; b", "n")
    assert [span.start_seconds for span in joined.evidence] == [0, 40, 8]
    assert (joined.visual_tokens, joined.prompt_tokens, joined.output_tokens) == (20, 40, 4)
    assert joined.seconds == {"llm": 2.0, "only_a": 1.0, "only_b": 1.0}
    assert alone is parts[3]
    assert failed is failure


def test_a_note_says_of_which_part_it_is() -> None:
    parts = [Question("a?"), Question("b?")]
    given = [_answer("a", note="All. Of a. More."), _answer("b", note="All.")]
    assert answer_of(parts, given, 3).note == "All. 'a?': Of a. More."
    given = [_answer("a"), _answer("b", note="Of b.")]
    assert answer_of(parts, given, 3).note == "'b?': Of b."


def test_a_budget_holds_for_all_parts(qa: VideoQA) -> None:
    assert qa.ask(BOTH, budget=2).visual_tokens <= 2
    with pytest.raises(BudgetError, match=r"1 visual token .* 2 questions"):
        qa.ask(BOTH, budget=1)
    failed, alone = qa.ask_many([Question(BOTH), Question(FIRST)], budget=1)
    assert isinstance(failed, Failure)
    assert isinstance(alone, Answer)


def test_a_selection_of_parts_keeps_what_else_is_shown() -> None:
    def one(seconds: float, expert: str) -> Selection:
        picture = Picture("v", seconds, b"", 2, 2)
        return Selection((), (), 8, pictures=(picture,), experts=(expert,), text_tokens=3)

    joined = selection_of([one(4, "pictures"), one(2, "speech"), one(4, "speech")], 3)
    assert [picture.pts_seconds for picture in joined.pictures] == [2, 4]
    assert (joined.experts, joined.text_tokens) == (("pictures", "speech"), 9)


def test_text_is_told_after_all_parts_are_selected() -> None:
    heard = _Heard()
    parts_heard = PartsListener(heard, [0, 0], 3)
    parts_heard.selected(0, Selection((), (), 8))
    parts_heard.text(0, "a")
    assert not heard.texts
    parts_heard.selected(1, Selection((), (), 8))
    parts_heard.text(0, "a b")
    assert heard.texts == [(0, "a b")]


class _Heard:
    def __init__(self) -> None:
        self.selections: dict[int, Selection] = {}
        self.texts: list[tuple[int, str]] = []

    def selected(self, index: int, selection: Selection) -> None:
        self.selections[index] = selection

    def text(self, index: int, text: str) -> None:
        self.texts.append((index, text))

    def stopped(self, index: int) -> bool:
        return index == 1


def test_a_listener_hears_of_questions_and_not_of_parts(qa: VideoQA) -> None:
    heard = _Heard()
    answers = qa.ask_many([Question(BOTH), Question(FIRST)], listener=heard)
    assert set(heard.selections) == {0, 1}
    parts = [
        qa.select(Question(text), budget=qa.config.ask.budget // 2) for text in (FIRST, SECOND)
    ]
    both = selection_of(parts, qa.config.ask.num_evidence)
    assert [s.key for s in heard.selections[0].segments] == [s.key for s in both.segments]
    assert heard.selections[0].evidence == both.evidence
    assert {index for index, _ in heard.texts} <= {0, 1}
    joined = answers[0]
    assert isinstance(joined, Answer)
    # What was told is the beginning of the answer: the text of its first part.
    assert all(joined.text.startswith(text) for index, text in heard.texts if index == 0)
    assert any(index == 0 for index, _ in heard.texts)
    parts_heard = PartsListener(heard, [0, 0, 1], 3)
    assert [parts_heard.stopped(index) for index in range(3)] == [False, False, True]
