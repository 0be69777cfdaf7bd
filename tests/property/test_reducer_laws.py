"""Laws of every registered reducer. A new one is tested as soon as it is registered."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from longvid.registry import PARTS, find
from tests.property.synthetic import make_frames

# Settings besides the defaults; those of a part that needs weights name its weightless form.
VARIANTS: dict[str, list[dict[str, Any]]] = {
    "longvu_temporal": [
        {"features": "pixels"},
        {"features": "pixels", "window": 3, "threshold": 0.01},
        {"features": "pixels", "window": 8, "include_self": False, "force_middle": False},
        {"features": "pixels", "window": 1, "threshold": 1e-6, "force_middle": False},
    ],
}
REDUCERS = [
    pytest.param(find("reducer", name)(**fields), id=f"{name}-{number}")
    for name in PARTS["reducer"]
    for number, fields in enumerate(VARIANTS.get(name, [{}]))
]


@pytest.mark.parametrize("part", REDUCERS)
@given(
    num_frames=st.integers(1, 20),
    seed=st.integers(0, 5),
    repeated=st.booleans(),
)
def test_keeps_at_least_one_frame_and_invents_none(
    part: Any, num_frames: int, seed: int, repeated: bool
) -> None:
    batch = make_frames(num_frames, seed=seed, repeated=repeated)
    before = batch.data.clone()
    reduced = part.setup()(batch)
    again = part.setup()(batch)
    assert 1 <= len(reduced) <= num_frames
    assert torch.equal(batch.data, before)
    assert torch.equal(again.pts_seconds, reduced.pts_seconds)
    kept = torch.isin(batch.pts_seconds, reduced.pts_seconds).nonzero().flatten()
    expected = batch.keep(kept)
    for name in ("data", "pts_seconds", "duration_seconds", "slow"):
        assert torch.equal(getattr(reduced, name), getattr(expected, name))
    assert (reduced.video_id, reduced.segment_index) == (batch.video_id, batch.segment_index)


@pytest.mark.parametrize("part", REDUCERS)
def test_part_is_frozen_comparable_and_hashable(part: Any) -> None:
    assert part == type(part)(**{name: getattr(part, name) for name in part.__slots__})
    assert hash(part) == hash(part)
