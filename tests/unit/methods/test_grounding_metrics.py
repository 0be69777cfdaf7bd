"""Figures of boxes, masks and spans, on cases that can be counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

from longvid.methods import grounding_metrics as metrics

LEFT, RIGHT, BOTH = (0.0, 0.0, 0.5, 1.0), (0.5, 0.0, 1.0, 1.0), (0.0, 0.0, 1.0, 1.0)


def test_boxes() -> None:
    assert metrics.box_overlap(LEFT, BOTH) == 0.5
    assert metrics.box_overlap(LEFT, RIGHT) == 0.0
    assert metrics.box_overlap((0.2, 0.2, 0.2, 0.2), (0.2, 0.2, 0.2, 0.2)) == 0.0


def test_tubes() -> None:
    found = {1: LEFT, 2: LEFT, 3: LEFT}
    true = {2: BOTH, 3: LEFT, 4: LEFT}
    assert metrics.temporal_iou(found, true) == 2 / 4
    assert metrics.video_iou(found, true) == (0.5 + 1.0) / 4
    assert metrics.video_iou({}, {}) == metrics.temporal_iou({}, {}) == 0.0


def test_spans() -> None:
    assert metrics.span_iou((0, 10), (5, 15)) == pytest.approx(1 / 3)
    assert metrics.span_iop((0, 10), (5, 15)) == 0.5
    assert metrics.span_iop((4, 4), (0, 10)) == 0.0
    assert metrics.span_iou((4, 4), (4, 4)) == 0.0


def square(size: int, start: int, side: int) -> np.ndarray:
    mask = np.zeros((1, size, size), np.uint8)
    mask[0, start : start + side, start : start + side] = 1
    return mask


def test_masks() -> None:
    small, large, empty = square(40, 10, 10), square(40, 10, 20), square(40, 0, 0)
    assert metrics.region_similarity(large, small)[0] == 0.25
    assert metrics.region_similarity(empty, empty)[0] == 1.0
    assert metrics.contour_accuracy(small, small)[0] == 1.0
    assert metrics.contour_accuracy(empty, empty)[0] == 1.0
    assert metrics.contour_accuracy(empty, small)[0] == 0.0
    assert metrics.j_and_f(small, small) == 1.0
    assert metrics.robustness(empty, small, large)[0] == 1 - 100 / 400
    assert metrics.robustness(empty, large, small)[0] == 0.0


def test_an_outline_one_pixel_off_counts_within_the_tolerance() -> None:
    first, second = square(200, 50, 60), square(200, 51, 60)
    assert metrics.contour_accuracy(first, second)[0] == 1.0
    assert metrics.contour_accuracy(first, square(200, 58, 60))[0] < 0.2
