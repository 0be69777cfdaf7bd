"""Selectors that show frames at several levels of detail, the most relevant at the finest.

Which frames get which level is decided here, by counts alone; the pooling itself is done by the
compressors registered for it.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from longvid.errors import ConfigError, OpError, require_one_of
from longvid.lazy_import import torch
from longvid.methods import stc
from longvid.methods.token_pooling import pool_cells, require_finite
from longvid.select import algorithms
from longvid.select.candidate_frames import Candidates, candidates, embedding_scores
from longvid.types import Query, Segment, Tokens

if TYPE_CHECKING:
    from torch import Tensor

# Positions are at least 1 / 64 apart on any grid in use; this is far below and above rounding.
_POSITION_TOLERANCE = 1e-3


@dataclass(frozen=True, slots=True)
class QueryGuided:
    """Show frames that the question needs in full and the others coarsely (LongVU).

    Three tiers: the best frames keep the tokens they are stored with, others are pooled to a
    coarse grid, and frames for which even that is too much are one content token. When there are
    more frames than the budget has tokens, only the best are shown.

    With full_share = 0 and frames of h and l tokens this is LongVU: every frame is coarse, and
    floor((budget - F l) / (h - l)) of them are full.

    Args:
        score: "embedding" compares frames and question in the text-aligned space, "tokens" is
            LongVU's: the mean dot product of a frame's tokens and the question's word embeddings.
        coarse_height, coarse_width: The coarse grid.
        full_share: Share of the budget given to full frames before any frame is coarse. What is
            left when all frames are coarse goes to full frames too.
        over_budget: What is done when all frames together are too much even at the coarse grid:
            "content" shows the worst of them as one token each; "stc" is LongVU's: it drops coarse
            tokens that repeat an earlier frame and cuts what is still too much from the end of
            every window. It needs frames that share one grid, and does not read the question.
        stc_window, stc_threshold: Of that compression, as `stc` has them.

    Source: LongVU, section 3.2; `cambrian_arch.py` (scores from the pooled frames there).
    """

    score: str = "embedding"
    coarse_height: int = 8
    coarse_width: int = 8
    full_share: float = 0.0
    over_budget: str = "content"
    stc_window: int = 8
    stc_threshold: float = 0.8

    def __post_init__(self) -> None:
        require_one_of("query_guided.over_budget", self.over_budget, ("content", "stc"))
        if self.stc_window < 1 or not -1 <= self.stc_threshold <= 1:
            raise ConfigError(
                "query_guided needs stc_window >= 1 and stc_threshold in [-1, 1], got "
                f"{self.stc_window} and {self.stc_threshold}."
            )
        require_one_of("query_guided.score", self.score, ("embedding", "tokens"))
        if self.coarse_height < 1 or self.coarse_width < 1:
            raise ConfigError(
                "query_guided needs a coarse grid of at least 1x1, got "
                f"{self.coarse_height}x{self.coarse_width}."
            )
        if not 0 <= self.full_share <= 1:
            raise ConfigError(f"query_guided.full_share must be in [0, 1], got {self.full_share}.")

    def setup(self, device: str = "cpu") -> QueryGuided:
        return self

    def __call__(
        self, query: Query, segments: Sequence[Segment], budget: int
    ) -> tuple[Segment, ...]:
        """Give every frame its tier.

        Raises:
            BudgetError: The budget is below 1 token.
            OpError: A segment is given twice, embeddings do not fit each other, tokens are not
                finite, or the question has no word embeddings and `score` is "tokens".
        """
        found = candidates(segments, budget, least=1)
        if found.total <= budget:
            return found.segments_with_tokens()
        grids = ((1, 1), (self.coarse_height, self.coarse_width), None)
        coarse = found.cost.clamp_max(self.coarse_height * self.coarse_width)
        if self.over_budget == "stc" and int(coarse.sum()) > budget:
            pooled = show_tiers(found, torch.full_like(coarse, 2), grids)
            return _compressed_to_budget(pooled, self.stc_window, self.stc_threshold, budget)
        if self.score == "tokens":
            scores = token_scores(query, found)
        else:
            scores = embedding_scores(query, found)
        order = algorithms.by_score(scores)[:budget]
        tier = torch.zeros_like(found.cost)
        tier[order] = 1
        left = budget - len(order)
        left = _promote(tier, order, (1, 3), found.cost - 1, left, int(budget * self.full_share))
        left = _promote(tier, order, (1, 2), coarse - 1, left, left)
        _promote(tier, order, (2, 3), found.cost - coarse, left, left)
        return show_tiers(found, tier, grids)


@dataclass(frozen=True, slots=True)
class QFrame:
    """Show a few sampled frames in full, twice as many at half and more at a quarter of the side.

    Frames are drawn without replacement, relevant ones more likely (softmax of the scores and
    Gumbel noise). The shares of the budget are the published ones: 4 full frames, 8 at half side
    and 32 at quarter side cost as much as 8 full frames.

    Args:
        temperature: Of the softmax; 0 takes the best frames.
        logit_scale: Factor of the scores. The original's products of embeddings that are not
            normalised are about as large as CLIP's, which are cosines times 100.
        seed: Of the noise.
        full_share, half_share: Shares of the budget; the rest is for the quarter.

    Source: Q-Frame, section 3.
    """

    temperature: float = 0.8
    logit_scale: float = 100.0
    seed: int = 0
    full_share: float = 0.5
    half_share: float = 0.25

    def __post_init__(self) -> None:
        if self.temperature < 0 or self.logit_scale < 0:
            raise ConfigError(
                "q_frame.temperature and logit_scale must be at least 0, got "
                f"{self.temperature} and {self.logit_scale}."
            )
        shares = (self.full_share, self.half_share)
        if min(shares) < 0 or sum(shares) > 1:
            raise ConfigError(
                "q_frame.full_share and half_share must be at least 0 and together at most 1, "
                f"got {self.full_share} and {self.half_share}."
            )

    def setup(self, device: str = "cpu") -> QFrame:
        return self

    def __call__(
        self, query: Query, segments: Sequence[Segment], budget: int
    ) -> tuple[Segment, ...]:
        """Draw frames and give each its resolution.

        Raises:
            BudgetError: The budget is below 1 token.
            OpError: A segment is given twice, embeddings do not fit each other, or tokens are not
                finite.
        """
        found = candidates(segments, budget, least=1)
        if found.total <= budget:
            return found.segments_with_tokens()
        logits = self.logit_scale * embedding_scores(query, found)
        order = algorithms.gumbel_order(logits, self.temperature, self.seed)
        side = _side(found)
        half, quarter = math.ceil(side / 2), math.ceil(side / 4)
        tier = torch.zeros_like(found.cost)
        left = _promote(tier, order, (0, 3), found.cost, budget, int(budget * self.full_share))
        fine, coarse = found.cost.clamp_max(half * half), found.cost.clamp_max(quarter * quarter)
        left = _promote(tier, order, (0, 2), fine, left, int(budget * self.half_share))
        left = _promote(tier, order, (0, 1), coarse, left, left)
        left = _promote(tier, order, (1, 2), fine - coarse, left, left)
        _promote(tier, order, (2, 3), found.cost - fine, left, left)
        if not bool(tier.any()):  # not even a quarter of the side fits: one token of the best
            tier[order[0]] = 1
            quarter = 1
        return show_tiers(found, tier, ((quarter, quarter), (half, half), None))


def token_scores(query: Query, found: Candidates) -> Tensor:
    """Score candidates by the mean dot product of their tokens and the question's words, (F,).

    Raises:
        OpError: The question has no word embeddings, their width is not the tokens', or one of
            them is not finite.
    """
    text = query.text_tokens
    scores = torch.zeros(len(found))
    for index, segment in enumerate(found.segments):
        tokens = segment.tokens
        if len(text) == 0 or text.shape[1] != tokens.data.shape[1]:
            raise OpError(
                f"The question's word embeddings are {tuple(text.shape)}, the tokens "
                f"{tuple(tokens.data.shape)}; score by tokens needs words in the token space, so "
                "give them, or set query_guided.score = 'embedding'."
            )
        counts = tokens.counts(segment.num_frames)
        starts = counts.cumsum(0) - counts
        of_frame = torch.zeros(segment.num_frames)
        for count in torch.unique(counts).tolist():
            frames = (counts == count).nonzero().flatten()
            if count:
                rows = starts[frames].unsqueeze(1) + torch.arange(count)
                of_frame[frames] = stc.frame_scores(tokens.data[rows], text)
        if not bool(of_frame.isfinite().all()):
            raise OpError(
                f"Tokens {tuple(tokens.data.shape)} of segment {segment.segment_index} of video "
                f"{segment.video_id[:12]}, or the question's words, hold NaN or infinity; index "
                "the video again."
            )
        mine = found.segment == index
        scores[mine] = of_frame[found.frame[mine]]
    return scores


def _side(found: Candidates) -> int:
    """Return the side of the square grid that the largest frame was encoded with."""
    patches = 1.0
    for segment in found.segments:
        sizes = torch.zeros(segment.num_frames)
        sizes.index_add_(0, segment.tokens.frame.long(), segment.tokens.size)
        patches = max([patches, *sizes.tolist()])
    return math.ceil(math.sqrt(patches) - 1e-3)


def _compressed_to_budget(
    segments: Sequence[Segment], window: int, threshold: float, budget: int
) -> tuple[Segment, ...]:
    """Thin segments out by STC, windows running through each video, and cut to the budget.

    Raises:
        OpError: The frames share no patch grid.
    """
    videos = [list(group) for _, group in itertools.groupby(segments, lambda s: s.video_id)]
    masks = []
    for video in videos:
        position = torch.cat([segment.tokens.position for segment in video])
        num_frames = sum(segment.num_frames for segment in video)
        count = len(position) // num_frames
        counts = torch.cat([segment.tokens.counts(segment.num_frames) for segment in video])
        alike = bool((counts == count).all())
        if alike:
            grids = position.view(num_frames, count, 2)
            alike = bool(((grids - grids[0]).abs() < _POSITION_TOLERANCE).all())
        if not alike:
            raise OpError(
                f"STC: the {num_frames} frames of video {video[0].video_id[:12]} share no patch "
                f"grid, they hold {int(counts.min())} to {int(counts.max())} tokens; set "
                "query_guided.over_budget = 'content'."
            )
        data = torch.cat([segment.tokens.data for segment in video]).view(num_frames, count, -1)
        masks.append(stc.spatial_token_compression(data, chunk=window, threshold=threshold))
    # Several videos share the budget by the tokens that they have left.
    ends = torch.tensor([int(mask.sum()) for mask in masks]).cumsum(0)
    bounds = [0, *(int(end) * min(budget, int(ends[-1])) // int(ends[-1]) for end in ends)]
    kept = []
    for video, mask, (start, end) in zip(videos, masks, itertools.pairwise(bounds), strict=True):
        left = stc.cut_tails(mask, window, end - start).flatten()
        if not bool(left.any()):  # the cut can empty every window; the first tokens stay then
            left = mask.flatten() & (mask.flatten().cumsum(0) <= end - start)
        sizes = [len(segment.tokens) for segment in video]
        for segment, keep in zip(video, torch.split(left, sizes), strict=True):
            kept.append(segment.with_tokens(segment.tokens.keep(keep)))
    return candidates(kept, budget).segments_with_tokens()


def show_tiers(
    found: Candidates, tier: Tensor, grids: Sequence[tuple[int, int] | None]
) -> tuple[Segment, ...]:
    """Pool every candidate to the grid of its tier and leave out those of tier 0.

    Args:
        found: The candidates.
        tier: (F,) int64.
        grids: (rows, columns) for tiers 1, 2, ...; None keeps the stored tokens.
    """
    pooled = []
    for index, segment in enumerate(found.segments):
        mine = found.segment == index
        levels = torch.zeros(segment.num_frames, dtype=torch.int64)
        levels[found.frame[mine]] = tier[mine]
        used = torch.unique(levels).tolist()
        of_token = levels[segment.tokens.frame.long()]
        pieces = []
        for number, grid in enumerate(grids, start=1):
            if number in used:
                tokens = (
                    segment.tokens if len(used) == 1 else segment.tokens.keep(of_token == number)
                )
                if grid is not None:
                    require_finite("pooling", segment.with_tokens(tokens))
                    tokens = pool_cells(tokens, *grid)
                pieces.append(tokens)
        pooled.append(segment.with_tokens(Tokens.join(pieces)) if pieces else segment)
    return dataclasses.replace(found, segments=tuple(pooled)).take(tier.nonzero().flatten())


def _promote(
    tier: Tensor, order: Tensor, step: tuple[int, int], cost: Tensor, left: int, most: int
) -> int:
    """Move candidates from one tier to another, best first, while the budget holds them.

    Args:
        tier: (F,) int64, changed in place.
        order: (K,) int64 candidates, best first.
        step: The tier they are in and the one they go to.
        cost: (F,) int64, what a move costs each.
        left: Tokens left of the budget.
        most: Tokens that this move may use, if so many are left.

    Returns:
        Tokens left of the budget.
    """
    waiting = order[tier[order] == step[0]]
    moved = waiting[algorithms.fill(cost[waiting], min(left, most))]
    tier[moved] = step[1]
    return left - int(cost[moved].sum())
