"""Rerankers and the language model look again at the best hits, and at no others."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from longvid.config import Ask, load_config
from longvid.errors import ConfigError, ModelError, QuestionError
from longvid.protocols import Generation
from longvid.qa import second_look
from longvid.qa.confirmation import Confirmation, confirm
from longvid.qa.second_look import SecondLook
from longvid.qa.video_qa import VideoQA
from longvid.store import Hit, Store
from longvid.testing.synthetic import make_segment
from longvid.types import Candidate, Question

HITS = [Hit("a", i, 4.0 * i, 4.0 * i + 4, 1.0 - 0.1 * i) for i in range(5)]
SEGMENTS = [make_segment(segment_index=i) for i in range(5)]


@dataclass
class Says:
    """A language model that says yes with given likelihoods, and counts its calls."""

    likelihoods: Sequence[float]
    batches: list[int] = field(default_factory=list)

    def answer_many(self, asked: Sequence[Any], listener: Any = None) -> list[Any]:
        first = sum(self.batches)
        self.batches.append(len(asked))
        found: list[Any] = []
        for likelihood in self.likelihoods[first : first + len(asked)]:
            if likelihood < 0:
                found.append(QuestionError("It has no such words."))
            else:
                scores = (math.log(likelihood), math.log(1 - likelihood))
                found.append(Generation("yes", 1, 1, {}, 0, scores))
        return found


def test_what_is_confirmed_comes_first_in_the_order_of_the_search() -> None:
    llm = Says([0.1, 0.7, 0.2, 0.9])
    found = confirm(llm, "Does this show it?", HITS, SEGMENTS[:4], 3)  # type: ignore[arg-type]
    assert [hit.segment_index for hit in found.hits] == [1, 3, 0, 2, 4]
    assert found.likelihoods == pytest.approx([0.1, 0.7, 0.2, 0.9])
    assert found.is_shown
    assert llm.batches == [3, 1]  # four calls, and not one more


def test_where_nothing_is_confirmed_nothing_is_shown() -> None:
    llm = Says([0.1] * 5)
    found = confirm(llm, "Does this show it?", HITS, SEGMENTS, 8)  # type: ignore[arg-type]
    assert not found.is_shown
    assert found.hits == HITS


def test_likelihoods_that_are_no_numbers_and_errors_are_not_passed_over() -> None:
    with pytest.raises(ModelError, match="no two numbers"):
        confirm(_NotANumber(), "?", HITS, SEGMENTS, 8)  # type: ignore[arg-type]
    with pytest.raises(QuestionError, match="no such words"):
        confirm(Says([0.5, -1.0]), "?", HITS[:2], SEGMENTS[:2], 8)  # type: ignore[arg-type]


class _NotANumber:
    def answer_many(self, asked: Sequence[Any], listener: Any = None) -> list[Any]:
        return [Generation("yes", 1, 1, {}, 0, (math.nan, 0.0)) for _ in asked]


@pytest.fixture
def look(small_store: Path) -> SecondLook:
    return SecondLook(Store.open(small_store), Ask(rerank_segments=3))


def found_in(store: Store, count: int) -> list[Hit]:
    stored = max(store.videos(), key=lambda one: one.num_segments)
    keys = [(stored.video.video_id, i) for i in range(count)]
    return [
        Hit(s.video_id, s.segment_index, s.start_seconds, s.end_seconds, 1.0 - s.segment_index)
        for s in store.load(keys)
    ]


def test_a_reranker_sees_the_best_with_their_pictures(look: SecondLook) -> None:
    seen: list[Candidate] = []

    def turn(question: Question, candidates: Sequence[Candidate]) -> list[float]:
        seen.extend(candidates)
        return [float(candidate.start_seconds) for candidate in candidates]

    hits = found_in(look.store, 4)
    ranked = look._reranked(Question("Where?"), hits, "turn", turn)
    assert [hit.segment_index for hit in ranked] == [2, 1, 0, 3]
    assert len(seen) == 3
    for candidate in seen:
        assert candidate.pictures
        for picture in candidate.pictures:
            assert candidate.start_seconds <= picture.pts_seconds < candidate.end_seconds


@pytest.mark.parametrize("scores", [[math.nan, 0.0, 1.0], [0.0, 1.0], [math.inf, 0.0, 1.0]])
def test_a_reranker_that_gives_no_numbers_is_refused(look: SecondLook, scores: list[float]) -> None:
    with pytest.raises(ModelError, match="reranker broken"):
        look._reranked(Question("Where?"), found_in(look.store, 4), "broken", lambda q, c: scores)


def test_an_answer_says_where_the_model_sees_nothing_of_the_question(
    small_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = ["ask.confirm_segments=3", "ask.confirm_prompt=is there a {caption} ?"]
    qa = VideoQA(small_store, load_config("mini", settings))
    question = "where is the black moon ?"
    assert qa.ask(question).text  # the real model is asked, whatever it sees in real footage
    monkeypatch.setattr(second_look, "confirm", lambda *_: Confirmation(list(HITS), (0.1, 0.2)))
    assert "sees no 'black moon' in the 3 best segments" in qa.ask(question).note


@pytest.mark.parametrize("prompt", ["Is it there?", "{caption} {other}", "{caption} {caption}"])
def test_a_prompt_without_its_field_is_refused(prompt: str) -> None:
    with pytest.raises(ConfigError, match="confirm_prompt"):
        Ask(confirm_prompt=prompt)
