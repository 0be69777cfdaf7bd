"""Tensor operations that compress visual tokens. They know tensors, not videos.

Each op is one schema in `torch.ops.longvid` with a plain torch reference, and faster
C++ and CUDA kernels where they were built; `implementation` says which one is active. On the CPU
an op raises `OpError` for non-finite input; on CUDA it does not look, because that would wait for
the device.
"""

from __future__ import annotations

import torch
from torch import Tensor

from longvid.ops import cuda, native
from longvid.ops.match_plan import MatchPlan
from longvid.ops.merge import (
    clip_rounds,
    head_mean,
    kth_split,
    merge,
    merge_rounds,
    merge_size,
    segments_from_labels,
    unmerge,
)
from longvid.ops.schema import NAMES as NAMES

__all__ = [
    "MatchPlan",
    "clip_rounds",
    "compact",
    "context_attention",
    "frame_products",
    "head_mean",
    "implementation",
    "kth_split",
    "match",
    "match_and_merge",
    "merge",
    "merge_rounds",
    "merge_size",
    "prune",
    "segment_mean",
    "segments_from_labels",
    "token_cosine",
    "unmerge",
    "window_gram",
]


# Each op is called by its only overload, so that none is looked for at every call.


def match(
    metric: Tensor,
    r: int,
    *,
    protected: int = 0,
    a_index: Tensor | None = None,
    b_index: Tensor | None = None,
    position_order: bool = False,
) -> MatchPlan:
    """Match tokens of set A to their most similar token of set B and plan to merge the r best.

    By default A is the even positions and B the odd ones (ToMe). Cosine similarity in float32;
    ties go to the lower position; a row of zeros has similarity 0 to everything. `r` is clamped
    to what is possible, r = 0 keeps all tokens in place.

    Args:
        metric: (G, N, Cm) float, what tokens of each of G groups are compared by.
        r: Number of tokens to merge in each group.
        protected: The first `protected` positions never merge (1: class token, 2: also a
            distillation token). Only with the even/odd split.
        a_index: (G, A) positions of set A. Tokens in neither set are kept as they are.
        b_index: (G, B) positions of set B, disjoint from A.
        position_order: Keep the surviving tokens in the order of their positions. Otherwise in
            ToMe's order: tokens in neither set, unmerged tokens of A by falling score (by
            position when tokens are protected), tokens of B.

    Raises:
        OpError: Wrong dtype, shape or device; sets that overlap; NaN or infinity (CPU only).

    Source: Token Merging, section 3.1 and appendix D. The official code leaves the order of ties
    open and gives NaN for a row of zeros.
    """
    return MatchPlan(
        *torch.ops.longvid.match.default(metric, a_index, b_index, r, protected, position_order)
    )


def match_and_merge(
    metric: Tensor, x: Tensor, r: int, *, size: Tensor | None = None, protected: int = 0
) -> tuple[Tensor, MatchPlan]:
    """Match tokens and merge them: `match` and `merge` in one call, with the same result.

    On the CPU a group is merged by the thread that matched it, and the features are read from
    memory while the scores are computed.

    Args:
        metric: (G, N, Cm) float, as `match`.
        x: (G, N, C) float features.
        r: Number of tokens to merge in each group.
        size: (G, N) patches each token represents; all 1 if not given.
        protected: As `match`.

    Returns:
        (G, S, C) in x's dtype, and the plan.

    Raises:
        OpError: As `match`.
    """
    merged, *plan = torch.ops.longvid.match_and_merge.default(metric, x, size, r, protected)
    return merged, MatchPlan(*plan)


def segment_mean(
    x: Tensor, offsets: Tensor, members: Tensor, weights: Tensor | None = None
) -> Tensor:
    """Average the rows of x that belong to each segment.

    Segment s is the mean of x[members[offsets[s]:offsets[s + 1]]], accumulated in float32 in that
    order, so that reruns are equal bit for bit. A segment of one row is an exact copy; a segment
    without rows, or whose weights sum to 0, is zero.

    Args:
        x: (M, C) float.
        offsets: (S + 1,) int32 or int64, rising from 0 to K.
        members: (K,) int32 or int64 rows of x.
        weights: (M,) float, the weight of each row of x; all 1 if not given.

    Returns:
        (S, C) in x's dtype.

    Raises:
        OpError: Wrong dtype, shape or device; offsets or members out of range (CPU only).
    """
    result: Tensor = torch.ops.longvid.segment_mean.default(x, offsets, members, weights)
    return result


