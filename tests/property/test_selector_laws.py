"""Laws of every registered selector. A new one is tested as soon as it is registered."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from longvid.registry import PARTS, find
from longvid.testing import check_selector
from longvid.testing.selector_laws import require_well_selected
from longvid.testing.synthetic import make_query, make_segment
from longvid.types import Segment

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


@pytest.mark.parametrize("part", SELECTORS)
@given(segments=videos(), budget=st.integers(1, 400), seed=st.integers(0, 3))
def test_laws(part: Any, segments: list[Segment], budget: int, seed: int) -> None:
    check_selector(part, [(make_query(seed), segments, budget)])


@pytest.mark.parametrize("part", SELECTORS)
def test_laws_on_the_awkward_inputs(part: Any) -> None:
    check_selector(part)


@pytest.mark.parametrize("part", SELECTORS)
@pytest.mark.parametrize("budget", [16, 17, 47, 48, 100, 383])
def test_frames_of_one_size_use_the_budget_well(part: Any, budget: int) -> None:
    segments = [make_segment(8, 4, 4, seed=i, segment_index=i) for i in range(3)]
    chosen = part.setup()(make_query(), segments, budget)
    require_well_selected(part, segments, chosen, budget)
    shown = sum(len(segment.tokens) for segment in chosen)
    if getattr(part, "over_budget", "") != "stc":
        assert shown > budget - 16


@pytest.mark.parametrize("part", SELECTORS)
def test_constant_scores_and_repeated_frames(part: Any) -> None:
    segments = [make_segment(8, 4, 4, segment_index=i, repeated=True) for i in range(3)]
    chosen = part.setup()(make_query(), segments, 100)
    require_well_selected(part, segments, chosen, 100)
    assert chosen
