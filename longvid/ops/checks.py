"""What the ops accept: dtypes, shapes and devices, checked before any kernel runs.

Every implementation of an op (torch reference, C++, CUDA) and its shape function call the same
check, so a wrong argument gives the same sentence everywhere. Nothing here reads tensor values.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from longvid.errors import OpError

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
INDICES = (torch.int32, torch.int64)


def num_merged(num_tokens: int, r: int, protected: int) -> int:
    """Clamp `r` as ToMe does: at most half of the tokens that are not protected."""
    return max(0, min(r, (num_tokens - protected) // 2))


def check_match(
    metric: Tensor, a_index: Tensor | None, b_index: Tensor | None, r: int, protected: int
) -> int:
    """Check the arguments of `match` and return how many tokens of a group will be merged."""
    _require_float("match", "metric", metric)
    _require_shape("match", "metric", metric, "(G, N, Cm)", 3)
    num_groups, num_tokens, width = metric.shape
    if r < 0:
        raise OpError(f"match: r must be 0 or more, got {r}; r = 0 leaves every token as it is.")
    if protected < 0:
        raise OpError(f"match: protected must be 0 or more, got {protected}.")
    if width == 0 and num_tokens > 0:
        raise OpError("match: metric has no channels (Cm = 0), so no similarity is defined.")
    if a_index is None and b_index is None:
        return num_merged(num_tokens, r, protected)
    if a_index is None or b_index is None:
        raise OpError("match: give both a_index and b_index, or neither for the even/odd split.")
    if protected:
        raise OpError(
            f"match: protected={protected} belongs to the even/odd split; with index sets, leave "
            "the protected positions out of a_index and b_index."
        )
    for name, index in (("a_index", a_index), ("b_index", b_index)):
        _require_index("match", name, index)
        if index.dim() != 2 or index.shape[0] != num_groups:
            raise OpError(
                f"match: {name} must be (G, K) with G = {num_groups} as in metric, "
                f"got {tuple(index.shape)}."
            )
    _require_same_device("match", metric, a_index=a_index, b_index=b_index)
    return min(r, a_index.shape[1]) if b_index.shape[1] else 0


def check_match_and_merge(
    metric: Tensor, x: Tensor, size: Tensor | None, r: int, protected: int
) -> int:
    """Check the arguments of `match_and_merge` and return how many tokens of a group merge."""
    op = "match_and_merge"
    merged = check_match(metric, None, None, r, protected)
    _require_float(op, "x", x)
    _require_shape(op, "x", x, "(G, N, C)", 3)
    for name, tensor in (("x", x), ("size", size)):
        if tensor is None:
            continue
        _require_float(op, name, tensor)
        if tensor.shape[:2] != metric.shape[:2] or (name == "size" and tensor.dim() != 2):
            raise OpError(
                f"{op}: {name} must have the (G, N) of metric {tuple(metric.shape)}, "
                f"got {tuple(tensor.shape)}."
            )
        _require_same_device(op, metric, **{name: tensor})
    return merged


def check_segment_mean(x: Tensor, offsets: Tensor, members: Tensor, weights: Tensor | None) -> int:
    """Check the arguments of `segment_mean` and return the number of segments."""
    _require_float("segment_mean", "x", x)
    _require_shape("segment_mean", "x", x, "(M, C)", 2)
    for name, index in (("offsets", offsets), ("members", members)):
        _require_index("segment_mean", name, index)
        _require_shape("segment_mean", name, index, "(S + 1,)" if name == "offsets" else "(K,)", 1)
    if offsets.shape[0] < 1:
        raise OpError("segment_mean: offsets must hold S + 1 values, got none; use [0] for S = 0.")
    _require_same_device("segment_mean", x, offsets=offsets, members=members)
    if weights is not None:
        _require_float("segment_mean", "weights", weights)
        if weights.dim() != 1 or weights.shape[0] != x.shape[0]:
            raise OpError(
                f"segment_mean: weights must be ({x.shape[0]},), one per row of x "
                f"{tuple(x.shape)}, got {tuple(weights.shape)}."
            )
        _require_same_device("segment_mean", x, weights=weights)
    return offsets.shape[0] - 1


def check_token_cosine(op: str, x: Tensor, window: int) -> None:
    """Check the arguments of `token_cosine`, or of `prune`, which begins with it."""
    _require_float(op, "x", x)
    _require_shape(op, "x", x, "(F, N, C)", 3)
    if window < 0:
        raise OpError(
            f"{op}: window must be 0 (previous frame) or a number of frames, got {window}."
        )


def check_compact(x: Tensor, keep: Tensor, rows: int | None) -> int:
    """Check the arguments of `compact` and return the number of rows of its result."""
    _require_float("compact", "x", x)
    _require_shape("compact", "x", x, "(F, N, C)", 3)
    if keep.dtype != torch.bool:
        raise OpError(f"compact: keep must be bool, got {keep.dtype}; compare to make a mask.")
    if keep.shape != x.shape[:2]:
        raise OpError(
            f"compact: keep must be (F, N) = {tuple(x.shape[:2])} as in x {tuple(x.shape)}, "
            f"got {tuple(keep.shape)}."
        )
    _require_same_device("compact", x, keep=keep)
    if x.shape[0] * x.shape[1] >= 2**31:
        raise OpError(
            f"compact: F * N must be below 2**31, got {tuple(x.shape)}; compact fewer frames."
        )
    num_rows = x.shape[0] * x.shape[1]
    if rows is None:
        return num_rows
    if not 0 <= rows <= num_rows:
        raise OpError(
            f"compact: rows must be in [0, {num_rows}] for x {tuple(x.shape)}, got {rows}; leave "
            "it out for room for every token."
        )
    return rows


def check_window_gram(x: Tensor, window: int) -> int:
    """Check the arguments of `window_gram` and return the number of windows."""
    _require_float("window_gram", "x", x)
    _require_shape("window_gram", "x", x, "(T, D)", 2)
    if window < 1:
        raise OpError(f"window_gram: window must be 1 frame or more, got {window}.")
    return (x.shape[0] + window - 1) // window


def check_context_attention(
    query: Tensor, key_weight: Tensor, x: Tensor, query_mask: Tensor | None
) -> None:
    """Check the arguments of `context_attention`."""
    op = "context_attention"
    for name, tensor in (("query", query), ("key_weight", key_weight), ("x", x)):
        _require_float(op, name, tensor)
    _require_shape(op, "x", x, "(F, N, C)", 3)
    num_frames, num_tokens, width = x.shape
    if query.dim() not in (2, 3) or (query.dim() == 3 and query.shape[0] != num_frames):
        raise OpError(
            f"{op}: query must be (M, E) or (F, M, E) with F = {num_frames} as in x, "
            f"got {tuple(query.shape)}."
        )
    if key_weight.shape != (query.shape[-1], width):
        raise OpError(
            f"{op}: key_weight must be (E, C) = {(query.shape[-1], width)} for query "
            f"{tuple(query.shape)} and x {tuple(x.shape)}, got {tuple(key_weight.shape)}."
        )
    if query.dtype != x.dtype or key_weight.dtype != x.dtype:
        raise OpError(
            f"{op}: query, key_weight and x must have one dtype, got {query.dtype}, "
            f"{key_weight.dtype} and {x.dtype}; cast them to x's."
        )
    if query.shape[-2] == 0:
        raise OpError(f"{op}: query has no rows, so the mean over queries is not defined.")
    if num_tokens == 0 and num_frames > 0:
        raise OpError(f"{op}: x {tuple(x.shape)} has frames without tokens to attend to.")
    _require_same_device(op, x, query=query, key_weight=key_weight)
    if query_mask is not None:
        if query_mask.dtype != torch.bool or query_mask.shape != query.shape[:-1]:
            raise OpError(
                f"{op}: query_mask must be bool {tuple(query.shape[:-1])}, true where the query "
                f"is no padding, got {query_mask.dtype} {tuple(query_mask.shape)}."
            )
        _require_same_device(op, x, query_mask=query_mask)


def check_head_mean(x: Tensor, num_heads: int) -> int:
    """Check the arguments of `head_mean` and return the channels of a head."""
    _require_float("head_mean", "x", x)
    if x.dim() < 1 or num_heads < 1 or x.shape[-1] % num_heads:
        raise OpError(
            f"head_mean: {num_heads} heads do not divide the width of {tuple(x.shape)}; give a "
            "number of heads that does."
        )
    return x.shape[-1] // num_heads


def check_frame_products(x: Tensor) -> None:
    """Check the argument of `frame_products`."""
    _require_float("frame_products", "x", x)
    _require_shape("frame_products", "x", x, "(F, N, C)", 3)


def check_merge_rounds(metric: Tensor, size: Tensor | None, rounds: Sequence[int]) -> list[int]:
    """Check the arguments of `merge_rounds` and return how many tokens each round merges."""
    op = "merge_rounds"
    _require_float(op, "metric", metric)
    _require_shape(op, "metric", metric, "(G, N, Cm)", 3)
    if size is not None:
        _require_float(op, "size", size)
        if size.shape != metric.shape[:2]:
            raise OpError(
                f"{op}: size must be (G, N) = {tuple(metric.shape[:2])} as in metric "
                f"{tuple(metric.shape)}, got {tuple(size.shape)}."
            )
        _require_same_device(op, metric, size=size)
    if metric.shape[2] == 0 and metric.shape[1] > 0:
        raise OpError(f"{op}: metric has no channels (Cm = 0), so no similarity is defined.")
    merged: list[int] = []
    for r in rounds:
        if r < 0:
            raise OpError(f"{op}: every round must merge 0 tokens or more, got {list(rounds)}.")
        merged.append(num_merged(metric.shape[1] - sum(merged), r, 0))
    return merged


def raise_not_finite(op: str, name: str, tensor: Tensor) -> None:
    """Raise the error that an op gives when it met NaN or infinity on the CPU."""
    raise OpError(
        f"{op}: {name} {tuple(tensor.shape)} holds NaN or infinite values (or rows whose norm "
        "overflows float32), so similarities are not defined; drop or repair those tokens first."
    )


def raise_bad_sets(metric: Tensor, a_index: Tensor, b_index: Tensor) -> None:
    """Raise the error that `match` gives for index sets that are no two disjoint sets."""
    raise OpError(
        f"match: a_index {tuple(a_index.shape)} and b_index {tuple(b_index.shape)} must hold "
        f"positions in [0, {metric.shape[1]}), each at most once per group over both sets."
    )


def raise_bad_segments(x: Tensor, offsets: Tensor, members: Tensor) -> None:
    """Raise the error that `segment_mean` gives for offsets or members out of range."""
    raise OpError(
        f"segment_mean: offsets {tuple(offsets.shape)} must rise from 0 to {members.shape[0]} "
        f"(the length of members), and members must be in [0, {x.shape[0]})."
    )


def raise_all_masked(query_mask: Tensor) -> None:
    """Raise the error that `context_attention` gives when a frame has no valid query."""
    raise OpError(
        f"context_attention: query_mask {tuple(query_mask.shape)} masks every query of a frame; "
        "leave at least one."
    )


def _require_float(op: str, name: str, tensor: Tensor) -> None:
    if tensor.dtype not in FLOATS:
        raise OpError(
            f"{op}: {name} must be float16, bfloat16, float32 or float64, got {tensor.dtype}."
        )


def _require_index(op: str, name: str, tensor: Tensor) -> None:
    if tensor.dtype not in INDICES:
        raise OpError(f"{op}: {name} must be int32 or int64, got {tensor.dtype}.")


def _require_shape(op: str, name: str, tensor: Tensor, axes: str, dims: int) -> None:
    if tensor.dim() != dims:
        raise OpError(f"{op}: {name} must be {axes}, got shape {tuple(tensor.shape)}.")


def _require_same_device(op: str, first: Tensor, **others: Tensor) -> None:
    for name, tensor in others.items():
        if tensor.device != first.device:
            raise OpError(
                f"{op}: every tensor must be on one device, got {first.device} and {name} on "
                f"{tensor.device}; move one of them."
            )
