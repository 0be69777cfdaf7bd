"""How well boxes, masks and spans of time fit the truth, by the benchmarks' own formulas."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

Span = tuple[float, float]
Corners = Sequence[float]


def box_overlap(first: Corners, second: Corners) -> float:
    """Return the intersection over the union of two boxes; 0 where both are empty."""
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    shared = max(0.0, width) * max(0.0, height)
    union = _area(first) + _area(second) - shared
    return shared / union if union > 0 else 0.0


def temporal_iou(found: Mapping[int, Corners], true: Mapping[int, Corners]) -> float:
    """Return tIoU of two tubes: frames that both have, of frames that one has; 0 for no frames."""
    union = found.keys() | true.keys()
    return len(found.keys() & true.keys()) / len(union) if union else 0.0


def video_iou(found: Mapping[int, Corners], true: Mapping[int, Corners]) -> float:
    """Return vIoU of two tubes, boxes by frame: the boxes' IoU summed, over all frames of both.

    Source: VidSTG and HC-STVG: 1/|P u G| * sum over P n G of IoU.
    """
    union = found.keys() | true.keys()
    shared = found.keys() & true.keys()
    total = sum(box_overlap(found[frame], true[frame]) for frame in shared)
    return total / len(union) if union else 0.0


def span_iou(found: Span, true: Span) -> float:
    """Return the shared time of two spans over their joint time; 0 where both are empty."""
    shared = _shared(found, true)
    joint = (found[1] - found[0]) + (true[1] - true[0]) - shared
    return shared / joint if joint > 0 else 0.0


def span_iop(found: Span, true: Span) -> float:
    """Return the part of a found span that is true, IoP; 0 for an empty one (NExT-GQA)."""
    length = found[1] - found[0]
    return _shared(found, true) / length if length > 0 else 0.0


def region_similarity(true: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Return J of every frame: masks' IoU, 1 where both are empty.

    Args:
        true, found: (T, H, W), nonzero inside.

    Returns:
        (T,) float64.
    """
    true, found = true.astype(bool), found.astype(bool)
    shared = (true & found).sum(axis=(1, 2))
    union = (true | found).sum(axis=(1, 2))
    return np.where(union == 0, 1.0, shared / np.maximum(union, 1))


def boundary(mask: np.ndarray) -> np.ndarray:
    """Return the pixels of a mask's outline, one wide: where right, lower or diagonal differ.

    Args:
        mask: (..., H, W).

    Source: DAVIS, `seg2bmap`; the last pixel never belongs to it.
    """
    mask = mask.astype(bool)
    padding = [(0, 0)] * (mask.ndim - 2) + [(0, 1), (0, 1)]
    wide = np.pad(mask, padding, mode="edge")
    outline: np.ndarray = (mask ^ wide[..., :-1, 1:]) | (mask ^ wide[..., 1:, :-1])
    inner = mask[..., :-1, :-1] ^ mask[..., 1:, 1:]
    outline[..., :-1, :-1] |= inner
    return outline


def contour_accuracy(true: np.ndarray, found: np.ndarray, tolerance: float = 0.008) -> np.ndarray:
    """Return F of every frame: how well outlines meet, within a share of the diagonal.

    Args:
        true, found: (T, H, W), nonzero inside.
        tolerance: Share of the diagonal; 1 and more are pixels.

    Returns:
        (T,) float64; 1 where both are empty, 0 where one is.

    Source: DAVIS, `f_measure`.
    """
    height, width = true.shape[1:]
    reach = tolerance if tolerance >= 1 else math.ceil(tolerance * math.hypot(height, width))
    scores = np.empty(len(true))
    for frame in range(len(true)):
        edge, other = boundary(true[frame]), boundary(found[frame])
        if not edge.any() or not other.any():
            scores[frame] = float(edge.any() == other.any())
            continue
        precision = (other & _dilated(edge, int(reach))).sum() / other.sum()
        recall = (edge & _dilated(other, int(reach))).sum() / edge.sum()
        total = precision + recall
        scores[frame] = 2 * precision * recall / total if total > 0 else 0.0
    return scores


def j_and_f(true: np.ndarray, found: np.ndarray) -> float:
    """Return the mean over frames of J and F, halved: the figure of DAVIS."""
    scores = region_similarity(true, found) + contour_accuracy(true, found)
    return float(scores.mean() / 2) if len(scores) else 0.0


def pixel_accuracy(true: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Return the share of pixels that agree in every frame, (T,)."""
    agree: np.ndarray = (true.astype(bool) == found.astype(bool)).mean(axis=(1, 2))
    return agree


def robustness(true: np.ndarray, found: np.ndarray, foreground: np.ndarray) -> np.ndarray:
    """Return R of every frame: 1 less the falsely marked share of the foreground, not below 0.

    Args:
        true, found, foreground: (T, H, W), nonzero inside.

    Source: ReVOS (VISA), for things that are not in the video.
    """
    false = (found.astype(bool) & ~true.astype(bool)).sum(axis=(1, 2))
    whole = foreground.astype(bool).sum(axis=(1, 2))
    scores: np.ndarray = np.maximum(0.0, 1.0 - false / np.maximum(whole, 1))
    return scores


def _area(box: Corners) -> float:
    return max(0.0, box[2] - box[0]) * max(0.0, box[3] - box[1])


def _shared(first: Span, second: Span) -> float:
    return max(0.0, min(first[1], second[1]) - max(first[0], second[0]))


def _dilated(mask: np.ndarray, radius: int) -> np.ndarray:
    """Widen a mask by a disk."""
    height, width = mask.shape
    wide = np.zeros_like(mask)
    for dy in range(-radius, radius + 1):
        for dx in range(-radius, radius + 1):
            if dy * dy + dx * dx > radius * radius or abs(dy) >= height or abs(dx) >= width:
                continue
            source = mask[max(0, -dy) : height - max(0, dy), max(0, -dx) : width - max(0, dx)]
            wide[max(0, dy) : height + min(0, dy), max(0, dx) : width + min(0, dx)] |= source
    return wide
