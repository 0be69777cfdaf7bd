"""Means over rows that are not independent: the questions of one video stand or fall together."""

from __future__ import annotations

import math
from array import array
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Clustered", "Estimate", "mcnemar", "paired_difference"]

Floats = npt.NDArray[np.float64]

_RESAMPLES = 1000
_SEED = 0


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean and how far it can be trusted.

    Args:
        mean: Of the rows.
        num_rows, num_clusters: What it rests on.
        standard_error: Clustered by video; nan for a single cluster.
        low, high: 95 % interval, by bootstrap over videos; nan when it was not made.
    """

    mean: float
    num_rows: int
    num_clusters: int
    standard_error: float
    low: float = math.nan
    high: float = math.nan


class Clustered:
    """Sums by cluster; memory grows with clusters, not with rows."""

    def __init__(self) -> None:
        self._index: dict[str, int] = {}
        self._sums = array("d")
        self._counts = array("d")

    def add(self, cluster: str, value: float) -> None:
        """Take in one row."""
        place = self._index.setdefault(cluster, len(self._index))
        if place == len(self._sums):
            self._sums.append(0.0)
            self._counts.append(0.0)
        self._sums[place] += value
        self._counts[place] += 1.0

    @property
    def num_rows(self) -> int:
        """How many rows came in."""
        return int(sum(self._counts))

    def estimate(self, *, bootstrap: bool = False) -> Estimate | None:
        """Return the mean with its spread, None when there is no row."""
        sums, counts = np.array(self._sums), np.array(self._counts)
        if not len(sums):
            return None
        low, high = _bootstrap(sums, counts) if bootstrap else (math.nan, math.nan)
        return Estimate(
            mean=float(sums.sum() / counts.sum()),
            num_rows=int(counts.sum()),
            num_clusters=len(sums),
            standard_error=_standard_error(sums, counts),
            low=low,
            high=high,
        )


def _standard_error(sums: Floats, counts: Floats) -> float:
    """Return sqrt(C/(C-1) sum_c (s_c - n_c m)^2) / n, the error of a ratio of cluster sums."""
    number = len(sums)
    if number < 2:
        return math.nan
    mean = sums.sum() / counts.sum()
    scatter = ((sums - counts * mean) ** 2).sum() * number / (number - 1)
    return float(math.sqrt(scatter) / counts.sum())


def _bootstrap(sums: Floats, counts: Floats) -> tuple[float, float]:
    number = len(sums)
    if number < 2:
        return math.nan, math.nan
    random = np.random.default_rng(_SEED)
    means = np.empty(_RESAMPLES)
    for sample in range(_RESAMPLES):  # one at a time: memory stays that of one
        drawn = random.integers(0, number, number)
        means[sample] = sums[drawn].sum() / counts[drawn].sum()
    low, high = np.quantile(means, (0.025, 0.975))
    return float(low), float(high)


def paired_difference(first: Clustered, second: Clustered) -> tuple[float, float]:
    """Return the mean of second - first over the same rows, and its clustered standard error."""
    names = list(first._index)
    places = [second._index[name] for name in names]
    counts = np.array(first._counts)
    sums = np.array(second._sums)[places] - np.array(first._sums)
    return float(sums.sum() / counts.sum()), _standard_error(sums, counts)


def mcnemar(only_first: int, only_second: int) -> float:
    """Return the exact two-sided probability of flips this uneven, if neither run were better.

    Args:
        only_first, only_second: Rows that only one of the two got right.
    """
    flips = only_first + only_second
    if not flips:
        return 1.0
    smaller = min(only_first, only_second)
    # log-space: 2^-flips underflows at a thousand flips
    logs = [
        math.lgamma(flips + 1) - math.lgamma(k + 1) - math.lgamma(flips - k + 1)
        for k in range(smaller + 1)
    ]
    top = max(logs)
    tail = sum(math.exp(value - top) for value in logs)
    return min(1.0, 2 * math.exp(top + math.log(tail) - flips * math.log(2)))
