"""Selectors that show frames as they are stored: as many as the budget holds, whole.

Each is one published rule of `algorithms.py` with its numbers. When everything fits, everything is
shown.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from longvid.errors import ConfigError, require_at_least
from longvid.lazy_import import torch
from longvid.select import algorithms
from longvid.select.candidate_frames import Candidates, candidates, embedding_scores
from longvid.types import Query, Segment

if TYPE_CHECKING:
    from torch import Tensor


class _FrameSelector(ABC):
    """Whole frames by a rule: everything when it fits, else what the rule chooses."""

    __slots__ = ()

    def setup(self, device: str = "cpu") -> Self:
        return self

    def __call__(
        self, query: Query, segments: Sequence[Segment], budget: int
    ) -> tuple[Segment, ...]:
        """Take as many frames as fit.

        Raises:
            BudgetError: The budget cannot hold even the smallest frame.
            OpError: A segment is given twice, or embeddings do not fit each other.
        """
        found = candidates(segments, budget)
        scores = self._scores(query, found)
        if found.total <= budget:
            return found.segments_with_tokens()
        return found.take(self._choose(found, scores, budget))

    def _scores(self, query: Query, found: Candidates) -> Tensor:
        return embedding_scores(query, found)

    @abstractmethod
    def _choose(self, found: Candidates, scores: Tensor, budget: int) -> Tensor:
        """Return candidates that fit the budget together, (K,) int64 in any order."""


@dataclass(frozen=True, slots=True)
class Uniform(_FrameSelector):
    """Show frames spaced evenly over the candidates, whatever is asked."""

    def _scores(self, query: Query, found: Candidates) -> Tensor:
        return torch.zeros(len(found))

    def _choose(self, found: Candidates, scores: Tensor, budget: int) -> Tensor:
        num_frames = len(found)
        chosen = algorithms.fit_count(
            lambda count: algorithms.uniform(num_frames, count), found.cost, budget
        )
        if not len(chosen):  # the middle frame alone is too big: the nearest one that fits
            distance = (torch.arange(num_frames) - num_frames // 2).abs()
            chosen = algorithms.by_score(torch.where(found.cost <= budget, -distance, -num_frames))[
                :1
            ]
        return chosen


@dataclass(frozen=True, slots=True)
class TopK(_FrameSelector):
    """Show the frames most similar to the question."""

    def _choose(self, found: Candidates, scores: Tensor, budget: int) -> Tensor:
        order = algorithms.by_score(scores)
        return order[algorithms.fill(found.cost[order], budget)]


@dataclass(frozen=True, slots=True)
class InverseTransform(_FrameSelector):
    """Show frames sampled at equal steps of the cumulative score (BOLT).

    Args:
        power: Sharpens the scores; larger is closer to `TopK`, 0 is `Uniform`.

    Source: BOLT, section 3.2; the released runs use power 3.
    """

    power: float = 3.0

    def __post_init__(self) -> None:
        require_at_least("bolt.power", self.power, 0)

    def _choose(self, found: Candidates, scores: Tensor, budget: int) -> Tensor:
        chosen = algorithms.fit_count(
            lambda count: algorithms.inverse_transform(scores, count, self.power),
            found.cost,
            budget,
        )
        return _topped_up(found, chosen, scores, budget)


@dataclass(frozen=True, slots=True)
class AdaptiveKeyframes(_FrameSelector):
    """Show frames that are both relevant and spread over the video (AKS).

    Args:
        gap: A piece is not split when its best scores exceed its mean by this much; scores are
            scaled to [0, 1].
        deviation: ... and its standard deviation exceeds this; below 0 it always does.
        max_depth: A video is split into at most 2^max_depth pieces.

    Source: AKS, section 3.3; numbers of the official code.
    """

    gap: float = 0.8
    deviation: float = -100.0
    max_depth: int = 5

    def __post_init__(self) -> None:
        if not 0 <= self.max_depth <= 20:
            raise ConfigError(f"aks.max_depth must be in [0, 20], got {self.max_depth}.")

    def _choose(self, found: Candidates, scores: Tensor, budget: int) -> Tensor:
        chosen = algorithms.fit_count(
            lambda count: algorithms.adaptive_keyframes(
                scores, count, self.gap, self.deviation, self.max_depth
            ),
            found.cost,
            budget,
        )
        return _topped_up(found, chosen, scores, budget)


@dataclass(frozen=True, slots=True)
class MarginalRelevance(_FrameSelector):
    """Show frames that fit the question and do not resemble the frames already shown (MMR).

    Args:
        balance: 1 counts only similarity to the question, 0 only dissimilarity.
    """

    balance: float = 0.7

    def __post_init__(self) -> None:
        if not 0 <= self.balance <= 1:
            raise ConfigError(f"mmr.balance must be in [0, 1], got {self.balance}.")

    def _choose(self, found: Candidates, scores: Tensor, budget: int) -> Tensor:
        return algorithms.marginal_relevance(
            found.embeddings, scores, found.cost, budget, self.balance
        )


@dataclass(frozen=True, slots=True)
class Determinantal(_FrameSelector):
    """Show frames that fit the question and span the most volume together (DPP).

    Args:
        sharpness: Relevance of a frame is exp(sharpness * score); 0 looks only for diversity.
    """

    sharpness: float = 10.0

    def __post_init__(self) -> None:
        if not 0 <= self.sharpness <= 40:
            raise ConfigError(f"dpp.sharpness must be in [0, 40], got {self.sharpness}.")

    def _choose(self, found: Candidates, scores: Tensor, budget: int) -> Tensor:
        relevance = (self.sharpness * (scores - scores.max())).exp()
        return algorithms.determinantal(found.embeddings, relevance, found.cost, budget)


def _topped_up(found: Candidates, chosen: Tensor, scores: Tensor, budget: int) -> Tensor:
    """Spend what is left of the budget on the best frames that still fit."""
    left = torch.ones(len(found), dtype=torch.bool)
    left[chosen] = False
    order = algorithms.by_score(scores)
    order = order[left[order]]
    more = order[algorithms.fill(found.cost[order], budget - int(found.cost[chosen].sum()))]
    return torch.cat([chosen, more])
