"""Overlap of boxes, and which of many stay."""

from __future__ import annotations

import torch

from longvid.methods.boxes import box_iou, centre_to_corners, class_wise_nms, nms


def test_overlap_of_all_pairs() -> None:
    boxes = torch.tensor([[0, 0, 2, 2], [1, 0, 3, 2], [5, 5, 5, 5]])
    expected = torch.tensor([[1, 1 / 3, 0], [1 / 3, 1, 0], [0, 0, 0]])
    torch.testing.assert_close(box_iou(boxes, boxes), expected)


def test_nms_keeps_the_best_and_the_earlier_of_equals() -> None:
    boxes = torch.tensor([[0, 0, 10, 10], [0, 0, 10, 11], [20, 20, 30, 30], [0, 0, 10, 10]])
    assert nms(boxes, torch.tensor([0.5, 0.9, 0.1, 0.5]), 0.5).tolist() == [1, 2]
    assert nms(boxes, torch.full((4,), 0.5), 0.5).tolist() == [0, 2]
    assert nms(boxes[:0], torch.zeros(0), 0.5).tolist() == []


def test_classes_do_not_drop_each_other() -> None:
    boxes = torch.tensor([[0, 0, 10, 10]] * 3)
    scores, labels = torch.tensor([0.1, 0.3, 0.2]), torch.tensor([7, 7, 4])
    assert class_wise_nms(boxes, scores, labels, 0.5).tolist() == [1, 2]


def test_three_hundred_boxes() -> None:
    generator = torch.Generator().manual_seed(0)
    centres = torch.rand(300, 4, generator=generator)
    boxes = centre_to_corners(centres)
    kept = nms(boxes, torch.rand(300, generator=generator), 0.5)
    overlap = box_iou(boxes[kept], boxes[kept]).fill_diagonal_(0)
    assert 0 < len(kept) < 300
    assert float(overlap.max()) <= 0.5