def token_cosine(x: Tensor, window: int) -> Tensor:
    """Compare every token with the same patch of an earlier frame: cosine similarity.

    Args:
        x: (F, N, C) float.
        window: Compare with the first frame of each window of `window` frames (1.0 for that
            frame itself); 0 compares with the previous frame (1.0 for frame 0).

    Returns:
        (F, N) float32 in [-1, 1] up to rounding; norms below 1e-8 count as 1e-8.

    Raises:
        OpError: Wrong dtype or shape; NaN or infinity (CPU only).
    """
    result: Tensor = torch.ops.longvid.token_cosine.default(x, window)
    return result


def compact(x: Tensor, keep: Tensor, *, rows: int | None = None) -> tuple[Tensor, Tensor]:
    """Pack the kept tokens of all frames without waiting for the device.

    Args:
        x: (F, N, C) float.
        keep: (F, N) bool.
        rows: Rows of the result, F * N if not given. Kept tokens that find no room are left out.

    Returns:
        packed (rows, C): the kept rows in frame and position order, then zeros; and
        cu_seqlens (F + 1,) int32: frame f owns rows cu_seqlens[f]:cu_seqlens[f + 1].

    Raises:
        OpError: Wrong dtype, shape or device.
    """
    packed, cu_seqlens = torch.ops.longvid.compact.default(x, keep, rows)
    return packed, cu_seqlens


def prune(x: Tensor, window: int, threshold: float) -> tuple[Tensor, Tensor, Tensor]:
    """Pack the tokens that differ from the same patch of an earlier frame (LongVU's STC).

    A token stays when its `token_cosine` is below the threshold; frames that are compared with
    none stay whole.

    Args:
        x: (F, N, C) float.
        window: As `token_cosine`.
        threshold: Similarity from which a token is left out.

    Returns:
        packed: On the CPU exactly the kept rows in frame and position order; on other devices,
            where counting would wait, (F * N, C) with zeros after them.
        keep: (F, N) bool.
        cu_seqlens: (F + 1,) int32, frame f owns rows cu_seqlens[f]:cu_seqlens[f + 1].

    Raises:
        OpError: As `token_cosine`.
    """
    packed, keep, cu_seqlens = torch.ops.longvid.prune.default(x, window, threshold)
    return packed, keep, cu_seqlens


def window_gram(x: Tensor, window: int) -> Tensor:
    """Compute the cosine similarities between all frames of each window of frames.

    Args:
        x: (T, D) float, one row per frame.
        window: Frames per window; the last window is padded with zero rows.

    Returns:
        (ceil(T / window), window, window) float32.

    Raises:
        OpError: Wrong dtype or shape; NaN or infinity (CPU only).
    """
    result: Tensor = torch.ops.longvid.window_gram.default(x, window)
    return result


def context_attention(
    query: Tensor, key_weight: Tensor, x: Tensor, scale: float, *, query_mask: Tensor | None = None
) -> Tensor:
    """Attend from text queries to the tokens of each frame and average over the queries.

    mean over m of softmax over n of (q_m (W x_n)^T * scale), times x. A bias of the key
    projection would add the same number to every n and is therefore left out.

    Args:
        query: (M, E) for all frames, or (F, M, E), in x's dtype.
        key_weight: (E, C) weight of the key projection, as in torch.nn.Linear.
        x: (F, N, C) float.
        scale: Factor of the scores, usually 1 / sqrt(E).
        query_mask: (M,) or (F, M) bool, false for padding that the mean leaves out.

    Returns:
        (F, C) in x's dtype.

    Raises:
        OpError: Wrong dtype, shape or device; NaN, infinity or a frame without a valid query
            (CPU only).

    Source: LLaMA-VID section 3.1; the official code projects every token and forms all products.
    """
    result: Tensor = torch.ops.longvid.context_attention.default(
        query, key_weight, x, float(scale), query_mask
    )
    return result


def frame_products(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Compare the tokens of each frame with their mean, in one read of the frame.

    Args:
        x: (F, N, C) float.

    Returns:
        mean (F, C): the mean token of each frame; dot (F, N): the product of each token with its
        frame's mean; square (F, N): of each token with itself. All float32.

    Raises:
        OpError: Wrong dtype or shape; NaN, infinity or a square that overflows (CPU only).
    """
    mean, dot, square = torch.ops.longvid.frame_products.default(x)
    return mean, dot, square


def implementation(name: str, device: str | torch.device = "cpu") -> str:
    """Name the kernel that runs op `name` on `device`: "torch", "cpp-avx512", "cuda-sm90a", ..."""
    if name not in NAMES:
        known = ", ".join(NAMES)
        raise ValueError(f"no op named {name!r}; the ops are {known}.")
    place = torch.device(device)
    if place.type == "cuda":
        return cuda.level(name, place)
    return native.level() if place.type == "cpu" else "torch"
