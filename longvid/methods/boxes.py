"""Boxes as arrays: their overlap, and which of many that overlap stay.

Boxes are (n, 4), left, top, right, bottom, in any unit.
"""

from __future__ import annotations

import torch
from torch import Tensor


def box_iou(first: Tensor, second: Tensor) -> Tensor:
    """Return the intersection over the union of all pairs, (n, m); 0 where both are empty."""
    first, second = first.float(), second.float()
    top_left = torch.maximum(first[:, None, :2], second[:, :2])
    bottom_right = torch.minimum(first[:, None, 2:], second[:, 2:])
    shared = (bottom_right - top_left).clamp(min=0).prod(dim=2)
    union = _area(first)[:, None] + _area(second) - shared
    return torch.where(union > 0, shared / union.clamp(min=1e-12), torch.zeros_like(union))


def nms(boxes: Tensor, scores: Tensor, threshold: float) -> Tensor:
    """Return the boxes that no better one overlaps, as indices, best first.

    Args:
        boxes: (n, 4).
        scores: (n,); of two equal ones the earlier is better.
        threshold: A box is dropped where its overlap with a kept one is above this.
    """
    order = torch.argsort(scores, descending=True, stable=True)
    overlap = box_iou(boxes[order], boxes[order]) > threshold
    kept: list[int] = []
    dropped = torch.zeros(len(order), dtype=torch.bool, device=boxes.device)
    for place in range(len(order)):
        if not dropped[place]:
            kept.append(place)
            dropped |= overlap[place]
    return order[kept]


def class_wise_nms(boxes: Tensor, scores: Tensor, labels: Tensor, threshold: float) -> Tensor:
    """Return indices as `nms`, where boxes of two labels never drop each other."""
    kept = torch.zeros(len(boxes), dtype=torch.bool, device=boxes.device)
    for label in sorted(set(labels.tolist())):
        members = (labels == label).nonzero()[:, 0]
        kept[members[nms(boxes[members], scores[members], threshold)]] = True
    order = torch.argsort(scores, descending=True, stable=True)
    return order[kept[order]]


def centre_to_corners(boxes: Tensor) -> Tensor:
    """Turn (centre x, centre y, width, height) into corners, (..., 4)."""
    x, y, width, height = boxes.unbind(-1)
    return torch.stack([x - width / 2, y - height / 2, x + width / 2, y + height / 2], dim=-1)


def _area(boxes: Tensor) -> Tensor:
    return (boxes[:, 2:] - boxes[:, :2]).clamp(min=0).prod(dim=1)
