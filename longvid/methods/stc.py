"""LongVU's token budget: which frames keep their detail for a question, and which tokens go.

This module knows the tokens of frames of equal count and one budget. Selections come back as
frame indices or masks, so that positions and sizes can follow the tokens.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from longvid.errors import BudgetError, OpError
from longvid.lazy_import import ops, torch

if TYPE_CHECKING:
    from torch import Tensor


def num_high_frames(budget: int, num_frames: int, num_low: int, num_high: int) -> int:
    """Return how many frames can be shown at high resolution.

    floor((budget - T * low) / (high - low)), at most T; none where the low resolution alone does
    not leave room, or where the high one is no finer.

    >>> num_high_frames(budget=570, num_frames=20, num_low=20, num_high=42)
    7

    Args:
        budget: Visual tokens that may be shown.
        num_frames: Frames T.
        num_low: Tokens of a frame at low resolution, newlines included.
        num_high: Tokens of a frame at high resolution, newlines included.

    Source: LongVU section 3.3, equation 1.
    """
    room = budget - num_frames * num_low
    if room <= 0 or num_high <= num_low:
        return 0
    return min(room // (num_high - num_low), num_frames)


def frame_scores(frames: Tensor, text: Tensor) -> Tensor:
    """Score frames against a question: the mean dot product of their tokens with its tokens.

    The mean of all dot products is the dot product of the means, which is what is computed.

    Args:
        frames: (T, n, D) float, tokens of every frame.
        text: (L, D) float, embedded tokens of the question.

    Returns:
        (T,) float32.

    Raises:
        OpError: The question is empty.

    Source: LongVU section 3.3, `cambrian_arch.py`; raw dot products, no norm and no softmax.
    """
    if not len(text):
        raise OpError("Frames cannot be scored against a question without tokens.")
    return frames.float().mean(1) @ text.float().mean(0)


def query_guided_frames(scores: Tensor, num_high: int) -> Tensor:
    """Choose the frames that keep their detail: the best scores, ties to the earlier frame.

    Args:
        scores: (T,) float.
        num_high: How many, at most T.

    Returns:
        (num_high,) int64 frame indices, increasing.
    """
    order = torch.sort(scores, descending=True, stable=True).indices
    return order[:num_high].sort().values


def similar_to_anchor(x: Tensor, chunk: int, threshold: float) -> Tensor:
    """Mark tokens that repeat the same patch of the first frame of their chunk, (T, n) bool.

    The first frame of a chunk is never marked, so a chunk of one frame stays whole.

    Args:
        x: (T, n, D) float.
        chunk: Frames per chunk; the last may be shorter.
        threshold: Cosine similarities of at least this are marked.

    Source: LongVU section 3.4.
    """
    similar = ~(ops.token_cosine(x, chunk) < threshold)
    similar[::chunk] = False
    return similar


def cut_tails(keep: Tensor, chunk: int, budget: int) -> Tensor:
    """Cut what is kept to a budget, as much from the end of every chunk.

    Each chunk loses its last ceil(excess / chunks) tokens, which may empty it; what is then still
    too many goes from the end of the video.

    Args:
        keep: (T, n) bool, tokens kept so far, in frame order.
        chunk: Frames per chunk; the last may be shorter.
        budget: Tokens that may stay.

    Returns:
        (T, n) bool with at most `budget` true.

    Source: LongVU, `cambrian_arch.py` (after STC).
    """
    chunks = torch.split(keep, chunk)
    counts = [int(part.sum()) for part in chunks]
    excess = sum(counts) - budget
    if excess <= 0:
        return keep
    cut = -(-excess // len(chunks))
    left = budget
    shortened = []
    for part, count in zip(chunks, counts, strict=True):
        stay = min(max(0, count - cut), left)
        left -= stay
        rank = part.flatten().cumsum(0).view_as(part)  # 1 for the first token kept
        shortened.append(part & (rank <= stay))
    return torch.cat(shortened)


def spatial_token_compression(
    x: Tensor, *, chunk: int = 8, threshold: float = 0.8, budget: int | None = None
) -> Tensor:
    """Choose the tokens that spatial token compression (STC) keeps.

    Args:
        x: (T, n, D) float, tokens of frames that share one grid.
        chunk: Frames per chunk.
        threshold: Tokens at least this similar to their chunk's first frame are dropped.
        budget: Tokens that may stay; no limit if not given.

    Returns:
        (T, n) bool. `x[keep]` are the kept tokens in time order.

    Raises:
        OpError: x is not (T, n, D).
        BudgetError: The budget is below 1.

    Source: LongVU section 3.4, `cambrian_arch.py`.
    """
    if x.dim() != 3:
        raise OpError(f"STC takes tokens of frames on one grid, (T, n, D), got {tuple(x.shape)}.")
    if budget is not None and budget < 1:
        raise BudgetError(
            f"STC was given a budget of {budget} visual tokens; shorten the text or raise the "
            "context length."
        )
    keep = ~similar_to_anchor(x, chunk, threshold)
    return keep if budget is None else cut_tails(keep, chunk, budget)


def fit_to_budget(
    low: Tensor,
    high: Tensor | None,
    text: Tensor,
    budget: int,
    *,
    score_resolution: str = "low",
    chunk: int = 8,
    threshold: float = 0.8,
) -> Tensor:
    """Fit a video into a token budget: detail for the frames asked about, else fewer tokens.

    With room to spare, the frames that match the question best are shown by their high-resolution
    tokens. Over the budget, STC thins out the low resolution. Between the two, nothing is done.

    Args:
        low: (T, l, D) float, tokens of every frame, newlines included.
        high: (T, h, D) float at high resolution, or None where resolutions are not mixed.
        text: (L, D) float, embedded tokens after the video's placeholder.
        budget: Visual tokens that may be shown.
        score_resolution: Score frames by their "low" or their "high" tokens.
        chunk: Frames per chunk of STC.
        threshold: Of STC.

    Returns:
        (n, D), n <= budget.

    Raises:
        BudgetError: The budget is below 1.
        OpError: A frame has to be chosen for a question without tokens.

    Source: LongVU sections 3.3 and 3.4, `cambrian_arch.py` prepare_inputs_labels_for_multimodal.
    """
    num_frames = len(low)
    if num_frames * low.shape[1] > budget:
        return low[spatial_token_compression(low, chunk=chunk, threshold=threshold, budget=budget)]
    if high is None:
        return low.flatten(0, 1)
    num_high = num_high_frames(budget, num_frames, low.shape[1], high.shape[1])
    if num_high == 0:
        return low.flatten(0, 1)
    scores = frame_scores(low if score_resolution == "low" else high, text)
    detailed = set(query_guided_frames(scores, num_high).tolist())
    return torch.cat([high[t] if t in detailed else low[t] for t in range(num_frames)])
