"""Means, their uncertainty and differences, for questions that come in clusters of one film."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.harness.statistics import Clustered

__all__ = ["Estimate", "difference", "mean"]

# 97.5 % points of Student's t for 1 to 30 degrees of freedom.
_T = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160,
    2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056,
    2.052, 2.048, 2.045, 2.042,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over n questions of some films, with half the width of its 95 % interval."""

    value: float
    margin: float
    n: int
    clusters: int

    @property
    def low(self) -> float:
        """Return the lower end of the interval."""
        return self.value - self.margin

    @property
    def high(self) -> float:
        """Return the upper end of the interval."""
        return self.value + self.margin

    def __str__(self) -> str:
        return f"{self.value:.3f} ± {self.margin:.3f}"


def mean(values: Sequence[float], clusters: Sequence[int]) -> Estimate:
    """Estimate a mean whose values depend on each other within clusters.

    The interval is Student's with one degree of freedom less than there are clusters: of a few
    long films the normal interval would be too narrow.

    Args:
        values: One a question.
        clusters: The film of each.
    """
    rows = Clustered()
    for value, cluster in zip(values, clusters, strict=True):
        rows.add(str(cluster), value)
    found = rows.estimate()
    if found is None:
        return Estimate(math.nan, math.nan, 0, 0)
    count = found.num_clusters
    margin = _quantile(count - 1) * found.standard_error if count > 1 else math.nan
    return Estimate(found.mean, margin, found.num_rows, count)


def difference(left: Sequence[float], right: Sequence[float], clusters: Sequence[int]) -> Estimate:
    """Estimate the mean of left - right, question by question."""
    pairs = zip(left, right, strict=True)
    return mean([float(a) - float(b) for a, b in pairs], clusters)


def _quantile(degrees: int) -> float:
    return _T[degrees - 1] if degrees <= len(_T) else 1.96 + 2.4 / degrees
