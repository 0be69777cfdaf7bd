"""Token merging composed of `match` and `segment_mean`: one plan, any data, any rounds."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from longvid.errors import OpError
from longvid.ops.match_plan import MatchPlan


def merge(plan: MatchPlan, x: Tensor, size: Tensor | None = None) -> Tensor:
    """Average the tokens that a plan merges, weighted by how many patches each represents.

    Args:
        plan: From `match` over the same (G, N) tokens.
        x: (G, N, C) features, positions or any other data.
        size: (G, N) patches each token represents; all 1 if not given.

    Returns:
        (G, S, C) in x's dtype.

    Raises:
        OpError: x or size do not have the plan's (G, N).
    """
    num_groups, num_tokens = plan.segment.shape
    _require_tokens("merge", plan, x)
    if size is not None:
        _require_tokens("merge", plan, size)
    rows = torch.ops.longvid.segment_mean.default(
        x.reshape(num_groups * num_tokens, x.shape[2]),
        plan.offsets,
        plan.members,
        None if size is None else size.reshape(num_groups * num_tokens),
    )
    merged: Tensor = rows.view(num_groups, num_tokens - plan.source.shape[1], x.shape[2])
    return merged


def merge_size(plan: MatchPlan, size: Tensor) -> Tensor:
    """Add up the sizes of the tokens that a plan merges: (G, N) to (G, S)."""
    _require_tokens("merge_size", plan, size)
    num_groups, num_tokens = plan.segment.shape
    num_kept = num_tokens - plan.source.shape[1]
    merged = size.gather(1, plan.keep)
    if plan.source.shape[1]:
        first_row = torch.arange(num_groups, device=size.device).unsqueeze(1) * num_kept
        row = plan.segment.gather(1, plan.source) - first_row
        merged = merged.scatter_add(1, row, size.gather(1, plan.source))
    return merged


def unmerge(plan: MatchPlan, merged: Tensor) -> Tensor:
    """Copy every merged token back to all the tokens it came from: (G, S, C) to (G, N, C)."""
    num_groups, num_tokens = plan.segment.shape
    num_kept = num_tokens - plan.source.shape[1]
    if merged.shape[:2] != (num_groups, num_kept):
        raise OpError(
            f"unmerge: merged must be ({num_groups}, {num_kept}, C) as the plan made it, "
            f"got {tuple(merged.shape)}."
        )
    rows = merged.reshape(num_groups * num_kept, merged.shape[2])
    return rows[plan.segment.flatten()].view(num_groups, num_tokens, merged.shape[2])


def kth_split(
    num_tokens: int, k: int, num_groups: int, device: torch.device | str = "cpu"
) -> tuple[Tensor, Tensor]:
    """Return (a_index, b_index): B is the last token of every full run of k, A all others.

    Merging all of A (r = its length) leaves num_tokens // k tokens. A last run shorter than k
    belongs to A; the official code drops those tokens instead.

    Source: ToMe merge.py, kth_bipartite_soft_matching.
    """
    if k < 2 or num_tokens < k:
        raise OpError(
            f"kth_split: k must be in [2, {num_tokens}] for {num_tokens} tokens, got {k}."
        )
    num_full = num_tokens // k
    b_index = torch.arange(k - 1, num_full * k, k, device=device)
    a_index = torch.arange(num_tokens - num_full, device=device)
    a_index = a_index + (a_index // (k - 1)).clamp(max=num_full)
    return a_index.expand(num_groups, -1), b_index.expand(num_groups, -1)


def clip_rounds(num_tokens: int, target: int) -> list[int]:
    """List r of each round that takes `num_tokens` down to `target`, halving while it can.

    >>> clip_rounds(1024, 64)
    [512, 256, 128, 64]
    >>> clip_rounds(100, 30)
    [50, 20]
    """
    if target < 1:
        raise OpError(f"clip_rounds: target must be 1 token or more, got {target}.")
    rounds = []
    while num_tokens > target:
        r = min(num_tokens - target, num_tokens // 2)
        rounds.append(r)
        num_tokens -= r
    return rounds


def head_mean(x: Tensor, num_heads: int) -> Tensor:
    """Average the channels over heads: a cheap metric that is linear in the features.

    Args:
        x: (G, N, num_heads * Cm) float.
        num_heads: Equal slices of the channels.

    Returns:
        (G, N, Cm) float32 (float64 for float64).

    Source: VideoChat-Flash and InternVideo2.5, merging of visual tokens before the projector.
    """
    mean: Tensor = torch.ops.longvid.head_mean.default(x, num_heads)
    return mean


def merge_rounds(
    metric: Tensor, rounds: Sequence[int], size: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Run all merging rounds on the metric alone and return the segments they end in.

    Exact when the metric is a linear function of the features (as `head_mean`), because averages
    of averages weighted by size are averages: the features are then read once, by one
    `segment_mean`, and rounded once.

    Args:
        metric: (G, N, Cm) float.
        rounds: r of each round; r is clamped to half of the tokens.
        size: (G, N) patches each token represents; all 1 if not given.

    Returns:
        offsets (G * S + 1,) and members (G * N,) for `segment_mean`, segment (G, N) row of each
        token, size (G, S) float32.

    Raises:
        OpError: As `match`.
    """
    offsets, members, segment, merged_size = torch.ops.longvid.merge_rounds.default(
        metric, size, list(rounds)
    )
    return offsets, members, segment, merged_size


def segments_from_labels(labels: Tensor, num_segments: int) -> tuple[Tensor, Tensor]:
    """Turn a label per row into the (offsets, members) of `segment_mean`, members ascending.

    Args:
        labels: (M,) int in [0, num_segments).
        num_segments: S; labels that no row has give empty segments.

    Returns:
        offsets (S + 1,) int64, members (M,) int64.
    """
    labels = labels.long()
    members = labels.sort(stable=True).indices
    counts = torch.zeros(num_segments + 1, dtype=torch.int64, device=labels.device)
    counts.scatter_add_(0, labels + 1, torch.ones_like(labels))
    return counts.cumsum(0), members


def _require_tokens(op: str, plan: MatchPlan, tensor: Tensor) -> None:
    if tensor.shape[:2] != plan.segment.shape:
        raise OpError(
            f"{op}: the plan is for (G, N) = {tuple(plan.segment.shape)}, got a tensor of "
            f"{tuple(tensor.shape)}; metric and data must have the same tokens."
        )
