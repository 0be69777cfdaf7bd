"""VidCom2: frames that are unlike the video keep more, and of each frame what is unlike it.

Source: VidCom2, arXiv 2505.14454; `vidcom2.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from longvid.lazy_import import torch
from longvid.methods.vcast import keep_first

if TYPE_CHECKING:
    from torch import Tensor

_EPS = 1e-12
_TEMPERATURE = 0.01
_BANDWIDTHS = (0.125, 0.25, 0.5, 1.0, 2.0)


@dataclass(frozen=True, slots=True)
class Scores:
    """How like its video and how like its frame each token is.

    Args:
        video, frame: (T, n) float32, sums of five Gaussians in (0, 5].
    """

    video: Tensor
    frame: Tensor


def steady_channels(x: Tensor) -> Tensor:
    """Return the floor(D / 2) channels that vary least over all tokens, by rising variance.

    Args:
        x: (T, n, D) float.

    Returns:
        (D // 2,) int64.
    """
    # Sums of differences from one token: a frame at a time, in float64 between frames.
    shift = x[0, 0].float()
    ones = torch.ones(x.shape[1], device=x.device)
    first = torch.zeros(x.shape[2], dtype=torch.float64, device=x.device)
    second = torch.zeros_like(first)
    for frame in x:
        values = frame.float() - shift
        first += ones @ values
        second += ones @ values.square_()
    num_rows = x.shape[0] * x.shape[1]
    variance = second / num_rows - (first / num_rows) ** 2
    return variance.sort(stable=True).indices[: x.shape[2] // 2]


def _gaussians(square: Tensor) -> Tensor:
    return torch.stack([(square / (-2 * a)).exp() for a in _BANDWIDTHS]).sum(0)


def score(x: Tensor, channels: Tensor) -> Scores:
    """Compare tokens with the mean of the video and of their frame, on unit length.

    A frame at a time, by products: |u - m|^2 = |u|^2 - 2 u.m + |m|^2, so that no unit token is
    ever written down.

    Args:
        x: (T, n, D) float.
        channels: (C,) int64, those that are compared.
    """
    mask = torch.zeros(x.shape[2], device=x.device)
    mask[channels] = 1
    squares, of_frame = [], []
    for frame in x:
        values = frame.float()
        square = (values * values) @ mask
        scale = 1 / square.sqrt().clamp(min=_EPS)
        squares.append((square, scale))
        of_frame.append((scale @ values) * mask / x.shape[1])
    of_video = torch.stack(of_frame).mean(0)
    video, near = [], []
    for frame, (square, scale), mean in zip(x, squares, of_frame, strict=True):
        centres = torch.stack([of_video, mean])
        products = (frame.float() @ centres.T) * scale.unsqueeze(1)  # (n, 2)
        length = (square * scale * scale).unsqueeze(1)
        distance = (length - 2 * products + centres.square().sum(1)).clamp_(min=0)
        video.append(distance[:, 0])
        near.append(distance[:, 1])
    return Scores(_gaussians(torch.stack(video)), _gaussians(torch.stack(near)))


def frame_scales(video: Tensor, base: float) -> Tensor:
    """Return the share of its tokens that each frame keeps, (T,) float32.

    Args:
        video: (T, n) float32, how like the video its tokens are.
        base: The share on average.
    """
    unlike = -video.mean(1)
    share = ((unlike - unlike.max()) / _TEMPERATURE).softmax(0)
    return (base * (1 + share - share.mean())).clamp(max=1)


def frame_counts(scales: Tensor, num_tokens: int) -> Tensor:
    """Turn shares (T,) into counts of at least one token, (T,) int64."""
    return (scales * num_tokens).round().long().clamp(min=1)


def keep_unlike(x: Tensor, base: float) -> Tensor:
    """Mark the tokens that VidCom2 keeps, (T, n) bool.

    Args:
        x: (T, n, D) float.
        base: Share that stays, about: every frame rounds by itself.
    """
    scores = score(x, steady_channels(x))
    counts = frame_counts(frame_scales(scores.video, base), x.shape[1])
    return keep_first(-(scores.video + scores.frame), counts)


def with_newlines(x: Tensor, keep: Tensor, width: int, newline: Tensor) -> tuple[Tensor, Tensor]:
    """Lay out kept tokens as LLaVA-Video does: per frame the tokens, then the newline of each row.

    Args:
        x: (T, n, D) float.
        keep: (T, n) bool.
        width: Tokens of a row.
        newline: (D,).

    Returns:
        (K + T * n / width, D), and (K,) int64 places of the kept tokens in the grid that has a
        newline at the end of each row.
    """
    num_frames, num_tokens, token_width = x.shape
    height = num_tokens // width
    lines = newline.expand(height, token_width)
    pieces = [piece for t in range(num_frames) for piece in (x[t][keep[t]], lines)]
    frame, place = keep.nonzero(as_tuple=True)
    row, column = place // width, place % width
    return torch.cat(pieces), frame * height * (width + 1) + row * (width + 1) + column
