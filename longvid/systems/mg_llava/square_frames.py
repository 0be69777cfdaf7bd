"""Which frames of a video MG-LLaVA sees, and how they are made square."""

from __future__ import annotations

import math

import torch
from torch import Tensor

_CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
_CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


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


def square_pixels(frames: Tensor, side: int, *, pad: bool = False) -> Tensor:
    """Make frames of a video into what a tower sees: normalised as CLIP's, square.

    The shorter edge becomes `side`, bilinear and without antialiasing as the original resizes
    videos, and the centre is cut.

    Args:
        frames: (T, 3, H, W) uint8.
        side: Pixels.
        pad: Make frames square with CLIP's mean colour first, so that nothing is cut.

    Returns:
        (T, 3, side, side) float32.
    """
    pixels = frames.float() / 255
    if pad:
        pixels = pad_frames(pixels.movedim(0, 1)).movedim(1, 0)
    mean, std = (pixels.new_tensor(values)[:, None, None] for values in (_CLIP_MEAN, _CLIP_STD))
    pixels = (pixels - mean) / std
    height, width = pixels.shape[-2:]
    short = min(height, width)
    size = math.floor(height / short * side), math.floor(width / short * side)
    scaled = torch.nn.functional.interpolate(pixels, size=size, mode="bilinear")
    top, left = (round((edge - side) / 2) for edge in size)
    return scaled[..., top : top + side, left : left + side].contiguous()
