"""Which frames of a video MG-LLaVA sees, and how they are made square."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["pad_frames", "video_frames"]

_CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)


def video_frames(num_frames: int, count: int = 8) -> Tensor:
    """Return the indices of the frames seen: evenly spread, rounded down, (count,) int64."""
    steps = torch.linspace(0, num_frames - 1, count, dtype=torch.float64)
    return steps.to(torch.int64)


def pad_frames(frames: Tensor, fill: tuple[float, float, float] = _CLIP_MEAN) -> Tensor:
    """Centre frames in a square of a colour.

    Args:
        frames: (3, T, H, W) in [0, 1].
        fill: RGB; CLIP's mean is 0 after normalisation.

    Returns:
        (3, T, S, S) with S the longer edge; an odd border is one wider below or on the right.
    """
    height, width = frames.shape[-2:]
    side = max(height, width)
    top, left = (side - height) // 2, (side - width) // 2
    colour = frames.new_tensor(fill)[:, None, None, None]
    square = colour.expand(3, frames.shape[1], side, side).clone()
    square[..., top : top + height, left : left + width] = frames
    return square
