"""Means and differences of answers that are grouped by film."""

from __future__ import annotations

import math

import pytest

from benchmarks.harness import statistics


def test_an_interval_grows_when_questions_of_a_film_agree() -> None:
    alone = statistics.mean([0, 1, 0, 1, 0, 1], [0, 1, 2, 3, 4, 5])
    grouped = statistics.mean([0, 1, 0, 1, 0, 1], [0, 1, 0, 1, 0, 1])
    assert alone.mean == grouped.mean == 0.5
    assert grouped.margin > alone.margin
    by_hand = 2.570582 * math.sqrt(6 * 0.25 * 6 / 5) / 6
    assert alone.margin == pytest.approx(by_hand)
    assert statistics.mean([1, 0], [7, 7]).num_clusters == 1
    assert math.isnan(statistics.mean([1, 0], [7, 7]).margin)


def test_a_paired_difference_ignores_what_both_arms_share() -> None:
    left, right = [1, 1, 0, 0, 1, 1], [1, 0, 0, 0, 1, 0]
    films = [0, 0, 1, 1, 2, 2]
    gain = statistics.difference(left, right, films)
    assert gain.mean == pytest.approx(1 / 3)
    assert gain.margin < statistics.mean(left, films).margin + statistics.mean(right, films).margin
