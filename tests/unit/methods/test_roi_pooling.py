"""RoI pooling equals the sampling that it leaves out, on boxes of every kind."""

from __future__ import annotations

import pytest
import torch

from longvid.errors import OpError
from longvid.methods.roi_pooling import axis_weights, pool_boxes
from tests.reference.methods import pool_boxes_slowly


def boxes_of_every_kind() -> torch.Tensor:
    return torch.tensor(
        [
            [0, 0, 96, 96],  # the whole picture
            [0, 0, 0, 0],  # zero
            [40, 40, 40, 70],  # no width
            [10.3, 20.7, 11.1, 21.9],  # smaller than a cell
            [80, 80, 130, 140],  # over the lower right corner
            [-50, -20, 15, 30],  # over the upper left one
            [300, 300, 400, 400],  # outside
            [70, 20, 30, 10],  # turned round
        ],
        dtype=torch.float32,
    )


@pytest.mark.parametrize("bins", [1, 3, 7])
@pytest.mark.parametrize("size", [(12, 12), (9, 14)])
def test_equals_the_slow_twin(bins: int, size: tuple[int, int]) -> None:
    features = torch.randn(5, *size, generator=torch.Generator().manual_seed(0))
    boxes = boxes_of_every_kind()
    fast = pool_boxes(features, boxes, 0.125, bins)
    slow = pool_boxes_slowly(features, boxes, 0.125, bins)
    torch.testing.assert_close(fast, slow, atol=1e-6, rtol=0)


def test_weights_inside_the_map_sum_to_one() -> None:
    weights = axis_weights(torch.tensor([0.0, 2.5]), torch.tensor([10.0, 2.6]), 12, 7)
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(2))


def test_three_hundred_boxes_and_none() -> None:
    features = torch.randn(3, 8, 8)
    assert pool_boxes(features, torch.rand(300, 4) * 8, 1.0, 7).shape == (300, 3)
    assert pool_boxes(features, torch.zeros(0, 4), 1.0, 7).shape == (0, 3)


@pytest.mark.parametrize(
    "box", [[0, 0, float("nan"), 1], [0, 0, float("inf"), 1], [0, 0, 1e9, 1e9]]
)
def test_a_box_that_means_nothing_is_refused(box: list[float]) -> None:
    with pytest.raises(OpError, match="clip boxes"):
        pool_boxes(torch.zeros(1, 4, 4), torch.tensor([box]), 1.0)


def test_shapes_are_checked() -> None:
    with pytest.raises(OpError, match=r"boxes \(n, 4\)"):
        pool_boxes(torch.zeros(1, 4, 4), torch.zeros(2, 5), 1.0)
    with pytest.raises(OpError, match="scale > 0"):
        pool_boxes(torch.zeros(1, 4, 4), torch.zeros(2, 4), 0.0)
