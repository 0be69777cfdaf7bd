"""The results of the ops without their values: shapes and dtypes, from checked arguments.

The shape functions of the schemas, and the memory that the C++ and CUDA kernels write to.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from longvid.ops import checks


def match(
    metric: Tensor,
    a_index: Tensor | None,
    b_index: Tensor | None,
    r: int,
    protected: int,
    position_order: bool,
) -> tuple[Tensor, ...]:
    merged = checks.check_match(metric, a_index, b_index, r, protected)
    return _plan(metric, merged)


def match_and_merge(
    metric: Tensor, x: Tensor, size: Tensor | None, r: int, protected: int
) -> tuple[Tensor, ...]:
    merged = checks.check_match_and_merge(metric, x, size, r, protected)
    num_groups, num_tokens, width = x.shape
    return x.new_empty((num_groups, num_tokens - merged, width)), *_plan(metric, merged)


def segment_mean(x: Tensor, offsets: Tensor, members: Tensor, weights: Tensor | None) -> Tensor:
    num_segments = checks.check_segment_mean(x, offsets, members, weights)
    return x.new_empty((num_segments, x.shape[1]))


def token_cosine(x: Tensor, window: int) -> Tensor:
    checks.check_token_cosine("token_cosine", x, window)
    return x.new_empty(x.shape[:2], dtype=torch.float32)


def compact(x: Tensor, keep: Tensor, rows: int | None = None) -> tuple[Tensor, Tensor]:
    num_rows = checks.check_compact(x, keep, rows)
    packed = x.new_empty((num_rows, x.shape[2]))
    return packed, x.new_empty(x.shape[0] + 1, dtype=torch.int32)


def prune(x: Tensor, window: int, threshold: float) -> tuple[Tensor, Tensor, Tensor]:
    checks.check_token_cosine("prune", x, window)
    num_frames, num_tokens, width = x.shape
    num_rows: int | torch.SymInt = num_frames * num_tokens
    if x.device.type == "cpu":  # where the kept tokens are counted
        num_rows = torch.library.get_ctx().new_dynamic_size()
    keep = x.new_empty((num_frames, num_tokens), dtype=torch.bool)
    cu_seqlens = x.new_empty(num_frames + 1, dtype=torch.int32)
    return x.new_empty((num_rows, width)), keep, cu_seqlens


def window_gram(x: Tensor, window: int) -> Tensor:
    num_windows = checks.check_window_gram(x, window)
    return x.new_empty((num_windows, window, window), dtype=torch.float32)


def context_attention(
    query: Tensor, key_weight: Tensor, x: Tensor, scale: float, query_mask: Tensor | None
) -> Tensor:
    checks.check_context_attention(query, key_weight, x, query_mask)
    return x.new_empty((x.shape[0], x.shape[2]))


def head_mean(x: Tensor, num_heads: int) -> Tensor:
    width = checks.check_head_mean(x, num_heads)
    dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
    return x.new_empty((*x.shape[:-1], width), dtype=dtype)


def frame_products(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    checks.check_frame_products(x)
    num_frames, num_tokens, width = x.shape
    dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
    mean, dot = (x.new_empty((num_frames, n), dtype=dtype) for n in (width, num_tokens))
    return mean, dot, torch.empty_like(dot)


def merge_rounds(metric: Tensor, size: Tensor | None, rounds: Sequence[int]) -> tuple[Tensor, ...]:
    num_kept = metric.shape[1] - sum(checks.check_merge_rounds(metric, size, rounds))
    num_groups, num_tokens, _ = metric.shape
    index = torch.int64
    return (
        metric.new_empty(num_groups * num_kept + 1, dtype=index),
        metric.new_empty(num_groups * num_tokens, dtype=index),
        metric.new_empty((num_groups, num_tokens), dtype=index),
        metric.new_empty((num_groups, num_kept), dtype=torch.float32),
    )


def _plan(metric: Tensor, merged: int) -> tuple[Tensor, ...]:
    """The six tensors of a `MatchPlan`."""
    num_groups, num_tokens, _ = metric.shape
    num_kept = num_tokens - merged
    index = torch.int64
    return (
        metric.new_empty((num_groups, merged), dtype=index),
        metric.new_empty((num_groups, merged), dtype=index),
        metric.new_empty((num_groups, merged), dtype=torch.float32),
        metric.new_empty((num_groups, num_tokens), dtype=index),
        metric.new_empty(num_groups * num_kept + 1, dtype=index),
        metric.new_empty(num_groups * num_tokens, dtype=index),
    )
