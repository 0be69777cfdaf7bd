"""Readable twins of formulas in `longvid.methods`."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from longvid.methods.vidcom2 import _EPS, Scores, _gaussians

__all__ = ["attention_map", "frame_similarity_slowly", "score_slowly"]


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
