"""The rivals of the compressors: their published algorithms as plain eager torch.

Each follows the formula of its paper and the cost structure of the official code (which
intermediates exist, in which dtype, where a Python loop is), in our own words. Tokens are
(T, n, D); what is returned is (K, D), the tokens kept.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, normalize


def evs(x: Tensor, pruned: float) -> Tensor:
    """Cosine with the frame before, 255 for the first, a stable argsort, a mask."""
    num_frames, num_tokens, width = x.shape
    similarity = cosine_similarity(x[1:], x[:-1], dim=-1)
    distance = torch.cat([255 * torch.ones_like(x[:1, :, 0]), 1 - similarity]).flatten()
    count = max(num_tokens, int(num_frames * num_tokens * (1 - pruned)))
    order = torch.argsort(distance, descending=True, stable=True)
    mask = torch.zeros(len(distance), dtype=torch.bool)
    mask[order[:count]] = True
    return x.reshape(-1, width)[mask]


def dtd(x: Tensor, threshold: float) -> Tensor:
    """Cosine with the frame before against a threshold, a mask over the sequence."""
    similarity = cosine_similarity(x[:-1], x[1:], dim=-1)
    mask = torch.cat([torch.ones_like(x[:1, :, 0], dtype=torch.bool), similarity <= threshold])
    return x[mask]


def vcast(x: Tensor, ratio: float) -> Tensor:
    """Curvature of frame means, then a loop of cosine, norm and top-k over frames."""
    num_frames, num_tokens, _ = x.shape
    means = normalize(x.float().mean(1), dim=-1, eps=1e-6)
    steps = normalize(means[1:] - means[:-1], dim=-1, eps=1e-6)
    curve = torch.ones(num_frames)
    curve[1:-1] = 1 - (steps[:-1] * steps[1:]).sum(-1)
    share = torch.softmax(curve / 0.7, dim=0)
    rest = max(round(num_frames * num_tokens * ratio), num_frames) - num_frames
    raw = share * rest
    counts = 1 + raw.floor().long().clamp(max=num_tokens - 1)
    left = num_frames + rest - int(counts.sum())
    fraction = raw - raw.floor()
    while left > 0:
        best = int(torch.where(counts < num_tokens, fraction, -1).argmax())
        gift = min(left, num_tokens - int(counts[best]))
        counts[best] += gift
        left -= gift
    kept = []
    for t in range(num_frames):
        tokens = x[t].float()
        unlike = 1 - (normalize(tokens, dim=-1, eps=1e-6) * means[t]).sum(-1)
        length = tokens.norm(dim=-1)
        length = (length - length.min()) / (length.max() - length.min() + 1e-6)
        chosen = torch.topk(unlike + length, int(counts[t])).indices.sort().values
        kept.append(t * num_tokens + chosen)
    return x.flatten(0, 1)[torch.cat(kept)]


def _gaussian(square: Tensor) -> Tensor:
    return sum((torch.exp(-square / (2 * 2.0**k)) for k in range(-3, 2)), torch.zeros(()))


def vidcom2(x: Tensor, base: float) -> Tensor:
    """Cut to the steady channels, two Gaussian scores on unit tokens, top-k over frames."""
    num_frames, num_tokens, width = x.shape
    variance = x.reshape(-1, width).var(dim=0, unbiased=False)
    cut = x[..., variance.topk(width // 2, largest=False).indices]
    unit = normalize(cut, dim=-1)
    of_video = _gaussian((unit - unit.mean(dim=(0, 1), keepdim=True)).pow(2).sum(-1))
    unit = normalize(cut, dim=-1)
    of_frame = _gaussian((unit - unit.mean(dim=1, keepdim=True)).pow(2).sum(-1))
    unlike = -of_video.mean(-1)
    share = torch.softmax((unlike - unlike.max()) / 0.01, dim=0)
    scales = (base * (1 + share - share.mean())).clamp(max=1)
    kept = []
    for t in range(num_frames):
        count = max(round(float(scales[t]) * num_tokens), 1)
        chosen = torch.topk(of_video[t] + of_frame[t], count, largest=False).indices
        kept.append(t * num_tokens + chosen.sort().values)
    return x.flatten(0, 1)[torch.cat(kept)]


def flashvid(x: Tensor, ratio: float, alpha: float = 0.7, threshold: float = 0.8) -> Tensor:
    """Diverse tokens of each frame, merging along time, clusters frame by frame; one scene."""
    num_frames, num_tokens, width = x.shape
    budget = math.ceil(num_tokens * ratio)
    num_chosen = math.ceil(budget * alpha)
    unit = normalize(x, dim=-1)
    chosen = _farthest(1 - torch.bmm(unit, unit.transpose(1, 2)), num_chosen)
    free = torch.ones(num_frames, num_tokens, dtype=torch.bool).scatter_(1, chosen, False)
    similarity = torch.bmm(unit[1:], unit[:-1].transpose(1, 2))
    similarity = similarity.masked_fill(~free[1:].unsqueeze(2), -1)
    similarity = similarity.masked_fill(~free[:-1].unsqueeze(1), -1)
    best, parent = similarity.max(-1)
    joins = best > threshold
    merged, alive = x.clone(), free.clone()
    num_children = torch.ones(num_frames, num_tokens, 1, dtype=x.dtype)
    for t in range(num_frames - 1, 0, -1):
        children = joins[t - 1].nonzero().squeeze(1)
        place = parent[t - 1][children].unsqueeze(1)
        merged[t - 1].scatter_add_(0, place.expand(-1, width), merged[t][children])
        num_children[t - 1].scatter_add_(0, place, torch.ones_like(place, dtype=x.dtype))
        alive[t][children] = False
    merged = merged / num_children
    share = (budget - num_chosen) * num_frames / int(alive.sum())
    kept = []
    for t in range(num_frames):
        kept += [x[t][chosen[t]], _clusters(merged[t][alive[t]], share)]
    return torch.cat(kept)


def _farthest(distance: Tensor, count: int) -> Tensor:
    """Add the token farthest from those chosen, by the smallest of the rows gathered anew."""
    chosen = torch.topk(distance, 2, dim=1, largest=False).values[:, 1].argmax(-1, keepdim=True)
    width = distance.shape[2]
    for _ in range(count - 1):
        rows = distance.gather(1, chosen.unsqueeze(-1).expand(-1, -1, width))
        nearest = rows.min(dim=1).values
        nearest.scatter_(1, chosen, -1)
        chosen = torch.cat([chosen, nearest.argmax(-1, keepdim=True)], dim=1)
    return chosen


def _clusters(x: Tensor, share: float) -> Tensor:
    """Density peaks among tokens, and the mean of each cluster."""
    count = math.ceil(len(x) * share)
    if share >= 1 or count == 0:
        return x
    values = x.float()
    distance = torch.cdist(values, values) / x.shape[1] ** 0.5
    near = torch.topk(distance, min(count, 7), dim=-1, largest=False).values
    density = (-(near**2).mean(-1)).exp() + 1e-6 * torch.rand(len(x))
    denser = (density[None, :] > density[:, None]).float()
    delta = (distance * denser + distance.max() * (1 - denser)).min(-1).values
    centres = torch.topk(delta * density, count).indices
    label = distance[centres].argmin(0)
    label[centres] = torch.arange(count)
    one_hot = torch.nn.functional.one_hot(label, count).to(values.dtype)
    return ((one_hot.T @ values) / one_hot.sum(0).unsqueeze(1)).to(x.dtype)
