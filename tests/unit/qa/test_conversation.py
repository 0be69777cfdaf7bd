"""Follow-up questions and spans: what is searched, what the model reads, what is left out."""

from __future__ import annotations

from pathlib import Path

import pytest

from longvid.errors import QuestionError
from longvid.llm.prompt import with_history
from longvid.qa.search_text import search_text
from longvid.qa.video_qa import VideoQA
from longvid.types import Question

STAR = "what color is the star?"


@pytest.fixture(scope="module")
def qa(small_store: Path) -> VideoQA:
    return VideoQA(small_store)


def test_a_short_follow_up_is_searched_with_the_question_before() -> None:
    before = (("where is the red star?", "left"),)
    short = Question("and the circle?", history=before)
    assert search_text(short) == "where is the red star? and the circle?"
    alone = Question("where is the circle?", history=before)
    assert search_text(alone) == alone.text  # it refers to nothing before it
    whole = Question("which shape stands beside the large blue square?", history=before)
    assert search_text(whole) == whole.text
    assert search_text(Question("and the circle?")) == "and the circle?"


def test_the_latest_turns_that_fit_are_read() -> None:
    turns = tuple((f"question {n}", f"answer {n}") for n in range(5))
    question = Question("and then?", history=turns)
    kept = with_history(question, lambda text: len(text.split()), 12)
    assert kept.history == ()
    assert kept.text == (
        "Earlier in this conversation:\nQuestion: question 3\nAnswer: answer 3\n"
        "Question: question 4\nAnswer: answer 4\n\nand then?"
    )
    assert with_history(question, lambda text: len(text.split()), 5).text == "and then?"


def test_a_closed_vocabulary_is_spared_the_conversation(qa: VideoQA) -> None:
    video = qa.store.videos()[0].video.video_id
    alone = qa.ask("where is the star?", video=video)
    history = [("where is the star?", "left"), ("what is seen, zebra or lion?", "neither")]
    follow_up = qa.ask("where is the star?", video=video, history=history)
    assert follow_up.prompt_tokens == alone.prompt_tokens


def test_a_span_restricts_evidence_and_what_is_shown(qa: VideoQA) -> None:
    [bottles] = [v for v in qa.store.videos() if v.video.duration_seconds > 30]
    name = bottles.video.video_id
    answer = qa.ask(STAR, video=name, span=(17.0, 20.0))
    assert answer.evidence
    for span in answer.evidence:
        assert (span.start_seconds, span.end_seconds) == (16.0, 24.0)
    selection = qa.select(Question(STAR, (name,), span=(17.0, 20.0)))
    assert {segment.start_seconds for segment in selection.segments if len(segment.tokens)} == {16}
    assert answer.visual_tokens < qa.ask(STAR, video=name).visual_tokens


@pytest.mark.parametrize("span", [(5.0, 5.0), (7.0, 5.0), (-1.0, 5.0)])
def test_a_span_that_is_none_is_refused(span: tuple[float, float]) -> None:
    with pytest.raises(QuestionError, match="a start and a later end"):
        Question(STAR, span=span)


def test_a_span_beyond_the_video_is_refused(qa: VideoQA) -> None:
    with pytest.raises(QuestionError, match="Nothing is indexed from 5000 to 6000 s"):
        qa.ask(STAR, span=(5000.0, 6000.0))


def test_a_turn_is_a_question_and_its_answer() -> None:
    with pytest.raises(QuestionError, match="a question and its answer"):
        Question(STAR, history=(("only a question",),))  # type: ignore[arg-type]
