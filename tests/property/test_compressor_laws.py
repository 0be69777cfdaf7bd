"""Laws of every registered compressor. A new one is tested as soon as it is registered."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from longvid.errors import LongvidError, OpError
from longvid.protocols import LearnedCompressorPart
from longvid.registry import PARTS, find
from longvid.testing import check_compressor
from longvid.testing.compressor_laws import require_well_compressed
from longvid.testing.synthetic import make_segment, outcome
from longvid.types import Segment
from tests.conftest import require

# Settings besides the defaults. A part that is not named here is tested with its defaults.
VARIANTS: dict[str, list[dict[str, Any]]] = {
    "slowfast_pooling": [
        {},
        {"slow_mode": "concat", "fast_sees_slow": False, "fast_height": 2, "fast_width": 1},
        {"slow_mode": "spatial_2d_avg_pool", "fast_height": 1, "fast_width": 1},
        {"slow_mode": "temporal_global_pool", "fast_height": 3, "fast_width": 3},
        {"slow_height": 3, "slow_width": 2, "fast_height": 2, "fast_width": 2},
    ],
    "content_tokens": [{}, {"content": "none"}, {"content": "grid:3"}],
    "grid_pooling": [{}, {"height": 1, "width": 3}],
    "stc": [{}, {"window": 3, "threshold": 0.1}, {"window": 1}],
    "dycoke": [{}, {"ratio": 1.0}],
    "random": [{}, {"ratio": 1.0, "seed": 3}],
    "evs": [{}, {"ratio": 0.0}, {"ratio": 0.95, "score_width": 8}],
    "vidcom2": [{}, {"ratio": 1.0}, {"ratio": 0.01, "score_width": 8}],
    "vcast": [{}, {"ratio": 1.0}, {"ratio": 0.1, "min_k": 0, "score_width": 8}],
    "dtd": [{}, {"threshold": 0.95, "score_width": 8}, {"share": 1.0}],
    "flashvid": [
        {},
        {"min_scenes": 2, "exact": False},
        {"ratio": 0.8, "alpha": 0.0, "score_width": 8},
        {"ratio": 0.04, "alpha": 1.0, "temporal_threshold": -1.0},
    ],
    "tome": [
        {},
        {"unit": "r", "amount": 5, "heads": 3},
        {"unit": "target", "amount": 7, "frames_per_clip": 4},
        {"unit": "kth", "amount": 3},
        {"unit": "ratio", "amount": 0.9, "protected": 2, "frames_per_clip": 2},
    ],
}
# Those with weights need a checkpoint: tests/parity/test_learned_queries.py.
ARITHMETIC = [
    name
    for name in PARTS["compressor"]
    if not isinstance(find("compressor", name)(), LearnedCompressorPart)
]
COMPRESSORS = [
    pytest.param(find("compressor", name)(**fields), id=f"{name}-{number}")
    for name in ARITHMETIC
    for number, fields in enumerate(VARIANTS.get(name, [{}]))
]
DEFAULTS = [pytest.param(find("compressor", name)(), id=name) for name in ARITHMETIC]

segments = st.builds(
    make_segment,
    st.integers(0, 9),
    st.integers(1, 9),
    st.integers(1, 9),
    seed=st.integers(0, 3),
    dtype=st.sampled_from([torch.float32, torch.bfloat16, torch.float16]),
    slow_every=st.integers(1, 4),
    keep=st.sampled_from([1.0, 1.0, 0.6, 0.0]),
    repeated=st.booleans(),
)


@pytest.mark.parametrize("part", COMPRESSORS)
@given(segment=segments)
def test_laws(part: Any, segment: Segment) -> None:
    check_compressor(part, [segment])


@pytest.mark.parametrize("part", COMPRESSORS)
def test_laws_on_the_awkward_inputs(part: Any) -> None:
    check_compressor(part)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        pytest.param(left.values[0], right.values[0], id=f"{left.id}-{right.id}")
        for left, right in itertools.product(DEFAULTS, DEFAULTS)
    ],
)
def test_compressors_chain_or_say_why_not(first: Any, second: Any) -> None:
    segment = make_segment(8, 8, 8, seed=1)
    middle = first.setup()(segment)
    result = outcome(lambda: second.setup()(middle))
    if isinstance(result, LongvidError):
        assert isinstance(result, OpError)
        assert "grid" in str(result)
    else:
        require_well_compressed(second, middle, result)


@pytest.mark.gpu
@pytest.mark.parametrize("part", COMPRESSORS)
def test_a_gpu_gives_the_same_tokens(part: Any) -> None:
    if not torch.cuda.is_available():
        require("cuda", "torch sees no GPU")
    segment = make_segment(8, 8, 8, seed=2)
    here, there = part.setup()(segment).tokens, part.setup("cuda")(segment).tokens
    assert torch.equal(here.frame, there.frame)
    for name in ("data", "position", "size"):
        torch.testing.assert_close(getattr(there, name), getattr(here, name))
