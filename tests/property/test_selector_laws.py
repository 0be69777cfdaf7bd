"""Laws of every registered selector. A new one is tested as soon as it is registered."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from longvid.errors import BudgetError, LongvidError, OpError
from longvid.registry import PARTS, find
from longvid.types import Segment, Selection
from tests.property.synthetic import fingerprint, make_query, make_segment, outcome

# Settings besides the defaults. A part that is not named here is tested with its defaults.
VARIANTS: dict[str, list[dict[str, Any]]] = {
    "bolt": [{}, {"power": 0.0}],
    "aks": [{}, {"gap": 0.1, "max_depth": 2}],
    "mmr": [{}, {"balance": 0.0}],
    "dpp": [{}, {"sharpness": 0.0}],
    "q_frame": [{}, {"temperature": 0.0, "full_share": 0.2}],
    "query_guided": [
        {"coarse_height": 2, "coarse_width": 2},
        {"score": "tokens", "coarse_height": 2, "coarse_width": 1, "full_share": 0.5},
        {"over_budget": "stc", "coarse_height": 2, "coarse_width": 2},
    ],
}
SELECTORS = [
    pytest.param(find("selector", name)(**fields), id=f"{name}-{number}")
    for name in PARTS["selector"]
    for number, fields in enumerate(VARIANTS.get(name, [{}]))
]


@st.composite
def videos(draw: st.DrawFn) -> list[Segment]:
    """Draw segments of one to three videos, in any order, some of them ragged or empty."""
    repeated = draw(st.booleans())
    keys = draw(
        st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 4)), max_size=5, unique=True)
    )
    return [
        make_segment(
            draw(st.integers(0, 6)),
            4,
            4,
            seed=0 if repeated else number,
            video_id=video_id,
            segment_index=index,
            keep=draw(st.sampled_from([1.0, 1.0, 0.5, 0.1])),
            repeated=repeated,
        )
        for number, (video_id, index) in enumerate(keys)
    ]


def smallest_frame(segments: Sequence[Segment]) -> int | None:
    counts = [
        count
        for segment in segments
        for count in segment.tokens.counts(segment.num_frames).tolist()
        if count
    ]
    return min(counts, default=None)


def check_laws(segments: Sequence[Segment], chosen: Sequence[Segment], budget: int) -> None:
    Selection(tuple(chosen), (), budget)  # refuses what is over the budget
    keys = [segment.key for segment in chosen]
    assert keys == sorted(set(keys))
    given = {segment.key: segment for segment in segments}
    for segment in chosen:
        source = given[segment.key]
        assert bool((segment.pts_seconds.diff() > 0).all())
        frames = torch.searchsorted(source.pts_seconds, segment.pts_seconds)
        assert torch.equal(source.pts_seconds[frames], segment.pts_seconds)
        assert torch.equal(source.slow[frames], segment.slow)
        assert torch.equal(source.frame_embeddings[frames], segment.frame_embeddings)
        assert segment.space == source.space
        # No frame without tokens, none with more than it was stored with.
        counts = segment.tokens.counts(segment.num_frames)
        assert bool((counts > 0).all())
        assert bool((counts <= source.tokens.counts(source.num_frames)[frames]).all())


@pytest.mark.parametrize("part", SELECTORS)
@given(segments=videos(), budget=st.integers(1, 400), seed=st.integers(0, 3))
def test_laws(part: Any, segments: list[Segment], budget: int, seed: int) -> None:
    query = make_query(seed)
    before = [fingerprint(segment) for segment in segments]
    smallest = smallest_frame(segments)
    chosen = outcome(lambda: part.setup()(query, segments, budget))
    assert [fingerprint(segment) for segment in segments] == before
    if isinstance(chosen, BudgetError):
        assert smallest is not None
        assert budget < smallest
        assert f"budget of {budget} visual tokens" in str(chosen)
        return
    if isinstance(chosen, LongvidError):
        # Only the forms that need a grid refuse, and only frames that share none.
        assert isinstance(chosen, OpError)
        assert "grid" in str(chosen)
        return
    check_laws(segments, chosen, budget)
    shown = sum(len(segment.tokens) for segment in chosen)
    assert shown >= (1 if smallest else 0)
    if sum(len(segment.tokens) for segment in segments) <= budget:
        assert shown == sum(len(segment.tokens) for segment in segments)
    # The same question again, and the candidates in another order: the same bits.
    again = part.setup()(query, segments[::-1], budget)
    assert [fingerprint(s) for s in again] == [fingerprint(s) for s in chosen]


@pytest.mark.parametrize("part", SELECTORS)
@pytest.mark.parametrize("budget", [16, 17, 47, 48, 100, 383])
def test_frames_of_one_size_use_the_budget_well(part: Any, budget: int) -> None:
    segments = [make_segment(8, 4, 4, seed=i, segment_index=i) for i in range(3)]
    chosen = part.setup()(make_query(), segments, budget)
    check_laws(segments, chosen, budget)
    shown = sum(len(segment.tokens) for segment in chosen)
    if getattr(part, "over_budget", "") != "stc":
        assert shown > budget - 16


@pytest.mark.parametrize("part", SELECTORS)
def test_constant_scores_and_repeated_frames(part: Any) -> None:
    segments = [make_segment(8, 4, 4, segment_index=i, repeated=True) for i in range(3)]
    chosen = part.setup()(make_query(), segments, 100)
    check_laws(segments, chosen, 100)
    assert chosen


@pytest.mark.parametrize("part", SELECTORS)
def test_no_candidates(part: Any) -> None:
    assert len(part.setup()(make_query(), [], 10)) == 0
    assert len(part.setup()(make_query(), [make_segment(3, 4, 4, keep=0.0)], 10)) == 0


@pytest.mark.parametrize("part", SELECTORS)
@pytest.mark.parametrize("budget", [0, -5])
def test_budget_of_nothing_is_refused(part: Any, budget: int) -> None:
    with pytest.raises(BudgetError, match=r"raise ask\.budget"):
        part.setup()(make_query(), [make_segment(3, 4, 4)], budget)


@pytest.mark.parametrize("part", SELECTORS)
def test_bad_candidates_are_refused(part: Any) -> None:
    query = make_query()
    segment = make_segment(6, 4, 4)
    with pytest.raises(OpError, match="given twice"):
        part.setup()(query, [segment, segment], 20)
    spoilt = dataclasses.replace(
        segment, frame_embeddings=torch.full_like(segment.frame_embeddings, float("nan"))
    )
    with pytest.raises(OpError, match="NaN"):
        part.setup()(query, [spoilt], 20)
    other = dataclasses.replace(segment, segment_index=1, frame_embeddings=torch.zeros(6, 3))
    with pytest.raises(LongvidError, match="width"):
        part.setup()(query, [segment, other], 20)
