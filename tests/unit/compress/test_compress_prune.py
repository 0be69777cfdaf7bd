"""Pruning parts against loops over windows."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from longvid.compress.pooling import SlowFastPooling
from longvid.compress.prune import DyCoke, RandomPruning, SpatialTokenCompression
from longvid.errors import ConfigError, OpError
from longvid.testing.synthetic import WIDTH, make_segment
from longvid.types import Segment, Tokens


def drifting(num_frames: int, side: int, noise: float = 0.7) -> Segment:
    """Make a segment whose frames resemble the first one less and less."""
    generator = torch.Generator().manual_seed(5)
    steps = noise * torch.randn(num_frames, side, side, WIDTH, generator=generator)
    return make_segment(num_frames, side, side).with_tokens(Tokens.from_grid(steps.cumsum(0)))


@pytest.mark.parametrize(("window", "threshold"), [(8, 0.8), (3, 0.5), (1, 0.8), (40, 0.3)])
def test_stc_is_the_loop_over_windows(window: int, threshold: float) -> None:
    segment = drifting(13, 4)
    x = segment.tokens.data.view(13, 16, WIDTH)
    kept = []
    for start in range(0, 13, window):
        anchor = x[start]
        for t in range(start, min(start + window, 13)):
            similarity = torch.cosine_similarity(x[t], anchor, dim=1)
            kept += [t * 16 + n for n in range(16) if t == start or similarity[n] < threshold]
    tokens = SpatialTokenCompression(window, threshold)(segment).tokens
    assert torch.equal(tokens.data, segment.tokens.data[kept])
    assert torch.equal(tokens.position, segment.tokens.position[kept])
    assert torch.equal(tokens.frame, segment.tokens.frame[kept])


def test_stc_of_a_still_segment_keeps_one_frame_a_window() -> None:
    tokens = SpatialTokenCompression()(make_segment(12, 3, 3, repeated=True)).tokens
    assert tokens.counts(12).tolist() == [9, *[0] * 7, 9, *[0] * 3]


@pytest.mark.parametrize("part", [SpatialTokenCompression(), DyCoke()])
def test_frames_without_a_common_grid_are_refused_with_shapes(part: Any) -> None:
    uneven = SlowFastPooling(fast_height=2, fast_width=2)(make_segment(4, 8, 8))
    with pytest.raises(OpError, match=r"share no patch grid.*\(80, 24\) in 4 frames of 36, 4"):
        part(uneven)


@pytest.mark.parametrize("num_frames", [1, 2, 5, 8, 11])
@pytest.mark.parametrize("ratio", [0.0, 0.7, 1.0])
def test_dycoke_is_the_loop_over_pairs(num_frames: int, ratio: float) -> None:
    segment = drifting(num_frames, 4)
    x = segment.tokens.data.view(num_frames, 16, WIDTH)
    kept: list[int] = []
    for t in range(num_frames):
        partner = t - 1 if t % 2 else t - 2 if t % 4 == 2 else None
        chosen = list(range(16))
        if partner is not None:
            similarity = torch.cosine_similarity(x[t], x[partner], dim=1)
            chosen = sorted(chosen, key=lambda n: (float(similarity[n]), n))
            chosen = sorted(chosen[: 16 - int(16 * ratio)])
        kept += [t * 16 + n for n in chosen]
    assert torch.equal(DyCoke(ratio)(segment).tokens.data, segment.tokens.data[kept])


def test_random_pruning_depends_on_seed_and_segment_only() -> None:
    first = make_segment(5, 6, 6, segment_index=1)
    part = RandomPruning(ratio=0.5)
    kept = part(first).tokens
    assert kept.counts(5).tolist() == [18] * 5
    assert torch.equal(part(first).tokens.data, kept.data)
    others = [RandomPruning(0.5, seed=1)(first), part(make_segment(5, 6, 6, segment_index=2))]
    for other in others:
        assert not torch.equal(other.tokens.position, kept.position)


@pytest.mark.parametrize(
    ("part", "fields"),
    [
        (SpatialTokenCompression, {"window": 0}),
        (SpatialTokenCompression, {"threshold": 1.5}),
        (DyCoke, {"ratio": -0.1}),
        (RandomPruning, {"ratio": 1.1}),
    ],
)
def test_bad_settings_are_refused(part: Any, fields: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        part(**fields)
