"""Laws of every registered reducer. A new one is tested as soon as it is registered."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from longvid.registry import PARTS, find
from longvid.testing import check_reducer
from longvid.testing.synthetic import make_frames

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
def test_laws(part: Any, num_frames: int, seed: int, repeated: bool) -> None:
    check_reducer(part, [make_frames(num_frames, seed=seed, repeated=repeated)])


@pytest.mark.parametrize("part", REDUCERS)
def test_laws_on_the_awkward_inputs(part: Any) -> None:
    check_reducer(part)
