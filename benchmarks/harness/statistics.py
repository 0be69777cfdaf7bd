"""Means over rows that are not independent: the questions of one video stand or fall together."""

from __future__ import annotations

import math
from array import array
from collections.abc import Hashable, Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

Floats = npt.NDArray[np.float64]

_LEVEL = 0.975


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean and its uncertainty.

    Args:
        mean: Of the rows.
        num_rows, num_clusters: What it rests on.
        standard_error: Clustered by video; nan for a single cluster.
        low, high: 95 % interval. Of shares it is Wilson's, with the number of independent rows that
            the clustered error amounts to; of other values Student's.
    """

    mean: float
    num_rows: int
    num_clusters: int
    standard_error: float
    low: float = math.nan
    high: float = math.nan

    @property
    def margin(self) -> float:
        """Half the width of Student's 95 % interval, nan for a single cluster."""
        return _quantile(self.num_clusters) * self.standard_error

    def __str__(self) -> str:
        return f"{self.mean:.3f} ± {self.margin:.3f}"


class Clustered:
    """Sums by cluster; memory grows with clusters, not with rows.

    Args:
        shares: Whether values are 0 or 1.
    """

    def __init__(self, *, shares: bool = True) -> None:
        self._shares = shares
        self._index: dict[Hashable, int] = {}
        self._sums = array("d")
        self._counts = array("d")

    def add(self, cluster: Hashable, value: float) -> None:
        place = self._index.setdefault(cluster, len(self._index))
        if place == len(self._sums):
            self._sums.append(0.0)
            self._counts.append(0.0)
        self._sums[place] += value
        self._counts[place] += 1.0

    def estimate(self) -> Estimate | None:
        """Return the mean with its spread, None when there is no row."""
        sums, counts = np.array(self._sums), np.array(self._counts)
        if not len(sums):
            return None
        mean_, error = float(sums.sum() / counts.sum()), _standard_error(sums, counts)
        if self._shares:
            low, high = _wilson(mean_, error, int(counts.sum()), len(sums))
        else:
            margin = _quantile(len(sums)) * error
            low, high = mean_ - margin, mean_ + margin
        return Estimate(mean_, int(counts.sum()), len(sums), error, low, high)

    def minus(self, other: Clustered) -> tuple[Floats, Floats]:
        """Return the difference of the sums, and the numbers of rows, by cluster."""
        places = [other._index[name] for name in self._index]
        return np.array(self._sums) - np.array(other._sums)[places], np.array(self._counts)


def _standard_error(sums: Floats, counts: Floats) -> float:
    """Return sqrt(C/(C-1) sum_c (s_c - n_c m)^2) / n, the error of a ratio of cluster sums."""
    number = len(sums)
    if number < 2:
        return math.nan
    scatter = ((sums - counts * (sums.sum() / counts.sum())) ** 2).sum() * number / (number - 1)
    return float(math.sqrt(scatter) / counts.sum())


def _quantile(num_clusters: int) -> float:
    return float(stats.t.ppf(_LEVEL, num_clusters - 1)) if num_clusters > 1 else math.nan


def _wilson(share: float, error: float, num_rows: int, num_clusters: int) -> tuple[float, float]:
    """Return Wilson's interval for rows in clusters; it is never empty and stays within 0 and 1.

    Source: Korn and Graubard 1998: the number of rows is replaced by that of independent rows
    with the same variance, and the normal quantile by Student's.
    """
    if num_clusters < 2:
        return math.nan, math.nan
    # Where all rows agree, clusters may have been copies of each other: each counts once.
    independent = share * (1 - share) / error**2 if error > 0 else num_clusters
    count = min(max(independent, 1.0), num_rows)
    square = _quantile(num_clusters) ** 2
    middle = (share + square / (2 * count)) / (1 + square / count)
    half = math.sqrt(square * (share * (1 - share) + square / (4 * count)) / count)
    half /= 1 + square / count
    return max(0.0, middle - half), min(1.0, middle + half)


@dataclass(frozen=True, slots=True)
class PairedTest:
    """The difference of two runs over the same rows.

    Args:
        difference: Mean of second less first.
        standard_error: Clustered by video.
        p_value: Of a two-sided test that treats each video as one observation.
    """

    difference: float
    standard_error: float
    p_value: float


def paired_test(first: Clustered, second: Clustered) -> PairedTest:
    """Compare two runs by a t test on clustered differences.

    A test on rows (McNemar's) takes the questions of one video for independent and raises a false
    alarm in most comparisons; this one does in 5 of 100.
    """
    sums, counts = second.minus(first)
    value, error = float(sums.sum() / counts.sum()), _standard_error(sums, counts)
    if not sums.any():
        return PairedTest(0.0, error, 1.0)
    if not error > 0:  # every video differs alike, or there is one: only the signs can tell
        return PairedTest(value, error, float(0.5 ** (len(sums) - 1)))
    return PairedTest(value, error, float(2 * stats.t.sf(abs(value) / error, len(sums) - 1)))


def mean(values: Iterable[float], clusters: Iterable[Hashable]) -> Estimate:
    """Estimate the mean of values that depend on each other within clusters."""
    rows = Clustered(shares=False)
    for value, cluster in zip(values, clusters, strict=True):
        rows.add(cluster, value)
    return rows.estimate() or Estimate(math.nan, 0, 0, math.nan)


def difference(
    left: Iterable[float], right: Iterable[float], clusters: Iterable[Hashable]
) -> Estimate:
    """Estimate the mean of left - right, row by row."""
    pairs = zip(left, right, strict=True)
    return mean((float(a) - float(b) for a, b in pairs), clusters)
