"""Arguments of the public functions: what is wrong is one sentence of longvid's own."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import longvid
from longvid.errors import BudgetError, ConfigError, LongvidError, QuestionError, StoreError
from longvid.qa.video_qa import VideoQA
from longvid.types import Question


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"text": None}, "must be text, got None"),
        ({"text": ""}, "is empty"),
        ({"text": " \n"}, "is empty"),
        ({"text": "a\ud800b"}, "not valid Unicode"),
        ({"text": "which?", "choices": "red"}, "must be a list of texts"),
        ({"text": "which?", "choices": 3}, "must be a list of texts"),
        ({"text": "which?", "choices": [1, 2]}, "must be text, got 1"),
        ({"text": "which?", "choices": ["red"]}, "needs two choices"),
        ({"text": "which?", "choices": ["red", " "]}, "is empty"),
        ({"text": "which?", "choices": ["red", "blue", "red "]}, "'red' is given twice"),
        ({"text": "which?", "choices": ["red", "b\udcff"]}, "not valid Unicode"),
        ({"text": "which?", "video_ids": "a.mp4"}, "must be a list of texts"),
        ({"text": "which?", "history": 5}, "history must be a list of turns, got 5"),
        ({"text": "which?", "history": "ab"}, "history must be a list of turns"),
        ({"text": "which?", "history": [("a",)]}, "a question and its answer"),
        ({"text": "which?", "history": ["ab"]}, "must be a list of texts"),
        ({"text": "which?", "span": "ab"}, "span must be a start and a later end"),
        ({"text": "which?", "span": 5}, "span must be a start and a later end"),
        ({"text": "which?", "span": (5, 1)}, "span must be a start and a later end"),
        ({"text": "which?", "span": (float("nan"), 1)}, "span must be a start and a later end"),
        ({"text": "which?", "span": (0, 10**400)}, "span must be a start and a later end"),
        ({"text": "which?", "span": (0, 10**5000)}, "span must be a start and a later end"),
    ],
)
def test_a_question_that_cannot_be_asked(wrong: dict[str, Any], sentence: str) -> None:
    with pytest.raises(QuestionError, match=sentence):
        Question(**wrong)


def test_a_question_takes_lists() -> None:
    given: Any = ["red", "blue"]
    assert Question("which?", choices=given).choices == ("red", "blue")
    assert hash(Question("which?", choices=given))
    turns: Any = [["what is red?", "the star"]]
    assert hash(Question("which?", history=turns, span=_any([1, 2])))


_CALLS: list[tuple[Callable[[VideoQA], object], type[LongvidError], str]] = [
    (lambda qa: qa.ask(_any(None)), QuestionError, "must be text"),
    (lambda qa: qa.ask("what?", choices="red"), QuestionError, "must be a list"),
    (lambda qa: qa.ask("what?", choices=_any([1, 2])), QuestionError, "must be text"),
    (lambda qa: qa.ask("what?", budget=_any("64")), BudgetError, "whole number"),
    (lambda qa: qa.ask("what?", budget=0), BudgetError, "at least 1"),
    (lambda qa: qa.ask("what?", budget=True), BudgetError, "whole number"),
    (lambda qa: qa.ask("what?", video=_any(5)), QuestionError, "one video, got 5"),
    (lambda qa: qa.ask("what?", video=""), QuestionError, "one video"),
    (lambda qa: qa.ask_many(_any("what?")), QuestionError, "takes a list"),
    (lambda qa: qa.ask_many(_any(["what?"])), QuestionError, r"longvid\.Question\('what\?'\)"),
    (lambda qa: qa.ask_many(_any(None)), QuestionError, "takes a list"),
    (lambda qa: qa.select(_any("what?")), QuestionError, r"longvid\.Question\('what\?'\)"),
    (lambda qa: qa.ask("what?", history=_any(5)), QuestionError, "list of turns"),
    (lambda qa: qa.ask("what?", span=_any("ab")), QuestionError, "later end"),
    (lambda qa: qa.search("a star", top_k=0), QuestionError, "at least 1, got 0"),
    (lambda qa: qa.search("a star", top_k=_any("5")), QuestionError, "whole number"),
    (lambda qa: qa.search(""), QuestionError, "is empty"),
    (lambda qa: qa.search_subtitles("a", top_k=-1), QuestionError, "at least 1"),
    (lambda qa: qa.search_subtitles(_any(None)), QuestionError, "must be text"),
    (lambda qa: longvid.search("a star", store=_any(None)), StoreError, "got None"),
    (lambda qa: longvid.ask("what?", store=_any(7)), StoreError, "a folder or a URI"),
    (lambda qa: longvid.ask("what?", video=_any(7)), QuestionError, "one video"),
    (lambda qa: longvid.index("a.mp4", store=_any(None)), StoreError, "got None"),
    (lambda qa: longvid.index(_any(None), store="s"), ConfigError, "named by strings or Paths"),
    (lambda qa: longvid.index([_any(None)], store="s"), ConfigError, "got None"),
    (lambda qa: longvid.index("", store="s"), ConfigError, "named by strings"),
    (lambda qa: longvid.index("a.mp4", store="s", config=_any(5)), ConfigError, "got 5"),
    (lambda qa: VideoQA(qa.store.uri, _any(5)), ConfigError, "got 5"),
    (lambda qa: VideoQA(qa.store.uri, device=_any(object())), ConfigError, "run.device"),
]


def _any(value: object) -> Any:
    return value


@pytest.mark.parametrize("number", range(len(_CALLS)))
def test_a_wrong_argument_is_one_sentence(
    number: int, small_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    call, error, sentence = _CALLS[number]
    with pytest.raises(error, match=sentence):
        call(VideoQA(small_store))
    assert not list(tmp_path.iterdir())


def test_one_name_is_one_video(few_clips: Path, tmp_path: Path) -> None:
    clip = few_clips / "sign_book_640x480.mkv"
    for index, name in enumerate((clip, str(clip))):
        assert longvid.index(name, store=tmp_path / str(index)).videos_indexed == 1


def test_a_tilde_is_the_home_of_videos_too(
    few_clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(few_clips))
    report = longvid.index("~/sign_book_640x480.mkv", store=tmp_path / "store")
    assert (report.videos_indexed, report.failures) == (1, ())


def test_a_video_qa_cannot_be_pickled_or_copied(small_store: Path) -> None:
    qa = VideoQA(small_store)
    for copied in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(LongvidError, match="cannot be pickled"):
            copied(qa)


def test_a_video_qa_shows_its_store_and_model(small_store: Path) -> None:
    shown = repr(VideoQA(small_store, device="cpu"))
    assert shown == f"VideoQA({str(small_store)!r}, model='mini', device='cpu')"


def test_a_closed_video_qa_answers_no_more(small_store: Path) -> None:
    with VideoQA(small_store) as qa:
        assert qa.ask("where is the star?").text
    for call in (qa.ask, qa.search):
        with pytest.raises(QuestionError, match="was closed"):
            call("where is the star?")
    with pytest.raises(QuestionError, match="was closed"), qa:
        pass
