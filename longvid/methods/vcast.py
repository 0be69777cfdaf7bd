"""V-CAST: more tokens for frames where the video turns, the outstanding tokens of each frame.

Source: V-CAST, arXiv 2603.27650; `v_cast_compress_qwen3`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from longvid.lazy_import import F, ops, torch

if TYPE_CHECKING:
    from torch import Tensor

_EPS = 1e-6
_TEMPERATURE = 0.7


def directions(means: Tensor) -> Tensor:
    """Scale mean tokens (T, D) to length 1, float32."""
    return F.normalize(means, dim=1, eps=_EPS)


def frame_means(x: Tensor) -> Tensor:
    """Return each frame's mean token, (T, D) float32, of tokens (T, n, D)."""
    # As a product, one frame at a time: it stays in cache, and a product uses every lane.
    weight = torch.full((x.shape[1],), 1 / x.shape[1], device=x.device)
    return torch.stack([weight @ frame.float() for frame in x])


def curvature(directions: Tensor) -> Tensor:
    """Measure how sharply the video turns at each frame: 0 straight on, 1 not moving, 2 back.

    Args:
        directions: (T, D) float32, T >= 2.

    Returns:
        (T,) float32; the first and last frame have 1.
    """
    steps = F.normalize(directions.diff(dim=0), dim=1, eps=_EPS)
    turn = torch.ones(len(directions), device=directions.device)
    turn[1:-1] -= (steps[:-1] * steps[1:]).sum(1)
    return turn


def weights(curve: Tensor) -> Tensor:
    """Turn curvature (T,) into the frames' shares of the budget, (T,) float32."""
    return (curve / _TEMPERATURE).softmax(0)


def num_kept(num_frames: int, num_tokens: int, ratio: float, min_k: int) -> int:
    """Count the tokens that stay of T frames of n tokens."""
    total = num_frames * num_tokens
    budget = min(max(round(total * ratio), 1), total)
    return max(budget, num_frames * min(max(min_k, 0), num_tokens))


def allocate(shares: Tensor, total: int, min_k: int, max_k: int) -> Tensor:
    """Divide a number of tokens among frames.

    What whole numbers leave over goes to the frame with the largest fraction until that is full,
    then to the next: not one each, as by the largest remainder.

    >>> allocate(torch.ones(7), 20, 1, 10).tolist()
    [8, 2, 2, 2, 2, 2, 2]

    Args:
        shares: (T,) float32; negative ones count as 0, and all 0 as all equal.
        total: Tokens to divide.
        min_k: What each frame gets first; nothing where the total is too small for that.
        max_k: What a frame can hold.

    Returns:
        (T,) int64.
    """
    num_frames = len(shares)
    total = min(total, num_frames * max_k)
    base = min_k if total >= num_frames * min_k else 0
    left = total - num_frames * base
    shares = shares.float().clamp(min=0)
    if float(shares.sum()) <= 0:
        shares = torch.ones_like(shares)
    wanted = shares / shares.sum() * left  # float32: the fractions are those of the original
    whole = wanted.floor()
    counts = (whole.long().clamp(max=max_k - base) + base).tolist()
    left = total - sum(counts)
    for frame in (wanted - whole).sort(descending=True, stable=True).indices.tolist():
        gift = min(left, max_k - counts[frame])
        counts[frame] += gift
        left -= gift
    return torch.tensor(counts, dtype=torch.int64, device=shares.device)


def outstanding(means: Tensor, dot: Tensor, square: Tensor) -> Tensor:
    """Score tokens by how they differ from their frame's direction, and by their length.

    Args:
        means: (T, D) float32, the mean token of each frame.
        dot: (T, n) float32, the product of each token with its frame's mean.
        square: (T, n) float32, of each token with itself.

    Returns:
        (T, n) float32.
    """
    length = square.sqrt()
    of_mean = means.square().sum(1, keepdim=True).sqrt().clamp(min=_EPS)
    cosine = dot / (length.clamp(min=_EPS) * of_mean)
    low, high = length.amin(1, keepdim=True), length.amax(1, keepdim=True)
    return 1 - cosine + (length - low) / (high - low + _EPS)


def keep_outstanding(x: Tensor, ratio: float, min_k: int = 1) -> Tensor:
    """Mark the tokens that V-CAST keeps; a single frame is kept whole.

    Args:
        x: (T, n, D) float.
        ratio: Share of the tokens that stay, in (0, 1].
        min_k: Tokens that every frame keeps.

    Returns:
        (T, n) bool.
    """
    num_frames, num_tokens = x.shape[:2]
    if num_frames <= 1:
        return torch.ones((num_frames, num_tokens), dtype=torch.bool, device=x.device)
    means, dot, square = ops.frame_products(x)
    counts = allocate(
        weights(curvature(directions(means))),
        num_kept(num_frames, num_tokens, ratio, min_k),
        min(max(min_k, 0), num_tokens),
        num_tokens,
    )
    return keep_first(outstanding(means, dot, square), counts)


def keep_first(scores: Tensor, counts: Tensor) -> Tensor:
    """Mark the counts[t] highest scores of each frame; of equals, the lower place.

    Args:
        scores: (T, n) float32.
        counts: (T,) int64.

    Returns:
        (T, n) bool.
    """
    order = scores.sort(dim=1, descending=True, stable=True).indices
    chosen = torch.arange(scores.shape[1], device=scores.device) < counts.unsqueeze(1)
    return torch.zeros_like(chosen).scatter_(1, order, chosen)
