"""The schemas of the ops under the namespace `longvid`, their reference and shape functions.

The torch reference is the default kernel of every device (CompositeExplicitAutograd), so an op
exists without any build; `native` and `cuda` put faster kernels in front of it where they can.
The ops are for inference: they define no gradient.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from longvid.ops import checks, reference

NAMES = (
    "match",
    "segment_mean",
    "token_cosine",
    "compact",
    "window_gram",
    "context_attention",
    "head_mean",
    "merge_rounds",
)

_torch_library: Any = torch.library  # its functions carry no types
LIBRARY = _torch_library.Library("longvid", "DEF")

_SCHEMAS = (
    "match(Tensor metric, Tensor? a_index, Tensor? b_index, SymInt r, SymInt protected, "
    "bool position_order) -> (Tensor source, Tensor destination, Tensor score, Tensor segment, "
    "Tensor offsets, Tensor members)",
    "segment_mean(Tensor x, Tensor offsets, Tensor members, Tensor? weights) -> Tensor",
    "token_cosine(Tensor x, int window) -> Tensor",
    "compact(Tensor x, Tensor keep, SymInt? rows=None) -> (Tensor packed, Tensor cu_seqlens)",
    "window_gram(Tensor x, int window) -> Tensor",
    "context_attention(Tensor query, Tensor key_weight, Tensor x, float scale, "
    "Tensor? query_mask) -> Tensor",
    "head_mean(Tensor x, SymInt num_heads) -> Tensor",
    "merge_rounds(Tensor metric, Tensor? size, SymInt[] rounds) -> (Tensor offsets, "
    "Tensor members, Tensor segment, Tensor merged_size)",
)


def _match_shapes(
    metric: Tensor,
    a_index: Tensor | None,
    b_index: Tensor | None,
    r: int,
    protected: int,
    position_order: bool,
) -> tuple[Tensor, ...]:
    merged = checks.check_match(metric, a_index, b_index, r, protected)
    num_groups, num_tokens, _ = metric.shape
    num_kept = num_tokens - merged
    index = torch.int64
    return (
        metric.new_empty((num_groups, merged), dtype=index),
        metric.new_empty((num_groups, merged), dtype=index),
        metric.new_empty((num_groups, merged), dtype=torch.float32),
        metric.new_empty((num_groups, num_tokens), dtype=index),
        metric.new_empty((num_groups * num_kept + 1,), dtype=index),
        metric.new_empty((num_groups * num_tokens,), dtype=index),
    )


def _segment_mean_shapes(
    x: Tensor, offsets: Tensor, members: Tensor, weights: Tensor | None
) -> Tensor:
    num_segments = checks.check_segment_mean(x, offsets, members, weights)
    return x.new_empty((num_segments, x.shape[1]))


def _token_cosine_shapes(x: Tensor, window: int) -> Tensor:
    checks.check_token_cosine(x, window)
    return x.new_empty(x.shape[:2], dtype=torch.float32)


def _compact_shapes(x: Tensor, keep: Tensor, rows: int | None = None) -> tuple[Tensor, Tensor]:
    num_rows = checks.check_compact(x, keep, rows)
    packed = x.new_empty((num_rows, x.shape[2]))
    return packed, x.new_empty((x.shape[0] + 1,), dtype=torch.int32)


def _window_gram_shapes(x: Tensor, window: int) -> Tensor:
    num_windows = checks.check_window_gram(x, window)
    return x.new_empty((num_windows, window, window), dtype=torch.float32)


def _context_attention_shapes(
    query: Tensor, key_weight: Tensor, x: Tensor, scale: float, query_mask: Tensor | None
) -> Tensor:
    checks.check_context_attention(query, key_weight, x, query_mask)
    return x.new_empty((x.shape[0], x.shape[2]))


def _head_mean_shapes(x: Tensor, num_heads: int) -> Tensor:
    width = checks.check_head_mean(x, num_heads)
    dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
    return x.new_empty((*x.shape[:-1], width), dtype=dtype)


def _merge_rounds_shapes(
    metric: Tensor, size: Tensor | None, rounds: Sequence[int]
) -> tuple[Tensor, ...]:
    num_kept = metric.shape[1] - sum(checks.check_merge_rounds(metric, size, rounds))
    num_groups, num_tokens, _ = metric.shape
    index = torch.int64
    return (
        metric.new_empty((num_groups * num_kept + 1,), dtype=index),
        metric.new_empty((num_groups * num_tokens,), dtype=index),
        metric.new_empty((num_groups, num_tokens), dtype=index),
        metric.new_empty((num_groups, num_kept), dtype=torch.float32),
    )


for _schema, _shapes in zip(
    _SCHEMAS,
    (
        _match_shapes,
        _segment_mean_shapes,
        _token_cosine_shapes,
        _compact_shapes,
        _window_gram_shapes,
        _context_attention_shapes,
        _head_mean_shapes,
        _merge_rounds_shapes,
    ),
    strict=True,
):
    _name = _schema.split("(", 1)[0]
    LIBRARY.define(_schema, tags=(torch.Tag.needs_fixed_stride_order,))
    LIBRARY.impl(_name, getattr(reference, _name), "CompositeExplicitAutograd")
    _torch_library.register_fake(f"longvid::{_name}", _shapes, lib=LIBRARY)
