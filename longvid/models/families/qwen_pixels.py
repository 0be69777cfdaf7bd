"""Pictures of any size, as the vision towers of Qwen-VL want them: whole patches, bounded pixels.

Source: qwen-vl-utils and the video processors of transformers (smart_resize, patchify).
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from einops import rearrange

from longvid.errors import ModelError
from longvid.lazy_import import torch
from longvid.models.preprocessing import PixelFormat, processor_table

# Of a frame, in tokens: the bounds of qwen-vl-utils.
_FEWEST_TOKENS = 128
_MOST_TOKENS = 768


@dataclass(frozen=True, slots=True)
class AnySize(PixelFormat):
    """The format of a tower that takes pictures of any size and aspect.

    Args:
        step: Height and width are multiples of it: a patch times the merging of patches.
        fewest_pixels, most_pixels: Bounds of height times width.
    """

    step: int = 28
    fewest_pixels: int = 0
    most_pixels: int = 0

    def resize(self, frames: torch.Tensor) -> torch.Tensor:
        """Bring frames to the nearest size that the tower takes, keeping the aspect.

        Args:
            frames: (T, 3, H, W) uint8 on the CPU.

        Returns:
            (T, 3, H', W') uint8; H' and W' are multiples of `step`.
        """
        height, width = frames.shape[-2:]
        wanted = fit_to_patches(height, width, self.step, self.fewest_pixels, self.most_pixels)
        fitted = dataclasses.replace(self, height=wanted[0], width=wanted[1])
        return PixelFormat.resize(fitted, frames)


def fit_to_patches(
    height: int, width: int, step: int, fewest_pixels: int, most_pixels: int
) -> tuple[int, int]:
    """Return the size nearest to a picture's whose sides are whole steps, within the bounds.

    >>> fit_to_patches(720, 1280, 28, 100_352, 602_112)
    (560, 1008)

    Args:
        height, width: Of the picture.
        step: Pixels.
        fewest_pixels, most_pixels: Of the result; a side is never shorter than one step.
    """
    rows, columns = round(height / step), round(width / step)
    if rows * columns * step * step > most_pixels:
        scale = math.sqrt(height * width / most_pixels)
        rows, columns = (math.floor(side / scale / step) for side in (height, width))
    elif rows * columns * step * step < fewest_pixels:
        scale = math.sqrt(fewest_pixels / (height * width))
        rows, columns = (math.ceil(side * scale / step) for side in (height, width))
    return max(1, rows) * step, max(1, columns) * step


def qwen_pixels(folder: Path, config: Any, most_pixels: int) -> AnySize:
    """Read the format of a Qwen-VL tower from its checkpoint.

    Args:
        folder: The checkpoint.
        config: Its configuration.
        most_pixels: Of a frame; 0 takes the checkpoint's own number, at most 768 tokens.

    Raises:
        ModelError: `most_pixels` is less than one token.
    """
    vision = config.vision_config
    step = int(vision.patch_size) * int(vision.spatial_merge_size)
    return any_size(folder, step, most_pixels)


def any_size(folder: Path, step: int, most_pixels: int) -> AnySize:
    """Read the format of a tower that takes any size in whole steps.

    The bounds are those of one frame: a budget over a whole video, which some processors share
    out among its frames, is here the business of compressors and of `ask.budget`.

    Args:
        folder: The checkpoint.
        step: Pixels of a side of one token.
        most_pixels: Of a frame; 0 takes the checkpoint's own number, at most 768 tokens.

    Raises:
        ModelError: `most_pixels` is less than one token.
    """
    fewest, most = _bounds(folder, step)
    if most_pixels:
        if most_pixels < step * step:
            raise ModelError(
                f"encoder.most_pixels is {most_pixels}, less than the {step * step} of one token "
                f"of {folder}; use a multiple of it."
            )
        most = most_pixels
    side = max(1, math.isqrt(most) // step) * step
    plain = PixelFormat.read(folder, side)
    return AnySize(
        **{field.name: getattr(plain, field.name) for field in dataclasses.fields(plain)}
        | {"fit": "native"},
        step=step,
        fewest_pixels=min(fewest, most),
        most_pixels=most,
    )


def _bounds(folder: Path, step: int) -> tuple[int, int]:
    """Return the fewest and most pixels of a frame that a checkpoint states."""
    table = processor_table(folder)
    size = table.get("size")
    size = size if isinstance(size, dict) else {}
    fewest = size.get("shortest_edge") or table.get("min_pixels") or _FEWEST_TOKENS * step * step
    most = size.get("longest_edge") or table.get("max_pixels") or _MOST_TOKENS * step * step
    return int(fewest), min(int(most), _MOST_TOKENS * step * step)


def to_patches(pixels: torch.Tensor, patch: int, merge: int, frames_per_step: int) -> torch.Tensor:
    """Cut steps of time into patches, those that are merged into one token side by side.

    Args:
        pixels: (T, 3, H, W), T a multiple of `frames_per_step`.
        patch: Side of a patch.
        merge: How many patches on a side are merged.
        frames_per_step: Frames in one patch.

    Returns:
        (steps * h * w, 3 * frames_per_step * patch * patch).
    """
    return rearrange(
        pixels,
        "(t f) c (h mh ph) (w mw pw) -> (t h w mh mw) (c f ph pw)",
        f=frames_per_step,
        mh=merge,
        mw=merge,
        ph=patch,
        pw=patch,
    )
