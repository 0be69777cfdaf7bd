"""SlowFast-LLaVA: pool the projected tokens of few frames finely and of all frames coarsely.

Training-free: pooling acts on tokens that the language model could already read. This module
knows tensors of tokens and one layout; it does not know how frames were sampled, and it adds no
newline or separator tokens, as the original adds none.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from einops import rearrange

from longvid.errors import ConfigError, OpError
from longvid.lazy_import import F, torch
from longvid.sample import slow_indices

if TYPE_CHECKING:
    from torch import Tensor

# Frames, rows and columns that `spatial_temporal_pool` gives whatever it is given.
_SPATIAL_TEMPORAL_GRID = (16, 12, 12)


def _side(x: Tensor, least: int = 1) -> int:
    """Return the side of the square patch grid of x (T, P, D), which must be at least `least`."""
    if x.dim() != 3 or x.shape[0] < 1:
        raise OpError(
            f"SlowFast pooling takes tokens of shape (T, P, D) with T >= 1, got {tuple(x.shape)}."
        )
    side = math.isqrt(x.shape[1])
    if side < 1 or side * side != x.shape[1]:
        raise OpError(
            f"SlowFast pooling takes a square patch grid, got {x.shape[1]} patches per frame; "
            "resize frames to a square, or use a compressor that needs no grid."
        )
    if side < least:
        raise OpError(
            f"SlowFast pooling by {least} takes a grid of at least {least}x{least} patches, got "
            f"{side}x{side} (tokens {tuple(x.shape)}); use concat or temporal_global_pool."
        )
    return side


def _frames_to_images(x: Tensor, least: int = 1) -> Tensor:
    side = _side(x, least)
    return rearrange(x, "t (h w) d -> t d h w", h=side)


def _flatten_images(x: Tensor) -> Tensor:
    return rearrange(x, "t d h w -> (t h w) d")


def _concat(x: Tensor) -> Tensor:
    _side(x)
    return x.flatten(0, 1)


def _spatial_1d_max_pool(x: Tensor) -> Tensor:
    # Pairs of the flattened grid. On an even side they are horizontal neighbours; on an odd side
    # every second row pairs across the row break, as in the original.
    _side(x, least=2)
    return rearrange(F.max_pool1d(rearrange(x, "t p d -> t d p"), 2), "t d q -> (t q) d")


def _spatial_1d_avg_pool(x: Tensor) -> Tensor:
    _side(x, least=2)
    return rearrange(F.avg_pool1d(rearrange(x, "t p d -> t d p"), 2), "t d q -> (t q) d")


def _spatial_2d_max_pool(x: Tensor) -> Tensor:
    return _flatten_images(F.max_pool2d(_frames_to_images(x, least=2), 2))


def _spatial_2d_avg_pool(x: Tensor) -> Tensor:
    return _flatten_images(F.avg_pool2d(_frames_to_images(x, least=2), 2))


def _spatial_temporal_pool(x: Tensor) -> Tensor:
    volume = rearrange(_frames_to_images(x), "t d h w -> d t h w")
    return rearrange(F.adaptive_avg_pool3d(volume, _SPATIAL_TEMPORAL_GRID), "d t h w -> (t h w) d")


def _temporal_global_pool(x: Tensor) -> Tensor:
    _side(x)
    return x.mean(0)


_POOLS: dict[str, Callable[[Tensor], Tensor]] = {
    "concat": _concat,
    "spatial_1d_max_pool": _spatial_1d_max_pool,
    "spatial_1d_avg_pool": _spatial_1d_avg_pool,
    "spatial_2d_max_pool": _spatial_2d_max_pool,
    "spatial_2d_avg_pool": _spatial_2d_avg_pool,
    "spatial_temporal_pool": _spatial_temporal_pool,
    "temporal_global_pool": _temporal_global_pool,
}

POOLING_MODES = tuple(_POOLS)


def pool(x: Tensor, mode: str) -> Tensor:
    """Pool the tokens of frames by one of the seven published modes.

    =======================  =====================================================
    concat                   every token: T * P
    spatial_1d_*_pool        pairs of the flattened grid: T * floor(P / 2)
    spatial_2d_*_pool        2 x 2 blocks, odd last row and column dropped: T * floor(side / 2)^2
    spatial_temporal_pool    adaptive average to 16 x 12 x 12: 2304, whatever T and side
    temporal_global_pool     mean over frames: P
    =======================  =====================================================

    >>> pool(torch.tensor([[[1.0], [3.0], [2.0], [0.0]]]), "spatial_1d_max_pool").tolist()
    [[3.0], [2.0]]

    Args:
        x: (T, P, D) float, P patches of a square grid in row-major order.
        mode: One of POOLING_MODES.

    Returns:
        (n, D), frames in order, row-major inside a frame.

    Raises:
        ConfigError: The mode is not known.
        OpError: The patches do not form a square grid, or one too small to be pooled by 2; or
            there is no frame.

    Source: SlowFast-LLaVA, `llava_arch.py` temporal_aggregation.
    """
    if mode not in _POOLS:
        raise ConfigError(
            f"No SlowFast pooling mode is named {mode!r}; known are {', '.join(POOLING_MODES)}."
        )
    return _POOLS[mode](x)


@dataclass(frozen=True, slots=True)
class SlowFastLayout:
    """How many frames keep detail, how they are pooled, and the coarse grid of all frames.

    >>> SlowFastLayout().num_tokens(num_frames=50, side=24)
    3680

    Args:
        num_slow: Frames of the slow pathway; 0 takes every frame.
        slow_mode: How the slow frames are pooled, one of POOLING_MODES.
        fast_height: Rows of the fast pathway's grid; 0 with fast_width 0 leaves the pathway out.
        fast_width: Columns of the fast pathway's grid.

    Source: SlowFast-LLaVA section 3; the defaults are its published setting.
    """

    num_slow: int = 10
    slow_mode: str = "spatial_1d_max_pool"
    fast_height: int = 4
    fast_width: int = 4

    def __post_init__(self) -> None:
        if self.num_slow < 0:
            raise ConfigError(f"num_slow must be 0 (every frame) or more, got {self.num_slow}.")
        if self.slow_mode not in _POOLS:
            raise ConfigError(
                f"No SlowFast pooling mode is named {self.slow_mode!r}; "
                f"known are {', '.join(POOLING_MODES)}."
            )
        grid = (self.fast_height, self.fast_width)
        if grid != (0, 0) and min(grid) < 1:
            raise ConfigError(
                f"The fast grid must be at least 1x1, or 0x0 for none, got {grid[0]}x{grid[1]}."
            )

    def slow_frames(self, num_frames: int) -> tuple[int, ...]:
        """Return the frames of the slow pathway; fewer frames than num_slow repeat."""
        return (
            slow_indices(num_frames, self.num_slow) if self.num_slow else tuple(range(num_frames))
        )

    def num_tokens(self, num_frames: int, side: int) -> int:
        """Count the tokens of `num_frames` frames of side x side patches."""
        num_slow = self.num_slow or num_frames
        slow = {
            "concat": num_slow * side * side,
            "spatial_1d": num_slow * (side * side // 2),
            "spatial_2d": num_slow * (side // 2) ** 2,
            "spatial_temporal_pool": math.prod(_SPATIAL_TEMPORAL_GRID),
            "temporal_global_pool": side * side,
        }[self.slow_mode.removesuffix("_max_pool").removesuffix("_avg_pool")]
        return slow + num_frames * self.fast_height * self.fast_width


def slow_tokens(x: Tensor, layout: SlowFastLayout) -> Tensor:
    """Pool the few frames of the slow pathway by its mode, (n, D).

    Args:
        x: (T, P, D) float.
        layout: Which frames and how.
    """
    chosen = torch.tensor(layout.slow_frames(x.shape[0]), dtype=torch.int64, device=x.device)
    return pool(x[chosen], layout.slow_mode)


def fast_tokens(x: Tensor, layout: SlowFastLayout) -> Tensor:
    """Average every frame to the coarse grid of the fast pathway.

    Cell i of n covers rows floor(i * side / n) to ceil((i + 1) * side / n) - 1: cells overlap
    where n does not divide the side, and repeat rows where n is larger.

    Args:
        x: (T, P, D) float.
        layout: The grid.

    Returns:
        (T * fast_height * fast_width, D), frames in order, row-major inside a frame.
    """
    images = _frames_to_images(x)
    if layout.fast_height == 0:
        return x.new_zeros(0, x.shape[2])
    return _flatten_images(F.adaptive_avg_pool2d(images, (layout.fast_height, layout.fast_width)))


def aggregate(x: Tensor, layout: SlowFastLayout) -> Tensor:
    """Lay out a video for the language model: the slow tokens, then the fast tokens.

    Args:
        x: (T, P, D) float, projected tokens of all sampled frames.
        layout: Slow frames, their pooling, and the fast grid.

    Returns:
        (n, D) with n = layout.num_tokens(T, side).

    Raises:
        OpError: The patches do not form a square grid, or there is no frame.

    Source: SlowFast-LLaVA section 3.2, `llava_arch.py` prepare_slowfast.
    """
    return torch.cat([slow_tokens(x, layout), fast_tokens(x, layout)])
