"""Readable twins of formulas in `longvid.methods`."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from longvid.methods import vcast
from longvid.methods.vidcom2 import _EPS, Scores, _gaussians


def frame_similarity_slowly(dino: Tensor, window: int, *, include_self: bool = True) -> Tensor:
    """Compute `frame_similarity` one window at a time: the readable twin."""
    similarities = []
    for frames in torch.split(dino.flatten(1).float(), window):
        unit = torch.nn.functional.normalize(frames, dim=1)
        gram = unit @ unit.T
        if not include_self:
            gram.fill_diagonal_(0.0)
        similarities.append(gram.sum(1) / max(1, len(frames) - (not include_self)))
    return torch.cat(similarities)


def score_slowly(x: Tensor, channels: Tensor) -> Scores:
    """Do what `score` does, as it is written in the paper."""
    unit = F.normalize(x[..., channels].float(), dim=2, eps=_EPS)
    of_frame = unit.mean(1, keepdim=True)
    of_video = unit.mean((0, 1))
    return Scores(
        _gaussians((unit - of_video).square().sum(2)), _gaussians((unit - of_frame).square().sum(2))
    )


def outstanding_slowly(x: Tensor) -> Tensor:
    """Do what V-CAST's `outstanding` does from the tokens (T, n, D) alone, as it is published."""
    tokens = x.float()
    direction = F.normalize(tokens.mean(1, keepdim=True), dim=2, eps=vcast._EPS)
    cosine = (F.normalize(tokens, dim=2, eps=vcast._EPS) * direction).sum(2)
    length = tokens.norm(dim=2)
    low, high = length.amin(1, keepdim=True), length.amax(1, keepdim=True)
    scores: Tensor = 1 - cosine + (length - low) / (high - low + vcast._EPS)
    return scores


def attention_map(text_query: Tensor, keys: Tensor, scale: float) -> Tensor:
    """Show where each text query looks: softmax over the patches of query times key.

    The readable form of what `longvid.ops.context_attention` averages.

    Args:
        text_query: (F, M, C) float.
        keys: (F, P, C) float.
        scale: Factor of the scores.

    Returns:
        (F, M, P), rows sum to 1.
    """
    return (text_query @ keys.transpose(1, 2) * scale).softmax(-1)


def pool_boxes_slowly(features: Tensor, boxes: Tensor, scale: float, bins: int = 56) -> Tensor:
    """Compute `roi_pooling.pool_boxes` sample by sample, as the original's loops do."""
    height, width = features.shape[1:]
    means = []
    for box in (boxes.float() * scale).tolist():
        grid = []
        for low, high, size in ((box[1], box[3], height), (box[0], box[2], width)):
            step = max(high - low, 1.0) / bins
            per_bin = max(1, int(-(-step // 1)))
            grid.append(
                [
                    (low + b * step + (k + 0.5) * step / per_bin, size)
                    for b in range(bins)
                    for k in range(per_bin)
                ]
            )
        total = torch.zeros(features.shape[0])
        for y, _ in grid[0]:
            for x, _ in grid[1]:
                if -1.0 <= y <= height and -1.0 <= x <= width:
                    total += _bilinear(features, y, x)
        means.append(total / (len(grid[0]) * len(grid[1])))
    return torch.stack(means) if means else torch.zeros(0, features.shape[0])


def _bilinear(features: Tensor, y: float, x: float) -> Tensor:
    height, width = features.shape[1:]
    y, x = min(max(y, 0.0), height - 1.0), min(max(x, 0.0), width - 1.0)
    top, left = int(y), int(x)
    bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
    dy, dx = y - top, x - left
    upper = features[:, top, left] * (1 - dx) + features[:, top, right] * dx
    lower = features[:, bottom, left] * (1 - dx) + features[:, bottom, right] * dx
    return (upper * (1 - dy) + lower * dy).float()
