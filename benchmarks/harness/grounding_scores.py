"""Figures of when and where: spans as NExT-GQA scores them, tubes as VidSTG and HC-STVG do."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from longvid.methods.grounding_metrics import span_iop, span_iou, temporal_iou, video_iou

#: Frames of a tube that are compared, a second: those of TubeDETR's evaluation and its successors.
FRAMES_PER_SECOND = 5
#: Metrics by what a task grounds.
METRICS = {
    "": (),
    "span": ("Acc@GQA", "IoP", "IoP@0.5", "IoU", "IoU@0.5"),
    "tube": ("tIoU", "vIoU", "vIoU@0.3", "vIoU@0.5", "vIoU of the best track"),
}
#: Those that are no shares of rows.
MEANS = frozenset({"IoP", "IoU", "tIoU", "vIoU", "vIoU of the best track"})

Span = tuple[float, float]
Corners = tuple[float, ...]


def span_values(
    spans: Sequence[Sequence[float]], true: Sequence[Span], right: bool
) -> dict[str, float]:
    """Score the first span of an answer against all true ones, of which the best counts.

    Args:
        spans: Of the answer, the likeliest first; none scores 0.
        true: Start and end in seconds.
        right: Whether the answer is.

    Source: NExT-GQA (Xiao et al. 2024): IoP and IoU are each the highest over the true spans; a
    span without length has the IoP 1 inside a true one. Acc@GQA: right, and IoP at least 0.5.
    """
    iop = iou = 0.0
    if spans:
        start, end = spans[0]
        iou = max((span_iou((start, end), one) for one in true), default=0.0)
        if start == end:
            iop = float(any(a <= start <= b for a, b in true))
        else:
            iop = max((span_iop((start, end), one) for one in true), default=0.0)
    return {
        "Acc@GQA": float(right and iop >= 0.5),
        "IoP": iop,
        "IoP@0.5": float(iop >= 0.5),
        "IoU": iou,
        "IoU@0.5": float(iou >= 0.5),
    }


def tube_values(
    tracks: Sequence[Mapping[str, Any]], true: Sequence[Sequence[float]]
) -> dict[str, float]:
    """Score the first track of an answer, and tell what the best of all would have scored.

    Between its pictures a track's box moves evenly; before the first and after the last there is
    none.

    Args:
        tracks: Each with `boxes`, rows of seconds, left, top, right and bottom in [0, 1].
        true: Such rows, FRAMES_PER_SECOND of them a second.

    Source: VidSTG (Zhang et al. 2020). vIoU@R is the share of vIoU above R.
    """
    truth = {_frame(row[0]): tuple(row[1:]) for row in true}
    tubes = [_tube(track["boxes"]) for track in tracks]
    first = tubes[0] if tubes else {}
    viou = video_iou(first, truth)
    return {
        "tIoU": temporal_iou(first, truth),
        "vIoU": viou,
        "vIoU@0.3": float(viou > 0.3),
        "vIoU@0.5": float(viou > 0.5),
        "vIoU of the best track": max((video_iou(one, truth) for one in tubes), default=0.0),
    }


def _frame(seconds: float) -> int:
    return round(seconds * FRAMES_PER_SECOND)


def _tube(boxes: Sequence[Sequence[float]]) -> dict[int, Corners]:
    """Return a track's box at each frame from its first picture to its last."""
    rows = np.asarray(boxes, np.float64)
    if not len(rows):
        return {}
    times = rows[:, 0] * FRAMES_PER_SECOND
    first, last = math.ceil(times[0] - 1e-6), math.floor(times[-1] + 1e-6)
    if last < first:  # between two frames: the nearest
        first = last = round(float(times[0]))
    frames = np.arange(first, last + 1)
    corners = np.stack([np.interp(frames, times, side) for side in rows[:, 1:].T], axis=1)
    return {int(at): tuple(row) for at, row in zip(frames, corners.tolist(), strict=True)}
