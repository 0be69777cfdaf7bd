"""RoI pooling without the RoI grid: the mean over a box is two small matrix products.

RoI-Align samples a box on a product grid, bilinearly, and MG-LLaVA then takes the mean of all
samples. Every weight of that mean is a product of one weight a row and one a column, so

    mean[c] = sum_ij  rows[i] * map[c, i, j] * columns[j]

and the (n, C, P, P) grid that the original makes, 36 MB a box, is never made.
"""

from __future__ import annotations

import torch
from torch import Tensor

from longvid.errors import OpError

#: Floats of the intermediate result, which bounds the memory beside the map: 2 MB, in the cache.
_CHUNK = 500_000
#: A box may be this many times as long as the map; a longer one costs memory and means nothing.
_MOST_LENGTHS = 64


def axis_weights(starts: Tensor, ends: Tensor, size: int, bins: int) -> Tensor:
    """Return the weight of every row (or column) of a map in the mean over a box.

    Args:
        starts, ends: (n,) float32, edges in units of cells.
        size: Rows (or columns) of the map.
        bins: P, bins of the RoI grid along this axis.

    Returns:
        (n, size) float32. A row sums to 1, less what is sampled outside the map.

    Source: torchvision's roi_align with aligned=False and sampling_ratio=-1: the side is at least
    1, each bin takes ceil(side / bins) samples, a sample below -1 or above `size` counts as zero
    but stays in the divisor, and beyond the last centre the last row counts.
    """
    length = (ends - starts).clamp(min=1.0)
    step = length / bins
    per_bin = step.ceil().clamp(min=1.0)
    sample = torch.arange(int(per_bin.max()) if len(per_bin) else 0, device=starts.device)
    bin_starts = starts[:, None] + torch.arange(bins, device=starts.device) * step[:, None]
    within = (sample + 0.5) * step[:, None] / per_bin[:, None]  # (n, most samples a bin)
    place = bin_starts[:, :, None] + within[:, None, :]  # (n, bins, samples)
    counts = (sample < per_bin[:, None])[:, None] & (place >= -1.0) & (place <= size)
    share = counts / (bins * per_bin)[:, None, None]
    place = place.clamp(min=0.0, max=size - 1.0)
    low = place.floor()
    high = (low + 1).clamp(max=size - 1)
    fraction = place - low
    weights = torch.zeros(len(starts), size, device=starts.device)
    weights.scatter_add_(1, low.long().flatten(1), (share * (1 - fraction)).flatten(1))
    weights.scatter_add_(1, high.long().flatten(1), (share * fraction).flatten(1))
    return weights


def pool_boxes(features: Tensor, boxes: Tensor, scale: float, bins: int = 56) -> Tensor:
    """Return the mean of a map over each box, as RoI-Align on a bins x bins grid samples it.

    Args:
        features: (C, H, W) map of any float type.
        boxes: (n, 4) x1, y1, x2, y2 in the pixels of the picture.
        scale: Cells of the map a pixel.
        bins: Of the RoI grid; MG-LLaVA takes 56 for the joined map, 7 for its last level.

    Returns:
        (n, C) float32.

    Raises:
        OpError: A shape or a coordinate is invalid.

    Source: MG-LLaVA, `align_box`.
    """
    rows, columns = _weights(features, boxes, scale, bins)
    num_channels, height, width = features.shape
    pooled = features.new_empty((len(boxes), num_channels), dtype=torch.float32)
    if not len(boxes):
        return pooled
    down, across = rows.T.contiguous(), columns.T.contiguous()  # (H, n), (W, n)
    step = max(1, _CHUNK // (height * (width + len(boxes))))
    for first in range(0, num_channels, step):
        part = features[first : first + step].float()
        pooled[:, first : first + step] = ((part @ across) * down).sum(dim=1).T
    return pooled


def join_levels(stages: list[Tensor]) -> Tensor:
    """Join the maps of a pyramid at the size of the first: (B, sum of C, H, W).

    Args:
        stages: (B, C_i, H_i, W_i) each, the finest first.

    Source: MG-LLaVA, `OpenCLIPVisionTower.backbone`: bilinear, corners not aligned, in float32.
    """
    size = stages[0].shape[-2:]
    resized = [
        torch.nn.functional.interpolate(stage.float(), size=size, mode="bilinear").to(stage.dtype)
        for stage in stages[1:]
    ]
    return torch.cat([stages[0], *resized], dim=1)


def _weights(features: Tensor, boxes: Tensor, scale: float, bins: int) -> tuple[Tensor, Tensor]:
    if features.ndim != 3 or boxes.ndim != 2 or boxes.shape[1] != 4:
        raise OpError(
            "RoI pooling needs a map (C, H, W) and boxes (n, 4), got "
            f"{tuple(features.shape)} and {tuple(boxes.shape)}."
        )
    if bins < 1 or not scale > 0:
        raise OpError(f"RoI pooling needs bins >= 1 and scale > 0, got {bins} and {scale}.")
    height, width = features.shape[1:]
    cells = boxes.to(features.device, torch.float32) * scale
    longest = _MOST_LENGTHS * max(height, width)
    if not bool(cells.isfinite().all()) or bool((cells.abs() > longest).any()):
        raise OpError(
            f"RoI pooling was given a box that is not finite or over {_MOST_LENGTHS} times as "
            "large as the map; clip boxes to the picture first."
        )
    x1, y1, x2, y2 = cells.unbind(1)
    return axis_weights(y1, y2, height, bins), axis_weights(x1, x2, width, bins)
