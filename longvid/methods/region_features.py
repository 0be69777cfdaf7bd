"""Features of a region of any shape: the mean under a mask, or of points sampled in it."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from longvid.errors import OpError


def mask_means(features: Tensor, masks: Tensor) -> Tensor:
    """Return the mean of a map under each mask; zeros under an empty one.

    Args:
        features: (B, C, h, w).
        masks: (B, M, H, W); they are resized bilinearly to the map, and a cell belongs to the
            region where the result is above 0.

    Returns:
        (B, M, C) of the map's type.

    Raises:
        OpError: The shapes do not belong together.

    Source: Vitron, `MaskPooling`; the sum of an empty mask is divided by 1e-8.
    """
    if features.ndim != 4 or masks.ndim != 4 or features.shape[0] != masks.shape[0]:
        raise OpError(
            "Mask pooling needs maps (B, C, h, w) and masks (B, M, H, W), got "
            f"{tuple(features.shape)} and {tuple(masks.shape)}."
        )
    if masks.shape[-2:] != features.shape[-2:]:
        masks = F.interpolate(masks.float(), size=features.shape[-2:], mode="bilinear")
    inside = (masks > 0).to(features.dtype)
    area = inside.sum(dim=(-1, -2)) + 1e-8  # (B, M)
    return (features.flatten(2) @ inside.flatten(2).mT).mT / area[..., None]


def sample_points(features: Tensor, points: Tensor) -> Tensor:
    """Return a map's values at points, bilinear between cells, zero outside.

    Args:
        features: (C, h, w).
        points: (n, 2) y, x in [0, 1], where 0 and 1 are the centres of the outermost cells.

    Returns:
        (n, C).

    Source: Ferret, `point_sample` with align_corners=True.
    """
    grid = 2.0 * points.flip(1).to(features.dtype) - 1.0  # x before y
    sampled = F.grid_sample(features[None], grid[None, :, None], align_corners=True)
    return sampled[0, :, :, 0].T


def point_means(features: Tensor, mask: Tensor) -> Tensor:
    """Return the mean of a map at the pixels of a mask, (C,); zeros for an empty one.

    Args:
        features: (C, h, w).
        mask: (H, W), above 0 inside; pixel (i, j) is the point (i / H, j / W).
    """
    height, width = mask.shape
    inside = (mask > 0).nonzero().to(features.dtype)
    if not len(inside):
        return features.new_zeros(features.shape[0])
    points = inside / features.new_tensor([height, width])
    return sample_points(features, points).mean(dim=0)
