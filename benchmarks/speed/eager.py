"""The rivals of the native ops: the published operations as plain eager torch would write them.

Each follows the formula of its paper and the cost structure of the official code (which
intermediates exist, where a Python loop or a wait for the device is), in our own words.
"""

from __future__ import annotations

import torch
from torch import Tensor


def match(metric: Tensor, r: int) -> tuple[Tensor, Tensor, Tensor]:
    """ToMe matching in the dtype of the metric: (sources, unmerged, destinations) (G, ., 1)."""
    unit = metric / metric.norm(dim=-1, keepdim=True)
    scores = unit[:, ::2] @ unit[:, 1::2].transpose(-1, -2)
    best, nearest = scores.max(dim=-1)
    order = best.argsort(dim=-1, descending=True).unsqueeze(-1)
    source, unmerged = order[:, :r], order[:, r:]
    return source, unmerged, nearest.unsqueeze(-1).gather(1, source)


def merge_mean(x: Tensor, source: Tensor, unmerged: Tensor, destination: Tensor) -> Tensor:
    """ToMe merging by scatter_reduce with the mean: gather, scatter, concatenate."""
    even, odd = x[:, ::2], x[:, 1::2]
    width = x.shape[-1]
    kept = even.gather(1, unmerged.expand(-1, -1, width))
    moved = even.gather(1, source.expand(-1, -1, width))
    odd = odd.scatter_reduce(1, destination.expand(-1, -1, width), moved, reduce="mean")
    return torch.cat([kept, odd], dim=1)


def merge_weighted(
    x: Tensor, size: Tensor, source: Tensor, unmerged: Tensor, destination: Tensor
) -> tuple[Tensor, Tensor]:
    """ToMe merging weighted by size, as its networks use it."""

    def merged(data: Tensor) -> Tensor:
        even, odd = data[:, ::2], data[:, 1::2]
        width = data.shape[-1]
        kept = even.gather(1, unmerged.expand(-1, -1, width))
        moved = even.gather(1, source.expand(-1, -1, width))
        odd = odd.scatter_reduce(1, destination.expand(-1, -1, width), moved, reduce="sum")
        return torch.cat([kept, odd], dim=1)

    total, new_size = merged(x * size), merged(size)
    return total / new_size, new_size


def clip_merge(x: Tensor, target: int, heads: int) -> Tensor:
    """Merge the tokens of each clip down to `target`, every round on the full width."""
    size = torch.ones_like(x[..., :1])
    while x.shape[1] > target:
        r = min(x.shape[1] - target, x.shape[1] // 2)
        metric = x.unflatten(-1, (heads, -1)).mean(dim=2)
        x, size = merge_weighted(x, size, *match(metric, r))
    return x


def prune_loop(x: Tensor, window: int, threshold: float) -> Tensor:
    """Spatial token compression window by window, with a boolean mask per frame (LongVU)."""
    kept = []
    for start in range(0, len(x), window):
        anchor = x[start]
        kept.append(anchor)
        for frame in x[start + 1 : start + window]:
            similarity = torch.nn.functional.cosine_similarity(frame, anchor, dim=-1)
            kept.append(frame[similarity < threshold])
    return torch.cat(kept)


def prune_vectorised(x: Tensor, window: int, threshold: float) -> Tensor:
    """Prune all windows in one go; the number of frames must divide by the window."""
    windows = x.unflatten(0, (-1, window))
    similarity = torch.nn.functional.cosine_similarity(windows, windows[:, :1], dim=-1)
    keep = similarity < threshold
    keep[:, 0] = True
    return windows[keep]


def context_attention(query: Tensor, key_weight: Tensor, key_bias: Tensor, x: Tensor) -> Tensor:
    """Project every token to a key, attend from every query, average the contexts (LLaMA-VID)."""
    key = torch.nn.functional.linear(x, key_weight, key_bias)
    scores = query @ key.transpose(-1, -2) / x.shape[-1] ** 0.5
    return (scores.softmax(dim=-1) @ x).mean(dim=1)


def window_gram(x: Tensor, window: int) -> list[Tensor]:
    """Normalise and multiply the frames of one window after another (LongVU)."""
    grams = []
    for start in range(0, len(x), window):
        unit = torch.nn.functional.normalize(x[start : start + window], dim=-1)
        grams.append(unit @ unit.T)
    return grams
