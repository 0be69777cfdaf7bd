"""Boxes of a detector, as the square picture shows them that MG-LLaVA's towers see.

pad     the picture becomes square, boxes move with it
thin    of boxes of one class that overlap, the best stays
limit   only where many remain: the best of each class
resize  the shorter edge becomes 768, boxes are rounded to pixels
crop    the centre, boxes are cut to it; one zero box stands where none is left
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from longvid.methods.boxes import class_wise_nms

_SIDE = 768
_OVERLAP = 0.2


@dataclass(frozen=True, slots=True, eq=False)
class FrameBoxes:
    """Boxes of one frame.

    Args:
        corners: (n, 4) left, top, right, bottom in pixels.
        scores: (n,) float32.
        labels: (n,) int64 class ids; after `crop_boxes` empty where `corners` is one zero box.
    """

    corners: Tensor
    scores: Tensor
    labels: Tensor

    def keep(self, index: Tensor) -> FrameBoxes:
        """Return some of them, in the order of `index`."""
        return FrameBoxes(self.corners[index], self.scores[index], self.labels[index])


def pad_boxes(boxes: FrameBoxes, width: int, height: int) -> FrameBoxes:
    """Move boxes into the square picture that a width x height one is centred in."""
    border = (max(width, height) - min(width, height)) // 2
    shift = [border, 0] if width < height else [0, border]
    moved = boxes.corners + boxes.corners.new_tensor([*shift, *shift])
    return FrameBoxes(moved, boxes.scores, boxes.labels)


def thin_boxes(boxes: FrameBoxes, overlap: float = _OVERLAP) -> FrameBoxes:
    """Keep the best of boxes of one class that overlap; best first, corners in float32."""
    corners = boxes.corners.float()
    kept = class_wise_nms(corners, boxes.scores, boxes.labels, overlap)
    return FrameBoxes(corners, boxes.scores, boxes.labels).keep(kept)


def limit_boxes(boxes: FrameBoxes, most: int = 100, each: int = 20) -> FrameBoxes:
    """Where more than `most` boxes remain, keep the best `each` of every class.

    Classes come in the order in which they appear. `most` is when the rule applies, not how many
    it leaves.
    """
    if len(boxes.labels) <= most:
        return boxes
    chosen: list[Tensor] = []
    for label in dict.fromkeys(boxes.labels.tolist()):
        members = (boxes.labels == label).nonzero()[:, 0]
        order = torch.argsort(boxes.scores[members], descending=True, stable=True)
        chosen.append(members[order[:each]])
    return boxes.keep(torch.cat(chosen))


def resize_boxes(
    boxes: FrameBoxes, width: int, height: int, side: int = _SIDE
) -> tuple[FrameBoxes, tuple[int, int]]:
    """Scale boxes as the picture whose shorter edge becomes `side`, rounded half to even.

    Returns:
        Boxes with int32 corners, and the new (height, width), rounded down.
    """
    scale = side / min(width, height)
    scaled = (boxes.corners.double() * scale).round().int()
    size = int(height * scale), int(width * scale)
    return FrameBoxes(scaled, boxes.scores, boxes.labels), size


def crop_boxes(boxes: FrameBoxes, height: int, width: int, side: int = _SIDE) -> FrameBoxes:
    """Cut boxes to the centre of a picture; one outside of it is dropped.

    Returns:
        Boxes with float32 corners; one zero box and no label where none is left, as the original.
    """
    left, top = (width - side) // 2, (height - side) // 2
    moved = boxes.corners - boxes.corners.new_tensor([left, top, left, top])
    x1, y1, x2, y2 = moved.unbind(1)
    inside = (x2 >= 0) & (y2 >= 0) & (x1 <= side) & (y1 <= side)
    if not bool(inside.any()):
        return FrameBoxes(torch.zeros(1, 4), torch.zeros(0), boxes.labels[:0])
    return FrameBoxes(
        moved[inside].clamp(0, side).float(), boxes.scores[inside], boxes.labels[inside]
    )


def prepare_boxes(
    boxes: FrameBoxes,
    width: int,
    height: int,
    *,
    pad: bool = False,
    most: int = 100,
    each: int = 20,
    side: int = _SIDE,
) -> FrameBoxes:
    """Do all of it.

    Args:
        boxes: As detected, in pixels of the picture.
        width, height: Of the picture.
        pad: Whether the picture is made square first, else its centre is cut.
        most, each: As `limit_boxes`.
        side: Of the square.
    """
    if pad:
        boxes = pad_boxes(boxes, width, height)
        width = height = max(width, height)
    resized, (height, width) = resize_boxes(
        limit_boxes(thin_boxes(boxes), most, each), width, height, side
    )
    return crop_boxes(resized, height, width, side)
