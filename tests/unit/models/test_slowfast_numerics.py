"""SlowFast-LLaVA pooling against loops, and the edges its specification names."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from longvid.errors import ConfigError, OpError
from longvid.methods.slowfast_pooling import (
    POOLING_MODES,
    SlowFastLayout,
    aggregate,
    fast_tokens,
    pool,
    slow_tokens,
)
from tests.reference.slowfast_setting import parse_setting


def _random(num_frames: int, side: int, width: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(num_frames * 100 + side)
    return torch.randn(num_frames, side * side, width, generator=generator)


def _adaptive(images: np.ndarray, sizes: tuple[int, ...]) -> np.ndarray:
    """Average over adaptive cells of the leading axes: floor(i s / n) to ceil((i + 1) s / n)."""
    for axis, n in enumerate(sizes):
        s = images.shape[axis]
        cells = [
            images.take(range(i * s // n, -(-(i + 1) * s // n)), axis).mean(axis) for i in range(n)
        ]
        images = np.stack(cells, axis)
    return images


def _pool_by_loops(x: Tensor, mode: str) -> np.ndarray:
    t, p, d = x.shape
    s = math.isqrt(p)
    a = x.numpy()
    merge = np.max if "max" in mode else np.mean
    if mode == "concat":
        return a.reshape(-1, d)
    if mode == "temporal_global_pool":
        return a.mean(0)
    if mode == "spatial_temporal_pool":
        return _adaptive(a.reshape(t, s, s, d), (16, 12, 12)).reshape(-1, d)
    if mode.startswith("spatial_1d"):
        return np.stack([merge(f[2 * j : 2 * j + 2], axis=0) for f in a for j in range(p // 2)])
    grid = a.reshape(t, s, s, d)
    return np.stack(
        [
            merge(f[2 * r : 2 * r + 2, 2 * c : 2 * c + 2].reshape(4, d), axis=0)
            for f in grid
            for r in range(s // 2)
            for c in range(s // 2)
        ]
    )


@pytest.mark.parametrize("side", [2, 5, 6, 7])
@pytest.mark.parametrize("num_frames", [1, 3])
@pytest.mark.parametrize("mode", POOLING_MODES)
def test_pool_equals_loops(mode: str, num_frames: int, side: int) -> None:
    x = _random(num_frames, side)
    np.testing.assert_allclose(pool(x, mode).numpy(), _pool_by_loops(x, mode), atol=1e-6)


@pytest.mark.parametrize(("side", "grid"), [(3, (4, 4)), (7, (2, 3)), (8, (1, 1)), (5, (5, 5))])
def test_fast_pathway_equals_loops(side: int, grid: tuple[int, int]) -> None:
    x = _random(3, side)
    layout = SlowFastLayout(fast_height=grid[0], fast_width=grid[1])
    expected = np.concatenate(
        [_adaptive(f.reshape(side, side, -1).numpy(), grid).reshape(-1, 3) for f in x]
    )
    np.testing.assert_allclose(fast_tokens(x, layout).numpy(), expected, atol=1e-6)


def test_slow_tokens_come_first_and_all_frames_are_fast() -> None:
    x = _random(7, 6)
    layout = SlowFastLayout()
    tokens = aggregate(x, layout)
    slow = slow_tokens(x, layout)
    assert len(slow) == 10 * 18
    torch.testing.assert_close(tokens[: len(slow)], slow)
    torch.testing.assert_close(tokens[len(slow) :], fast_tokens(x, layout))


@pytest.mark.parametrize("mode", POOLING_MODES)
@pytest.mark.parametrize(("num_frames", "side"), [(1, 6), (7, 5), (12, 4)])
def test_num_tokens_is_what_aggregate_makes(mode: str, num_frames: int, side: int) -> None:
    for num_slow in (0, 4):
        layout = SlowFastLayout(num_slow, mode, fast_height=2, fast_width=3)
        tokens = aggregate(_random(num_frames, side), layout)
        assert len(tokens) == layout.num_tokens(num_frames, side)


def test_one_frame_is_shown_ten_times() -> None:
    x = _random(1, 24, width=1)
    tokens = aggregate(x, SlowFastLayout())
    assert tokens.shape == (10 * 288 + 16, 1)
    slow = tokens[: 10 * 288].reshape(10, 288)
    assert (slow == slow[0]).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("mode", POOLING_MODES)
def test_half_precision_stays(mode: str, dtype: torch.dtype) -> None:
    x = _random(3, 6)
    layout = SlowFastLayout(2, mode, 2, 2)
    tokens = aggregate(x.to(dtype), layout)
    assert tokens.dtype == dtype
    torch.testing.assert_close(tokens.float(), aggregate(x, layout), atol=0.05, rtol=0.05)


def test_input_need_not_be_contiguous() -> None:
    x = _random(4, 6)
    strided = x.transpose(0, 2).contiguous().transpose(0, 2)
    assert not strided.is_contiguous()
    for mode in POOLING_MODES:
        torch.testing.assert_close(pool(strided, mode), pool(x, mode))


def test_settings_of_the_original() -> None:
    assert parse_setting("slowfast-slow_10frms_spatial_1d_max_pool-fast_4x4") == SlowFastLayout()
    assert parse_setting("slowfast-slow_8frms_concat-fast_1x2") == SlowFastLayout(8, "concat", 1, 2)
    plain = parse_setting("spatial_2d_avg_pool")
    x = _random(5, 6)
    torch.testing.assert_close(aggregate(x, plain), pool(x, "spatial_2d_avg_pool"))
    for nothing in ("none", "False", ""):
        torch.testing.assert_close(aggregate(x, parse_setting(nothing)), x[0])


def test_bad_input_is_named() -> None:
    with pytest.raises(ConfigError, match="spatial_1d_max_pool"):
        pool(_random(1, 2), "max")
    with pytest.raises(ConfigError, match="0x3"):
        SlowFastLayout(fast_height=0, fast_width=3)
    with pytest.raises(ConfigError):
        SlowFastLayout(num_slow=-1)
    for x in (torch.zeros(2, 8, 3), torch.zeros(0, 4, 3), torch.zeros(4, 3)):
        for mode in POOLING_MODES:
            with pytest.raises(OpError):
                pool(x, mode)
        with pytest.raises(OpError):
            fast_tokens(x, SlowFastLayout())


def test_a_grid_too_small_to_pool_by_two_is_named() -> None:
    x = torch.ones(3, 1, 4)
    for mode in POOLING_MODES:
        if mode.startswith(("spatial_1d", "spatial_2d")):
            with pytest.raises(OpError, match=r"2x2 patches, got 1x1 .*\(3, 1, 4\).*concat"):
                pool(x, mode)
        else:
            assert (pool(x, mode) == 1).all()
