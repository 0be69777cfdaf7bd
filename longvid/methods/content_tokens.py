"""LLaMA-VID's content tokens: what describes a frame whatever the question is.

Apart from the network, so that a configuration can name a mode without loading one.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from einops import rearrange

from longvid.errors import ConfigError, OpError
from longvid.lazy_import import F

if TYPE_CHECKING:
    from torch import Tensor


def grid_size(content: str) -> int | None:
    """Read a content mode: None for "none", 1 for "mean", k for "grid:k".

    Args:
        content: "none", "mean" or "grid:k" with k of at least 2; released as `compress_type`.

    Raises:
        ConfigError: It is none of these.
    """
    if content == "none":
        return None
    if content == "mean":
        return 1
    kind, _, number = content.partition(":")
    if kind == "grid" and number.isdecimal() and int(number) > 1:
        return int(number)
    raise ConfigError(
        f"{content!r} is no content mode; use none, mean, or grid:k with k of at least 2."
    )


def content_tokens(x: Tensor, content: str) -> Tensor:
    """Pool the patches of each frame to its content tokens, before they are projected.

    A grid has kernel and stride floor(side / k) and no padding: k does not always come out
    (8 x 8 with grid:3 gives 4 x 4), and what does not fill a cell is dropped.

    Args:
        x: (F, P, C) float.
        content: "none", "mean" or "grid:k".

    Returns:
        (F, n, C): n is P for none, 1 for mean, and near k * k for a grid.

    Raises:
        ConfigError: The mode is not known.
        OpError: A grid is asked of patches that form no square, or is finer than they are.

    Source: LLaMA-VID section 3.2, `llamavid_arch.py` token_generation.
    """
    size = grid_size(content)
    if size is None:
        return x
    if size == 1:
        return x.mean(1, keepdim=True)
    side = math.isqrt(x.shape[1])
    if side * side != x.shape[1] or side < size:
        raise OpError(
            f"{content} takes a square of at least {size} x {size} patches, got {x.shape[1]} "
            "patches per frame; use mean, or a smaller grid."
        )
    images = rearrange(x, "f (h w) c -> f c h w", h=side)
    return rearrange(F.avg_pool2d(images, side // size), "f c h w -> f (h w) c")
