"""The likelihood reranker asks a model about stored pictures, no more often than is stated."""

from __future__ import annotations

import dataclasses
import io
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from longvid.encode.huggingface import HuggingFaceEncoder
from longvid.errors import ConfigError, ModelError, QuestionError, StoreError, UnknownWordsError
from longvid.llm.huggingface import HuggingFaceLanguageModel
from longvid.methods.phrase_tracks import pixels_of
from longvid.protocols import Generation, LanguageModel
from longvid.rerank.likelihood_reranker import LikelihoodReranker, Worker
from longvid.testing import check_reranker
from longvid.types import Candidate, FrameBatch, Picture, Question, Selection

QUESTION = Question("where is the red star ?")
MINI = LikelihoodReranker(model="mini", prompt="is there a {caption} ?")


def picture(seed: int, seconds: float) -> Picture:
    pixels = np.random.default_rng(seed).integers(0, 256, (64, 64, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG")
    return Picture("a", seconds, buffer.getvalue(), 64, 64)


CANDIDATES = [
    Candidate("a", i, 8.0 * i, 8.0 * i + 8, 0.9 - 0.1 * i,
              tuple(picture(10 * i + k, 8.0 * i + k) for k in range(3)))
    for i in range(4)
]  # fmt: skip


@pytest.fixture(scope="module")
def worker() -> Worker:
    return MINI.setup()


def test_laws() -> None:
    check_reranker(MINI)


def test_a_score_is_what_the_model_says_of_the_encoded_pictures(worker: Worker) -> None:
    scores = worker(QUESTION, CANDIDATES)
    encoder = HuggingFaceEncoder(grid="model").setup()
    llm = HuggingFaceLanguageModel().setup()
    asked = Question("is there a red star ?", choices=("yes", "no"))
    for candidate, score in zip(CANDIDATES, scores, strict=True):
        frames = torch.stack([torch.from_numpy(pixels_of(p).copy()) for p in candidate.pictures])
        times = torch.tensor([p.pts_seconds for p in candidate.pictures], dtype=torch.float64)
        batch = FrameBatch(
            "a", candidate.segment_index, candidate.start_seconds, candidate.end_seconds,
            frames.permute(0, 3, 1, 2).contiguous(), times, torch.ones_like(times),
            torch.ones(3, dtype=torch.bool),
        )  # fmt: skip
        segment = encoder(batch)
        generation = llm.answer(asked, Selection((segment,), (), len(segment.tokens)))
        yes, no = generation.choice_scores
        assert score == pytest.approx(1 / (1 + math.exp(no - yes)), abs=1e-5)


def test_no_more_calls_are_made_than_stated(worker: Worker) -> None:
    said = _Says([0.2, 0.7])
    part = dataclasses.replace(MINI, most_calls=2, batch_candidates=8)
    worker = _with(worker, part, said)
    shuffled = [CANDIDATES[2], CANDIDATES[0], CANDIDATES[3], CANDIDATES[1]]
    scores = worker(QUESTION, shuffled)
    assert said.calls == 2  # the two that the search puts first
    assert scores == pytest.approx([-1.0, 0.2, -2.0, 0.7])


def test_what_is_no_number_is_refused(worker: Worker) -> None:
    with pytest.raises(ModelError, match=r"no two numbers; .*leave likelihood out of rerankers"):
        _with(worker, MINI, _Says([math.nan]))(QUESTION, CANDIDATES[:1])
    with pytest.raises(QuestionError, match="no such words"):
        _with(worker, MINI, _Says([-1.0]))(QUESTION, CANDIDATES[:1])


def test_a_prompt_that_the_model_cannot_read_is_named_and_not_the_question(worker: Worker) -> None:
    part = LikelihoodReranker(model="mini")
    unread = _with(worker, part, worker._llm)
    sentence = r"'mini' cannot read the prompt of the reranker likelihood, .*\(rerankers.0.prompt\)"
    with pytest.raises(ModelError, match=sentence) as error:
        unread(QUESTION, CANDIDATES[:1])
    assert "'this', 'Answer'" in str(error.value)
    with pytest.raises(UnknownWordsError, match="xylophone"):
        worker(Question("where is the xylophone ?"), CANDIDATES[:1])


def test_segments_without_pictures_are_named(worker: Worker) -> None:
    bare = Candidate("b", 3, 24.0, 32.0, 0.5)
    with pytest.raises(StoreError, match=r"no pictures of video b from 24 to 32 s"):
        worker(QUESTION, [bare])


@pytest.mark.parametrize(
    "settings",
    [
        {"most_calls": 0},
        {"most_pictures": 0},
        {"batch_candidates": 0},
        {"prompt": "Is it there?"},
        {"prompt": "{caption} {other}"},
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"reranker\."):
        LikelihoodReranker(**settings)


class _Says:
    """Says yes with given likelihoods, and counts its calls."""

    def __init__(self, likelihoods: Sequence[float]) -> None:
        self._left = list(likelihoods)
        self.calls = 0

    def answer_many(self, asked: Sequence[Any], listener: Any = None) -> list[Any]:
        found: list[Any] = []
        for _ in asked:
            self.calls += 1
            likelihood = self._left.pop(0)
            if likelihood < 0:
                found.append(QuestionError("It has no such words."))
            else:
                scores = (math.log(likelihood), math.log1p(-likelihood))
                found.append(Generation("yes", 1, 1, {}, 0, scores))
        return found


def _with(worker: Worker, part: LikelihoodReranker, llm: _Says | LanguageModel) -> Worker:
    """Return a worker of other settings that asks another model, with the weights there are."""
    made = object.__new__(Worker)
    made.__dict__.update(worker.__dict__)
    made._part, made._llm = part, llm  # type: ignore[assignment]
    return made
