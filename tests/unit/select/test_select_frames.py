"""Selectors of whole frames: which frames, in which order, with what cost."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch

from longvid.errors import BudgetError, ConfigError
from longvid.select.candidate_frames import candidates
from longvid.select.frames import (
    AdaptiveKeyframes,
    Determinantal,
    InverseTransform,
    MarginalRelevance,
    TopK,
    Uniform,
)
from longvid.testing.synthetic import EMBEDDING_WIDTH, make_query, make_segment
from longvid.types import Segment

ALL = [
    Uniform(),
    TopK(),
    InverseTransform(),
    AdaptiveKeyframes(),
    MarginalRelevance(),
    Determinantal(),
]


def shown(segments: tuple[Segment, ...]) -> list[tuple[str, float]]:
    return [(s.video_id, float(p)) for s in segments for p in s.pts_seconds]


def planted(segment: Segment, frames: list[int]) -> Segment:
    """Let these frames show exactly what the question asks, and the others its opposite."""
    embeddings = -make_query().embedding.repeat(segment.num_frames, 1)
    embeddings[frames] = make_query().embedding
    return dataclasses.replace(segment, frame_embeddings=embeddings)


def test_uniform_spaces_frames_over_all_segments() -> None:
    segments = [make_segment(5, 2, 2, segment_index=i) for i in (1, 0)]
    chosen = Uniform()(make_query(), segments, 8)
    assert shown(chosen) == [("a", 2.0), ("a", 102.0)]
    assert [len(segment.tokens) for segment in chosen] == [4, 4]


def test_uniform_takes_the_nearest_frame_that_fits() -> None:
    tokens = make_segment(5, 2, 2).tokens
    keep = torch.ones(20, dtype=torch.bool)
    keep[[1, 2, 3]] = False  # frame 0 holds one token, all others four
    segment = make_segment(5, 2, 2).with_tokens(tokens.keep(keep))
    assert shown(Uniform()(make_query(), [segment], 3)) == [("a", 0.0)]


@pytest.mark.parametrize("part", [part for part in ALL if part != Uniform()], ids=repr)
def test_planted_frames_are_found(part: Any) -> None:
    segments = [
        planted(make_segment(10, 3, 3, video_id="b"), []),
        planted(make_segment(10, 3, 3, video_id="c"), [7]),
        planted(make_segment(10, 3, 3, video_id="a", segment_index=3), []),
    ]
    chosen = shown(part(make_query(), segments, 20))
    assert len(chosen) == 2
    assert ("c", 7.0) in chosen


def test_top_k_shows_the_best_frames_in_time_order() -> None:
    segments = [make_segment(9, 2, 2, seed=i, segment_index=i) for i in range(2)]
    query = make_query()
    scores = torch.cat([s.frame_embeddings for s in segments]) @ query.embedding
    best = sorted(scores.argsort(descending=True)[:5].tolist())
    expected = [("a", 100.0 * (i // 9) + i % 9) for i in best]
    assert shown(TopK()(query, segments, 23)) == expected


def test_top_k_fills_up_with_smaller_frames() -> None:
    segment = make_segment(4, 2, 2)
    embeddings = torch.zeros(4, EMBEDDING_WIDTH)
    query = make_query()
    embeddings[:] = query.embedding
    embeddings *= torch.tensor([[0.9], [0.8], [0.7], [0.6]])
    keep = torch.ones(16, dtype=torch.bool)
    keep[[12, 13, 14]] = False  # frame 3 holds one token
    segment = dataclasses.replace(
        segment, frame_embeddings=embeddings, tokens=segment.tokens.keep(keep)
    )
    assert shown(TopK()(query, [segment], 9)) == [("a", 0.0), ("a", 1.0), ("a", 3.0)]


@pytest.mark.parametrize("part", ALL, ids=repr)
def test_what_fits_is_shown_whole(part: Any) -> None:
    segments = [make_segment(4, 2, 2, segment_index=i) for i in range(3)]
    chosen = part(make_query(), segments, 48)
    assert [len(segment.tokens) for segment in chosen] == [16, 16, 16]


@pytest.mark.parametrize("part", ALL, ids=repr)
def test_budget_below_one_frame_names_the_remedy(part: Any) -> None:
    with pytest.raises(BudgetError, match=r"budget of 8 .* smallest of 4 candidates takes 9"):
        part(make_query(), [make_segment(4, 3, 3)], 8)


def test_frames_without_tokens_are_no_candidates() -> None:
    segment = make_segment(4, 2, 2)
    tokens = segment.tokens.keep(segment.tokens.frame != 2)
    found = candidates([segment.with_tokens(tokens)], 100)
    assert found.frame.tolist() == [0, 1, 3]
    (taken,) = found.segments_with_tokens()
    assert taken.pts_seconds.tolist() == [0.0, 1.0, 3.0]
    assert taken.tokens.frame.tolist() == [0] * 4 + [1] * 4 + [2] * 4


@pytest.mark.parametrize(
    ("part", "fields"),
    [
        (InverseTransform, {"power": -1.0}),
        (AdaptiveKeyframes, {"max_depth": -1}),
        (MarginalRelevance, {"balance": 1.2}),
        (Determinantal, {"sharpness": -1.0}),
    ],
)
def test_bad_settings_are_refused(part: Any, fields: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        part(**fields)
