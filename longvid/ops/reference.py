"""The ops in plain torch: the specification that every fast implementation must equal.

Accumulation is float32 (float64 for float64 input), ties go to the lower index, and a row of
zeros has similarity 0 to everything. Nothing here knows of videos, or of how an op is dispatched.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from longvid.ops import checks

COSINE_EPS = 1e-8  # as torch.cosine_similarity
NORMALIZE_EPS = 1e-12  # as torch.nn.functional.normalize

_CACHED_VALUES = 2**20


def match(
    metric: Tensor,
    a_index: Tensor | None,
    b_index: Tensor | None,
    r: int,
    protected: int,
    position_order: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Match each token of set A to its most similar token of set B and merge the r best.

    Returns:
        source (G, r), destination (G, r), score (G, r) float32, segment (G, N),
        offsets (G * S + 1,), members (G * N,); all int64 but the score. See `MatchPlan`.
    """
    merged = checks.check_match(metric, a_index, b_index, r, protected)
    num_groups, num_tokens, _ = metric.shape
    position = torch.arange(num_tokens, device=metric.device).expand(num_groups, num_tokens)
    if a_index is None or b_index is None:
        a_set, b_set = position[:, protected + protected % 2 :: 2], position[:, 1::2]
        b_set = b_set[:, protected // 2 :]
    else:
        a_set, b_set = a_index.long(), b_index.long()
        if not metric.is_cuda and not _disjoint(a_set, b_set, num_tokens):
            checks.raise_bad_sets(metric, a_set, b_set)

    if merged and num_groups:
        best, nearest = _best_match(metric, a_set, b_set)
        if not metric.is_cuda and not bool(best.isfinite().all()):
            checks.raise_not_finite("match", "metric", metric)
        score, order = best.sort(dim=1, descending=True, stable=True)
        order, left = order[:, :merged], order[:, merged:]
        source = a_set.gather(1, order)
        destination = b_set.gather(1, nearest.gather(1, order))
        score = score[:, :merged]
        survivors = _survivors(
            position,
            source,
            a_set.gather(1, left),
            b_set,
            sort_left=protected > 0,
            position_order=position_order,
        )
    else:
        source = position[:, :merged].clone()
        destination = source.clone()
        score = metric.new_zeros((num_groups, merged), dtype=torch.float32)
        survivors = position[:, : num_tokens - merged]

    num_kept = num_tokens - merged
    rank = torch.zeros_like(position, memory_format=torch.contiguous_format)
    rank.scatter_(1, survivors, torch.arange(num_kept, device=metric.device).expand_as(survivors))
    target = position.clone().scatter_(1, source, destination)
    first_row = torch.arange(num_groups, device=metric.device).unsqueeze(1) * num_kept
    segment = rank.gather(1, target) + first_row  # (G, N) row of the merged tensor
    # Within a segment: the token that survives, then the tokens merged into it by position.
    key = segment * 2 + (target != position)
    members = key.flatten().sort(stable=True).indices
    counts = torch.zeros(num_groups * num_kept + 1, dtype=torch.int64, device=metric.device)
    counts.scatter_add_(0, segment.flatten() + 1, torch.ones_like(members))
    return source, destination, score.float().contiguous(), segment, counts.cumsum(0), members


def match_and_merge(
    metric: Tensor, x: Tensor, size: Tensor | None, r: int, protected: int
) -> tuple[Tensor, ...]:
    """Match, and average the tokens that merge: merged (G, S, C), then the plan of `match`."""
    return compose_merge(match, segment_mean, metric, x, size, r, protected)


def compose_merge(
    match: Callable[..., tuple[Tensor, ...]],
    segment_mean: Callable[..., Tensor],
    metric: Tensor,
    x: Tensor,
    size: Tensor | None,
    r: int,
    protected: int,
) -> tuple[Tensor, ...]:
    """Compose `match_and_merge` of kernels of `match` and `segment_mean`."""
    merged = checks.check_match_and_merge(metric, x, size, r, protected)
    num_groups, num_tokens, width = x.shape
    plan = match(metric, None, None, r, protected, False)
    weights = None if size is None else size.reshape(num_groups * num_tokens)
    rows = segment_mean(x.reshape(num_groups * num_tokens, width), *plan[-2:], weights)
    return rows.view(num_groups, num_tokens - merged, width), *plan


def segment_mean(x: Tensor, offsets: Tensor, members: Tensor, weights: Tensor | None) -> Tensor:
    """Average the rows of each segment; a segment of one row is copied, an empty one is zero."""
    checks.check_segment_mean(x, offsets, members, weights)
    if not x.is_cuda and not _covers(x, offsets, members):
        checks.raise_bad_segments(x, offsets, members)
    accumulate = _accumulate(x.dtype)
    rows = x.index_select(0, members).to(accumulate)
    lengths = offsets.diff()
    if weights is None:
        total = lengths.to(accumulate)
    else:
        picked = weights.index_select(0, members).to(accumulate)
        rows = rows * picked.unsqueeze(1)
        total = _segment_sum(picked, offsets)
    mean = _segment_sum(rows, offsets) * total.clamp_min(0).reciprocal().unsqueeze(1)
    mean = torch.where((total > 0).unsqueeze(1), mean, 0).to(x.dtype)
    if members.shape[0] == 0:
        return mean
    first = members[offsets[:-1].clamp(max=members.shape[0] - 1)]
    return torch.where((lengths == 1).unsqueeze(1), x.index_select(0, first), mean)


def token_cosine(x: Tensor, window: int) -> Tensor:
    """Compare every token with the same patch of its anchor frame: cosine similarity."""
    checks.check_token_cosine("token_cosine", x, window)
    num_frames = x.shape[0]
    frame = torch.arange(num_frames, device=x.device)
    anchor = frame // window * window if window else (frame - 1).clamp_min(0)
    data = x.to(_accumulate(x.dtype))
    similarity = torch.cosine_similarity(data, data[anchor], dim=-1, eps=COSINE_EPS).float()
    if not x.is_cuda and not bool(similarity.isfinite().all()):
        checks.raise_not_finite("token_cosine", "x", x)
    return torch.where((anchor == frame).unsqueeze(1), 1.0, similarity)


def compact(x: Tensor, keep: Tensor, rows: int | None = None) -> tuple[Tensor, Tensor]:
    """Pack the kept rows frame by frame; rows after the last kept one are zero."""
    num_rows = checks.check_compact(x, keep, rows)
    num_frames, num_tokens, width = x.shape
    flat = keep.reshape(-1)
    order = torch.sort(~flat, stable=True).indices[:num_rows]
    packed = x.reshape(num_frames * num_tokens, width).index_select(0, order)
    packed = torch.where(flat.index_select(0, order).unsqueeze(1), packed, 0)
    counts = torch.zeros(num_frames + 1, dtype=torch.int32, device=x.device)
    counts[1:] = keep.sum(dim=1)
    return packed, counts.cumsum(0, dtype=torch.int32).clamp_max(num_rows)


def prune(x: Tensor, window: int, threshold: float) -> tuple[Tensor, Tensor, Tensor]:
    """Pack the tokens that are less similar than the threshold, and all of the anchor frames."""
    return compose_prune(token_cosine, compact, x, window, threshold)


def compose_prune(
    token_cosine: Callable[[Tensor, int], Tensor],
    compact: Callable[[Tensor, Tensor, int | None], tuple[Tensor, Tensor]],
    x: Tensor,
    window: int,
    threshold: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Compose `prune` of kernels of `token_cosine` and `compact`."""
    checks.check_token_cosine("prune", x, window)
    keep = token_cosine(x, window) < threshold
    keep[:: window or max(1, len(x))] = True
    # Counting would wait for a GPU, so there is room for every token on one.
    rows = int(keep.count_nonzero()) if x.device.type == "cpu" else None
    packed, cu_seqlens = compact(x, keep, rows)
    return packed, keep, cu_seqlens


def window_gram(x: Tensor, window: int) -> Tensor:
    """Compute the cosine similarities between all frames of each window of frames."""
    num_windows = checks.check_window_gram(x, window)
    num_frames, width = x.shape
    data = x.to(_accumulate(x.dtype))
    # Rows are long (all patches of a frame), so their norms are summed in float64.
    norm = torch.linalg.vector_norm(data, dim=1, keepdim=True, dtype=torch.float64)
    unit = data / norm.clamp_min(NORMALIZE_EPS).to(data.dtype)
    padded = unit.new_zeros((num_windows * window, width))
    padded[:num_frames] = unit
    padded = padded.view(num_windows, window, width)
    upper = torch.bmm(padded, padded.transpose(1, 2)).float().triu()
    gram = upper + upper.triu(1).transpose(1, 2)  # a product need not be symmetric to the bit
    if not x.is_cuda and not bool(gram.isfinite().all()):
        checks.raise_not_finite("window_gram", "x", x)
    return gram


def context_attention(
    query: Tensor, key_weight: Tensor, x: Tensor, scale: float, query_mask: Tensor | None
) -> Tensor:
    """Attend from each query to the tokens of a frame and average over the queries.

    The key projection folds into the query, q (W x)^T = (q W) x^T, and the mean over queries
    commutes with the weighted sum of tokens, so x is never projected.
    """
    checks.check_context_attention(query, key_weight, x, query_mask)
    accumulate = _accumulate(x.dtype)
    data = x.to(accumulate)
    folded = query.to(accumulate) @ key_weight.to(accumulate)
    folded = folded.expand(x.shape[0], -1, -1)  # (F, M, C)
    weight = torch.softmax(torch.bmm(folded, data.transpose(1, 2)) * scale, dim=2)  # (F, M, N)
    share = query_share(query_mask, query.shape[-2], accumulate, x.device)
    weight = (weight * share.unsqueeze(-1)).sum(dim=1, keepdim=True)  # (F, 1, N)
    context = torch.bmm(weight, data).squeeze(1)
    if not x.is_cuda and not bool(context.isfinite().all()):
        checks.raise_not_finite("context_attention", "x or query", x)
    return context.to(x.dtype)


def head_mean(x: Tensor, num_heads: int) -> Tensor:
    """Average the channels over `num_heads` equal slices."""
    width = checks.check_head_mean(x, num_heads)
    heads = x.reshape(*x.shape[:-1], num_heads, width)
    return heads.mean(dim=-2, dtype=_accumulate(x.dtype))


def frame_products(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return frame means, products of tokens with them, and of tokens with themselves."""
    checks.check_frame_products(x)
    values = x.to(_accumulate(x.dtype))
    mean = values.mean(dim=1) if x.shape[1] else values.new_zeros(x.shape[0], x.shape[2])
    square = (values * values).sum(dim=2)
    if x.device.type == "cpu" and not bool(square.isfinite().all()):
        checks.raise_not_finite("frame_products", "x", x)
    return mean, (values * mean.unsqueeze(1)).sum(dim=2), square


def merge_rounds(
    metric: Tensor, size: Tensor | None, rounds: Sequence[int]
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Run every round of merging on the metric; return the segments of tokens it ends in."""
    return compose_rounds(match, segment_mean, metric, size, rounds)


def compose_rounds(
    match: Callable[..., tuple[Tensor, ...]],
    segment_mean: Callable[..., Tensor],
    metric: Tensor,
    size: Tensor | None,
    rounds: Sequence[int],
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Compose `merge_rounds` of kernels of `match` and `segment_mean`."""
    merged = checks.check_merge_rounds(metric, size, rounds)
    num_groups, num_tokens, width = metric.shape
    total = num_groups * num_tokens
    size = metric.new_ones((num_groups, num_tokens)) if size is None else size
    size = size.to(torch.float32).flatten()
    segment = torch.arange(total, device=metric.device)
    members = segment.clone()
    offsets = torch.arange(total + 1, device=metric.device)
    num_kept = num_tokens
    for i, r in enumerate(merged):
        _, _, _, row_of, bounds, rows = match(metric, None, None, r, 0, False)
        if i + 1 < len(merged):
            # The means of a round are not rounded to the dtype of the tokens.
            data = metric.to(_accumulate(metric.dtype))
            data = segment_mean(data.reshape(num_groups * num_kept, width), bounds, rows, size)
            metric = data.view(num_groups, num_kept - r, width)
        num_kept -= r
        size = _segment_sum(size[rows], bounds)
        segment = row_of.flatten()[segment]
        offsets, members = _expanded(offsets, members, bounds, rows)
    segment, size = segment.view(num_groups, num_tokens), size.view(num_groups, num_kept)
    return offsets, members, segment, size


def query_share(
    query_mask: Tensor | None, num_queries: int, dtype: torch.dtype, device: torch.device
) -> Tensor:
    """Return the weight of each query in the mean: 1 / (number of valid queries), or 0."""
    if query_mask is None:
        return torch.full((num_queries,), 1.0 / num_queries, dtype=dtype, device=device)
    valid = query_mask.to(dtype)
    count = valid.sum(dim=-1, keepdim=True)
    if not query_mask.is_cuda and bool((count == 0).any()):
        checks.raise_all_masked(query_mask)
    return valid / count


def _accumulate(dtype: torch.dtype) -> torch.dtype:
    return torch.float64 if dtype == torch.float64 else torch.float32


def _best_match(metric: Tensor, a_set: Tensor, b_set: Tensor) -> tuple[Tensor, Tensor]:
    """Return the best cosine of each A token and the lowest B index that reaches it.

    On the CPU a float32 matrix product rounds equal columns differently at the edges of its
    blocks, which would break ties; float64 rounded to float32 does not.
    """
    exact = metric.dtype == torch.float64 or not metric.is_cuda
    step = max(1, _CACHED_VALUES // max(1, metric[0].numel()))
    parts = []
    for start in range(0, len(metric), step):
        part = slice(start, start + step)
        data = metric[part].to(torch.float64 if exact else torch.float32)
        norm = data.norm(dim=2, keepdim=True)
        unit = torch.where(norm == 0, 0.0, data / norm)
        width = unit.shape[2]
        rows = unit.gather(1, a_set[part].unsqueeze(2).expand(-1, -1, width))
        columns = unit.gather(1, b_set[part].unsqueeze(2).expand(-1, -1, width))
        score = torch.bmm(rows, columns.transpose(1, 2))  # (G, A, B)
        score = score.to(_accumulate(metric.dtype))
        best = score.amax(dim=2)
        candidate = torch.arange(score.shape[2], device=metric.device)
        reached = torch.where(score == best.unsqueeze(2), candidate, score.shape[2] - 1)
        parts.append((best, reached.amin(dim=2)))
    return torch.cat([best for best, _ in parts]), torch.cat([index for _, index in parts])


def _expanded(
    offsets: Tensor, members: Tensor, bounds: Tensor, rows: Tensor
) -> tuple[Tensor, Tensor]:
    """Replace rows that are segments themselves by the members of those segments."""
    length = offsets.diff()
    starts, lengths = offsets[:-1][rows], length[rows]
    ends = lengths.cumsum(0)
    moved = torch.repeat_interleave(starts - ends + lengths, lengths, output_size=len(members))
    moved += torch.arange(len(members), device=members.device)
    ends = torch.cat([ends.new_zeros(1), ends])
    return ends[bounds], members[moved]


def _survivors(
    position: Tensor,
    source: Tensor,
    left: Tensor,
    b_set: Tensor,
    *,
    sort_left: bool,
    position_order: bool,
) -> Tensor:
    """Order the tokens that remain: (G, S) positions.

    ToMe's order is: tokens in neither set, unmerged A tokens by falling score (by position when
    tokens are protected), then B. The other order is simply by position.
    """
    num_tokens = position.shape[1]
    taken = torch.zeros_like(position, dtype=torch.bool)
    taken.scatter_(1, source, True)
    if position_order:
        return torch.sort(taken, dim=1, stable=True).indices[:, : num_tokens - source.shape[1]]
    taken.scatter_(1, left, True).scatter_(1, b_set, True)
    num_free = num_tokens - source.shape[1] - left.shape[1] - b_set.shape[1]
    free = torch.sort(taken, dim=1, stable=True).indices[:, :num_free]
    left = left.sort(dim=1).values if sort_left else left
    return torch.cat([free, left, b_set], dim=1)


def _disjoint(a_set: Tensor, b_set: Tensor, num_tokens: int) -> bool:
    both = torch.cat([a_set, b_set], dim=1)
    if both.numel() == 0:
        return True
    if int(both.min()) < 0 or int(both.max()) >= num_tokens:
        return False
    seen = torch.zeros((both.shape[0], num_tokens), dtype=torch.int64)
    return int(seen.scatter_add_(1, both, torch.ones_like(both)).max()) <= 1


def _covers(x: Tensor, offsets: Tensor, members: Tensor) -> bool:
    in_range = members.numel() == 0 or (int(members.min()) >= 0 and int(members.max()) < x.shape[0])
    ends = int(offsets[0]) == 0 and int(offsets[-1]) == members.shape[0]
    return in_range and ends and bool((offsets.diff() >= 0).all())


def _segment_sum(data: Tensor, offsets: Tensor) -> Tensor:
    """Sum consecutive rows in order; unlike index_add_, the same bits on every device."""
    if data.shape[0] == 0 or offsets.shape[0] == 1 or data.numel() == 0:
        return data.new_zeros((offsets.shape[0] - 1, *data.shape[1:]))
    return torch.segment_reduce(data, "sum", offsets=offsets.long(), axis=0, initial=0)
