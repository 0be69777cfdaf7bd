"""Differential token drop (DTD): leave out what repeats the frame before, at the same place.

The comparison is always with the raw frame before, kept or not, so a slow drift is dropped for
ever. Nothing after a frame is looked at, so the method runs on a live stream.

Source: TimeChat-Online, arXiv 2504.17343; `modeling_qwen2_5_vl_DTD.py` token_drop.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from longvid.errors import OpError
from longvid.lazy_import import ops, torch

if TYPE_CHECKING:
    from torch import Tensor

# Qwen2.5-VL normalises pixels by these, channel by channel.
_PIXEL_STD = (0.26862954, 0.26130258, 0.27577711)
_CHANNELS, _SUB_FRAMES, _PATCHES = 3, 2, 4  # a step has two frames; a token merges 2 x 2 patches


def keep_different(x: Tensor, threshold: float) -> Tensor:
    """Mark frame 0, and of the others the tokens whose cosine does not exceed the threshold.

    Args:
        x: (T, n, D) float.
        threshold: Cosines strictly above it are dropped; 1 drops nothing.

    Returns:
        (T, n) bool.
    """
    # A cosine may round to just above 1, which no threshold of 1 is meant to drop.
    keep = ~(ops.token_cosine(x, 0).clamp_(max=1) > threshold)
    keep[0] = True
    return keep


def keep_least_similar(x: Tensor, share: float) -> Tensor:
    """Mark frame 0, and of the others all but the int(n * share) most similar tokens, (T, n) bool.

    Args:
        x: (T, n, D) float.
        share: Of the tokens of a frame that go; of equals, the lower place goes.
    """
    return _drop_first(ops.token_cosine(x, 0), share, descending=True)


def pixel_differences(pixels: Tensor, num_frames: int, num_tokens: int) -> Tensor:
    """Compare pixels of a step with those of the step before, (T - 1, n) float32 in [0, 1].

    The first frame of the step before meets the second frame of the step: the mean absolute
    difference over the pixels, channels and patches that make up a token.

    Args:
        pixels: (T * n * 4, 3 * 2 * p * p), as the Qwen2.5-VL processor gives them: the 2 x 2
            patches of a token follow each other.
        num_frames, num_tokens: T steps of two frames, n tokens each.

    Raises:
        OpError: The pixels do not divide into these steps and tokens.
    """
    per_token = _CHANNELS * _SUB_FRAMES
    if pixels.dim() != 2 or len(pixels) != num_frames * num_tokens * _PATCHES:
        raise OpError(
            f"Pixels of {num_frames} steps of {num_tokens} tokens are "
            f"({num_frames * num_tokens * _PATCHES}, pixels of a patch), got "
            f"{tuple(pixels.shape)}."
        )
    if pixels.shape[1] % per_token:
        raise OpError(f"A patch has {per_token} planes of pixels, got {pixels.shape[1]} numbers.")
    planes = pixels.float().view(num_frames, num_tokens, _PATCHES, _CHANNELS, _SUB_FRAMES, -1)
    difference = (planes[1:, ..., 1, :] - planes[:-1, ..., 0, :]).abs()
    std = torch.tensor(_PIXEL_STD, device=pixels.device).view(_CHANNELS, 1)
    return (difference * std).flatten(2).mean(2)


def keep_different_pixels(
    pixels: Tensor, num_frames: int, num_tokens: int, amount: float, *, absolute: bool = True
) -> Tensor:
    """Mark frame 0, and of the others the tokens whose pixels changed, (T, n) bool.

    Args:
        pixels, num_frames, num_tokens: As `pixel_differences`.
        amount: Differences below it are dropped; or, not absolute, the share of each frame's
            tokens that goes, the least changed first.
        absolute: How `amount` is meant.
    """
    difference = pixel_differences(pixels, num_frames, num_tokens)
    first = difference.new_zeros(1, num_tokens)
    if not absolute:
        return _drop_first(torch.cat([first, difference]), amount, descending=False)
    keep = torch.cat([first, difference]) >= amount
    keep[0] = True
    return keep


def _drop_first(scores: Tensor, share: float, *, descending: bool) -> Tensor:
    """Drop the int(n * share) tokens that come first by score, of each frame after the first."""
    order = scores.sort(dim=1, descending=descending, stable=True).indices
    keep = torch.ones_like(scores, dtype=torch.bool)
    keep.scatter_(1, order[:, : int(scores.shape[1] * share)], False)
    keep[0] = True
    return keep
