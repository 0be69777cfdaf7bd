"""Pooling parts equal the published functions, and keep account of places and sizes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from einops import rearrange

from longvid.compress.pooling import ContentTokens, GridPooling, SlowFastPooling
from longvid.compress.token_merging import TokenMerging
from longvid.errors import ConfigError, OpError
from longvid.methods import slowfast_pooling
from longvid.systems.llama_vid import network
from longvid.testing.synthetic import WIDTH, make_segment
from longvid.types import Tokens


@pytest.mark.parametrize(
    "mode", [mode for mode in slowfast_pooling.POOLING_MODES if mode != "spatial_temporal_pool"]
)
def test_slowfast_holds_the_published_tokens_in_time_order(mode: str) -> None:
    segment = make_segment(12, 6, 6, slow_every=3)
    layout = slowfast_pooling.SlowFastLayout(4, mode, 2, 3)
    published = slowfast_pooling.aggregate(segment.tokens.data.view(12, 36, WIDTH), layout)
    pooled = SlowFastPooling(slow_mode=mode, fast_height=2, fast_width=3)(segment).tokens
    assert len(pooled) == len(published)
    num_slow = len(published) - 12 * 6
    # Within a frame slow tokens come first; fast tokens are the last six of each frame.
    counts = pooled.counts(12)
    last = counts.cumsum(0).repeat_interleave(counts) - torch.arange(len(pooled))
    fast = last <= 6
    assert torch.equal(pooled.data[~fast], published[:num_slow])
    assert torch.equal(pooled.data[fast], published[num_slow:])


def test_slowfast_tokens_lie_where_their_patches_lie() -> None:
    segment = make_segment(2, 4, 4, slow_every=2)
    tokens = SlowFastPooling(fast_height=2, fast_width=2, fast_sees_slow=False)(segment).tokens
    assert tokens.counts(2).tolist() == [8, 4]
    assert tokens.position[:2].tolist() == [[0.125, 0.25], [0.125, 0.75]]
    assert tokens.position[8:].tolist() == [[0.25, 0.25], [0.25, 0.75], [0.75, 0.25], [0.75, 0.75]]
    assert tokens.size.tolist() == [2.0] * 8 + [4.0] * 4


@pytest.mark.parametrize("side", [6, 8, 24])
@pytest.mark.parametrize("mode", ["concat", "spatial_1d_max_pool", "spatial_2d_avg_pool"])
def test_slowfast_conserves_size_on_even_grids(side: int, mode: str) -> None:
    segment = make_segment(6, side, side)
    tokens = SlowFastPooling(slow_mode=mode, fast_sees_slow=False)(segment).tokens
    assert float(tokens.size.sum()) == pytest.approx(6 * side * side)


def test_slowfast_leaves_out_fast_tokens_that_would_make_a_segment_grow() -> None:
    part = SlowFastPooling(slow_mode="concat")
    assert part(make_segment(1, 8, 8)).tokens.counts(1).tolist() == [64]
    assert part(make_segment(4, 8, 8, slow_every=4)).tokens.counts(4).tolist() == [80, 16, 16, 16]


def test_slowfast_may_average_slow_frames_over_a_grid_of_their_own() -> None:
    segment = make_segment(4, 9, 9, slow_every=2)
    part = SlowFastPooling(
        slow_height=3, slow_width=3, fast_height=2, fast_width=2, fast_sees_slow=False
    )
    tokens = part(segment).tokens
    assert tokens.counts(4).tolist() == [9, 4, 9, 4]
    cells = GridPooling(height=3, width=3)(segment).tokens
    slow = (cells.frame % 2 == 0).nonzero().flatten()
    mine = tokens.keep(tokens.frame % 2 == 0)
    torch.testing.assert_close(mine.data, cells.keep(slow).data)
    torch.testing.assert_close(mine.position, cells.keep(slow).position)
    assert mine.size.tolist() == [9.0] * 18
    fast = SlowFastPooling(fast_height=2, fast_width=2, fast_sees_slow=False)(segment).tokens
    assert torch.equal(tokens.keep(tokens.frame == 1).data, fast.keep(fast.frame == 1).data)
    with pytest.raises(ConfigError, match="slow grid of at least 1x1, or 0x0 for none, got 3x0"):
        SlowFastPooling(slow_height=3)
    with pytest.raises(OpError, match=r"9x9 patches cannot be pooled to 10x3 .*slow_height"):
        SlowFastPooling(slow_height=10, slow_width=3)(segment)


def test_slowfast_needs_square_grids_at_least_as_fine() -> None:
    with pytest.raises(OpError, match=r"grid of 4x6 patches.*grid_pooling"):
        SlowFastPooling()(make_segment(2, 4, 6))
    with pytest.raises(OpError, match=r"3x3 patches.*4x4.*lower fast_height"):
        SlowFastPooling()(make_segment(2, 3, 3))
    with pytest.raises(OpError, match=r"not a full patch grid.*put slowfast_pooling before"):
        SlowFastPooling()(make_segment(2, 8, 8, keep=0.5))


@pytest.mark.parametrize("content", ["mean", "grid:2", "grid:3", "none"])
@pytest.mark.parametrize("side", [5, 6, 8])
def test_content_tokens_are_the_published_ones(content: str, side: int) -> None:
    segment = make_segment(3, side, side)
    published = network.content_tokens(segment.tokens.data.view(3, -1, WIDTH), content)
    tokens = ContentTokens(content=content)(segment).tokens
    assert torch.equal(tokens.data, published.flatten(0, 1))
    assert tokens.counts(3).tolist() == [published.shape[1]] * 3


def test_content_grid_keeps_account_of_what_it_drops() -> None:
    tokens = ContentTokens(content="grid:2")(make_segment(1, 5, 5)).tokens
    assert tokens.size.tolist() == [4.0] * 4
    assert tokens.position[0].tolist() == pytest.approx([0.2, 0.2])


def test_content_token_of_merged_tokens_is_the_mean_of_all_patches() -> None:
    segment = make_segment(4, 6, 6)
    merged = TokenMerging(unit="target", amount=7)(segment)
    content = ContentTokens()(merged).tokens
    mean = segment.tokens.data.view(4, 36, WIDTH).mean(1)
    torch.testing.assert_close(content.data, mean)
    assert content.size.tolist() == [36.0] * 4


def test_content_token_of_ragged_frames() -> None:
    segment = make_segment(3, 6, 6, keep=0.5)
    tokens = segment.tokens
    content = ContentTokens()(segment).tokens
    for frame in range(3):
        expected = tokens.data[tokens.frame == frame].mean(0)
        torch.testing.assert_close(content.data[frame], expected)
    assert content.size.tolist() == tokens.counts(3).tolist()


@pytest.mark.parametrize(("height", "width"), [(1, 1), (2, 4), (4, 2), (8, 8)])
def test_grid_pooling_averages_blocks(height: int, width: int) -> None:
    segment = make_segment(3, 8, 8)
    grid = segment.tokens.data.view(3, 8, 8, WIDTH)
    blocks = rearrange(grid, "t (h a) (w b) d -> (t h w) (a b) d", h=height, w=width)
    tokens = GridPooling(height, width)(segment).tokens
    torch.testing.assert_close(tokens.data, blocks.mean(1))
    expected = Tokens.from_grid(blocks.mean(1).view(3, height, width, WIDTH))
    torch.testing.assert_close(tokens.position, expected.position)
    assert torch.equal(tokens.frame, expected.frame)
    assert tokens.size.tolist() == [64 / height / width] * len(tokens)


def test_grid_pooling_takes_any_tokens_and_leaves_out_empty_cells() -> None:
    segment = make_segment(1, 4, 4)
    corner = segment.with_tokens(segment.tokens.keep(torch.tensor([0, 1, 4, 15])))
    tokens = GridPooling(2, 2)(corner).tokens
    assert tokens.size.tolist() == [3.0, 1.0]
    torch.testing.assert_close(tokens.data[0], corner.tokens.data[:3].mean(0))
    assert torch.equal(tokens.data[1], corner.tokens.data[3])


@pytest.mark.parametrize(
    ("part", "fields"),
    [
        (SlowFastPooling, {"fast_height": 0}),
        (SlowFastPooling, {"slow_mode": "median"}),
        (SlowFastPooling, {"slow_mode": "spatial_temporal_pool"}),
        (ContentTokens, {"content": "max"}),
        (ContentTokens, {"content": "grid:1"}),
        (GridPooling, {"width": 0}),
    ],
)
def test_bad_settings_are_refused(part: Any, fields: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        part(**fields)
