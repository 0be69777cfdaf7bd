"""Efficient Video Sampling (EVS): keep the tokens that changed most since the frame before.

Formulas of arXiv 2510.14624 in the form that serving engines run: cosine of tokens, not pixels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from longvid.lazy_import import ops, torch

if TYPE_CHECKING:
    from torch import Tensor

_FIRST_FRAME = 255.0  # above every cosine distance, so that the first frame comes first


def num_retained(num_frames: int, num_tokens: int, pruned: float) -> int:
    """Count the tokens that stay: at least one frame's.

    >>> num_retained(12, 25, 0.9)
    29

    Args:
        num_frames, num_tokens: T and n.
        pruned: Share of the tokens that go, in [0, 1).
    """
    # In double precision and cut, not rounded: 300 tokens at 0.9 leave 29.
    return max(num_tokens, int(num_frames * num_tokens * (1 - pruned)))


def dissimilarity(x: Tensor) -> Tensor:
    """Return 1 - cosine to the same place of the frame before, (T, n) float32; 255 in frame 0.

    Args:
        x: (T, n, D) float.
    """
    distance = 1 - ops.token_cosine(x, 0)
    distance[0] = _FIRST_FRAME
    return distance


def keep_changed(x: Tensor, pruned: float) -> Tensor:
    """Mark the tokens that EVS keeps; of equals, the earlier one stays.

    Args:
        x: (T, n, D) float.
        pruned: Share of the tokens that go, in [0, 1).

    Returns:
        (T, n) bool.
    """
    distance = dissimilarity(x).flatten()
    order = distance.sort(descending=True, stable=True).indices
    keep = torch.zeros(len(distance), dtype=torch.bool, device=x.device)
    keep[order[: num_retained(x.shape[0], x.shape[1], pruned)]] = True
    return keep.view(x.shape[:2])
