"""FlashVID's merging along time: tokens join the most similar one of the frame before (TSTM).

Source: FlashVID, arXiv 2602.08024; `spatiotemporal_compression`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from longvid.lazy_import import F, ops, torch

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class Roots:
    """What is left of the tokens that were not chosen, after merging along time.

    Args:
        data: (R, D) float32, in time order.
        alive: (L, n) bool, the R tokens that joined no other and were not chosen.
        size: (R,) float32, patches that the tokens in each stand for.
    """

    data: Tensor
    alive: Tensor
    size: Tensor


def unit(x: Tensor) -> Tensor:
    """Scale vectors to length 1; a zero vector stays zero (NaN in the original)."""
    return F.normalize(x.float(), dim=-1, eps=1e-12)


def merge_along_time(
    x: Tensor,
    free: Tensor,
    threshold: float,
    num_left: int,
    *,
    exact: bool = False,
    size: Tensor | None = None,
) -> Roots:
    """Let tokens join the most similar one of the frame before (TSTM).

    Args:
        x: (L, n, D) float, frames of one scene.
        free: (L, n) bool, tokens that were not chosen; only these take part.
        threshold: Cosine above which a token joins; raised until L * num_left tokens are left.
        num_left: Tokens a frame that must be left, chosen ones included.
        exact: Make a weighted mean of all tokens that are in a root. Otherwise divide their sum by
            one more than its direct children.
        size: (L, n) float, patches that each token stands for; 1 where not given.
    """
    num_frames, num_tokens = free.shape
    size = torch.ones_like(free, dtype=torch.float32) if size is None else size
    own = torch.arange(free.numel(), device=x.device).view_as(free)
    root, num_children = own.clone(), torch.zeros_like(own)
    if num_frames > 1:
        best, parent = nearest_before(x, free)
        joins = best > threshold
        num_joining = num_frames * (num_tokens - num_left)
        if int(joins.sum()) > num_joining:
            joins = best > _joining_threshold(best, num_joining)
        for frame in range(1, num_frames):  # a chain ends where its first token does
            children = joins[frame - 1].nonzero().flatten()
            parents = parent[frame - 1][children]
            root[frame, children] = root[frame - 1, parents]
            num_children[frame - 1].index_add_(0, parents, torch.ones_like(parents))
    alive = free & (root == own)
    members = free.flatten().nonzero().flatten()
    order = root.flatten()[members].sort(stable=True)
    members, kept = members[order.indices], alive.flatten().nonzero().flatten()
    counts = torch.bincount(order.values, minlength=free.numel())[kept]
    offsets = F.pad(counts.cumsum(0), (1, 0))
    rows = x.flatten(0, 1).float()
    data = ops.segment_mean(rows, offsets, members, size.flatten() if exact else None)
    if not exact:  # the sum of the whole tree, by one more than the direct children
        data *= (counts / (1 + num_children.flatten()[kept])).unsqueeze(1)
    sizes = torch.segment_reduce(size.flatten()[members].float(), "sum", offsets=offsets, axis=0)
    return Roots(data, alive, sizes)


def nearest_before(x: Tensor, free: Tensor) -> tuple[Tensor, Tensor]:
    """Find for each token the most similar one of the frame before, among those that take part.

    Args:
        x: (L, n, D) float, L >= 2.
        free: (L, n) bool, tokens that take part.

    Returns:
        (L - 1, n) float32 cosine, -1 where there is none, and (L - 1, n) int64 place in the frame
        before; of equals the lower.
    """
    num_free = free.sum(1)
    if not bool(num_free[0]) or not bool((num_free == num_free[0]).all()):
        return nearest_before_slowly(x, free)
    num_frames, num_tokens, width = x.shape
    places = free.nonzero()[:, 1].view(num_frames, -1)
    # Neighbouring frames as one group of 2 n tokens: a view in which groups overlap.
    pairs = x.contiguous().as_strided(
        (num_frames - 1, 2 * num_tokens, width), (num_tokens * width, width, 1)
    )
    later = places[1:] + num_tokens
    plan = ops.match(pairs, later.shape[1], a_index=later, b_index=places[:-1])
    best = torch.full((num_frames - 1, num_tokens), -1.0, device=x.device)
    parent = torch.zeros_like(best, dtype=torch.int64)
    best.scatter_(1, plan.source - num_tokens, plan.score)
    parent.scatter_(1, plan.source - num_tokens, plan.destination)
    return best, parent


def nearest_before_slowly(x: Tensor, free: Tensor) -> tuple[Tensor, Tensor]:
    """Do what `nearest_before` does by the whole matrix of cosines."""
    directions = unit(x)
    similarity = directions[1:] @ directions[:-1].transpose(1, 2)  # (L - 1, n, n)
    similarity.masked_fill_(~(free[1:].unsqueeze(2) & free[:-1].unsqueeze(1)), -1.0)
    best, parent = similarity.max(2)
    return best, parent


def _joining_threshold(best: Tensor, num_joining: int) -> float:
    """Return the cosine that so many exceed or reach; infinity where none may join."""
    if num_joining <= 0:
        return math.inf
    ranked = best.flatten().sort(descending=True).values
    return max(float(ranked[num_joining - 1]), -1 + 1e-6)
