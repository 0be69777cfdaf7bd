"""Pictures as open-vocabulary detectors want them, without their image processors.

All equal the processors of transformers that need no torchvision.
"""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch import Tensor

_CLIP_MEAN, _CLIP_STD = (
    (0.48145466, 0.4578275, 0.40821073),
    (0.26862954, 0.26130258, 0.27577711),
)
_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def owlv2_pixels(picture: np.ndarray, side: int) -> Tensor:
    """Pad a picture to a square at its right or lower edge, blur it where it shrinks, resize it.

    Blur and resizing are linear along each axis, so that one matrix does both.

    Args:
        picture: (H, W, 3) uint8.
        side: Of the model's input.

    Returns:
        (1, 3, side, side) float32, normalised.

    Source: `Owlv2ImageProcessorPil`: scipy's gaussian_filter of sigma (factor - 1) / 2 and linear
    zoom, both mirrored at the edges.
    """
    height, width = picture.shape[:2]
    longest = max(height, width)
    square = torch.zeros(3, longest, longest, dtype=torch.float64)
    square[:, :height, :width] = torch.from_numpy(picture.copy()).permute(2, 0, 1) / 255
    axis = _shrinking(longest, side)
    resized = axis @ square @ axis.T
    resized = resized.clamp(float(square.min()), float(square.max()))
    return _normalized(resized.float(), _CLIP_MEAN, _CLIP_STD)


def grounding_dino_size(
    height: int, width: int, shortest: int = 800, longest: int = 1333
) -> tuple[int, int]:
    """Return the size at which Grounding DINO sees a picture, its aspect kept.

    Source: transformers' `get_size_with_aspect_ratio`.
    """
    low, high = min(height, width), max(height, width)
    exact = float(shortest)
    if high / low * shortest > longest:
        exact = longest * low / high
    side = round(exact)
    if low == side:
        return height, width
    other = int(exact * high / low)
    return (other, side) if width < height else (side, other)


def grounding_dino_pixels(picture: np.ndarray, shortest: int = 800, longest: int = 1333) -> Tensor:
    """Resize a picture as Pillow does, bilinearly, and normalise it, (1, 3, h, w) float32.

    Args:
        picture: (H, W, 3) uint8.
        shortest, longest: Edges that the result has at most.
    """
    height, width = grounding_dino_size(picture.shape[0], picture.shape[1], shortest, longest)
    return resized_pixels(picture, height, width)


def resized_pixels(picture: np.ndarray, height: int, width: int) -> Tensor:
    """Resize a picture to a size, whatever its aspect, as OmDet-Turbo sees it, and normalise it.

    Args:
        picture: (H, W, 3) uint8.
        height, width: Of the result.

    Returns:
        (1, 3, height, width) float32.

    Source: `DetrImageProcessorPil` with the published checkpoint's `size`: Pillow's bilinear,
    ImageNet's mean and deviation.
    """
    image = Image.fromarray(picture).resize((width, height), Image.Resampling.BILINEAR)
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1) / 255
    return _normalized(pixels, _IMAGENET_MEAN, _IMAGENET_STD)


def _normalized(pixels: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    center, scale = torch.tensor(mean), torch.tensor(std)
    return ((pixels - center[:, None, None]) / scale[:, None, None])[None]


def _shrinking(size: int, wanted: int) -> Tensor:
    """Return the matrix (wanted, size) that blurs and resizes one axis."""
    factor = size / wanted
    place = (torch.arange(wanted, dtype=torch.float64) + 0.5) * factor - 0.5
    low = place.floor()
    linear = torch.zeros(wanted, size, dtype=torch.float64)
    for index, share in ((low, 1 - (place - low)), (low + 1, place - low)):
        linear.scatter_add_(1, _mirrored(index.long(), size)[:, None], share[:, None])
    sigma = (factor - 1) / 2
    if sigma <= 0:
        return linear
    radius = int(4 * sigma + 0.5)
    offsets = torch.arange(-radius, radius + 1)
    kernel = torch.exp(-0.5 * (offsets / sigma).double() ** 2)
    kernel = kernel / kernel.sum()
    blur = torch.zeros(size, size, dtype=torch.float64)
    index = _mirrored(torch.arange(size)[:, None] + offsets, size)
    blur.scatter_add_(1, index, kernel.expand(size, -1))
    return linear @ blur


def _mirrored(index: Tensor, size: int) -> Tensor:
    """Reflect indices at the centres of the outermost pixels."""
    if size == 1:
        return torch.zeros_like(index)
    period = 2 * (size - 1)
    folded = index % period
    return torch.minimum(folded, period - folded)
