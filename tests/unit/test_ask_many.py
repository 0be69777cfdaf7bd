"""Many questions of one store: the answers of one by one, and errors that stay where they are."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

import longvid
from longvid.config import load_config
from longvid.qa.video_qa import VideoQA
from longvid.types import Answer, Failure, Question, Selection

OPEN = ("what shape is the sign?", "where is the star?", "what color is the circle?")
CHOICES = ("red", "top left", "blue")


@pytest.fixture(scope="module")
def qa(small_store: Path) -> VideoQA:
    return VideoQA(small_store)


def test_many_equal_one_by_one(qa: VideoQA, small_store: Path) -> None:
    """Open and closed questions on three videos, side by side in batches of 3."""
    ids = [stored.video.video_id for stored in qa.store.videos()]
    questions = [Question(text, video_ids=(video,)) for video in ids for text in OPEN]
    questions.insert(2, Question("what color is the star?", choices=CHOICES))
    questions.append(Question("what color is the sign?", video_ids=ids[:1], choices=CHOICES))
    alone = VideoQA(small_store, load_config("mini", ["llm.prefix_cache=false"]))
    expected = [
        alone.ask(one.text, video=next(iter(one.video_ids), None), choices=one.choices)
        for one in questions
    ]
    together = VideoQA(small_store, load_config("mini", ["ask.batch_questions=3"]))
    for found, wanted in zip(together.ask_many(questions), expected, strict=True):
        assert isinstance(found, Answer)
        assert (found.text, found.choice) == (wanted.text, wanted.choice)
        assert found.evidence == wanted.evidence
        assert found.prompt_tokens == wanted.prompt_tokens
        assert found.output_tokens == wanted.output_tokens
        assert found.choice_scores == pytest.approx(wanted.choice_scores, abs=1e-4)
        assert set(found.seconds) == set(wanted.seconds)


def test_an_error_of_one_question_stops_no_other(qa: VideoQA) -> None:
    asked = [
        Question(OPEN[0]),
        Question("where is my zebra?"),
        Question(OPEN[1], video_ids=("nothing.mp4",)),
        Question(OPEN[2], video_ids=("bottles_40s.mp4",)),
    ]
    first, unknown, missing, last = qa.ask_many(asked)
    assert isinstance(first, Answer)
    assert isinstance(unknown, Failure)
    assert unknown.kind == "question"
    assert "zebra" in unknown.error
    assert isinstance(missing, Failure)
    assert (missing.kind, missing.path, missing.stage) == ("store", "nothing.mp4", "ask")
    assert isinstance(last, Answer)
    assert {span.path.rsplit("/", 1)[-1] for span in last.evidence} == {"bottles_40s.mp4"}


def test_boxes_that_cannot_be_found_stop_no_other_question(few_clips: Path, tmp_path: Path) -> None:
    """Grounding needs stored pictures, and comes after the language model."""
    clip, config = few_clips / "sign_book_640x480.mkv", load_config("mini", ["store.pictures=none"])
    longvid.index([clip], store=tmp_path / "store", config=config)
    qa = VideoQA(tmp_path / "store", load_config("mini", ["grounder.name=drawn_shapes"]))
    for failure in qa.ask_many([Question(text) for text in OPEN]):
        assert isinstance(failure, Failure)
        assert (failure.kind, failure.stage) == ("store", "ask")
        assert "store.pictures" in failure.error


def test_a_budget_that_holds_nothing_is_a_failure_of_each(qa: VideoQA) -> None:
    for failure in qa.ask_many([Question(text) for text in OPEN], budget=0):
        assert isinstance(failure, Failure)
        assert failure.kind == "question"


def test_no_question_gives_no_answer(qa: VideoQA) -> None:
    assert qa.ask_many([]) == []


class _Notes:
    """Writes down what it hears, and stops one question after its first word."""

    def __init__(self, stop: int) -> None:
        self.stop = stop
        self.heard: list[tuple[int, str]] = []

    def selected(self, index: int, selection: Selection) -> None:
        self.heard.append((index, f"{selection.num_tokens} tokens"))

    def text(self, index: int, text: str) -> None:
        self.heard.append((index, text))

    def stopped(self, index: int) -> bool:
        return index == self.stop


def test_a_listener_hears_selections_and_text_and_stops_one_answer(qa: VideoQA) -> None:
    """Across two batches of two; the others answer as without a listener."""
    qa = VideoQA(qa.store.uri, load_config("mini", ["ask.batch_questions=2"]))
    asked = [Question(OPEN[1]), Question(OPEN[0]), Question(OPEN[1])]
    usual = qa.ask_many(asked)
    notes = _Notes(stop=2)
    heard = qa.ask_many(asked, listener=notes)
    for index, (one, other) in enumerate(zip(usual, heard, strict=True)):
        assert isinstance(one, Answer)
        assert isinstance(other, Answer)
        mine = [text for place, text in notes.heard if place == index]
        assert mine[0] == f"{one.visual_tokens} tokens"
        assert mine[-1] == other.text
        assert all(later.startswith(earlier) for earlier, later in itertools.pairwise(mine[1:]))
        if index == notes.stop:
            assert other.output_tokens == 1 < one.output_tokens
        else:
            assert other.text == one.text
