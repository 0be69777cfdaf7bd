"""Pictures that keep their aspect: of about one area, or within a number of tokens.

Source: the video processors of MiniCPM-V 4.6 (find_best_resize) and Gemma 4
(get_aspect_ratio_preserving_size) of transformers.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

from longvid.lazy_import import torch
from longvid.models.preprocessing import PixelFormat


def fields_of(plain: PixelFormat) -> dict[str, Any]:
    """Return what a format states, for one of a class that states more."""
    fields = {field.name: getattr(plain, field.name) for field in dataclasses.fields(plain)}
    return fields | {"fit": "native"}


@dataclass(frozen=True, slots=True)
class SameArea(PixelFormat):
    """The format of a tower whose pictures keep their aspect and have about one area.

    Args:
        area: Pixels aimed at.
        step: Height and width are multiples of it.
    """

    area: int = 448**2
    step: int = 56

    def resize(self, frames: torch.Tensor) -> torch.Tensor:
        """Bring frames to the area, (T, 3, H, W) uint8 to (T, 3, H', W') uint8."""
        height, width = frames.shape[-2:]
        aspect = width / height
        tall = int(math.sqrt(self.area) / math.sqrt(aspect))
        sides = (tall, int(tall * aspect))
        height, width = (max(round(side / self.step), 1) * self.step for side in sides)
        return PixelFormat.resize(dataclasses.replace(self, height=height, width=width), frames)


@dataclass(frozen=True, slots=True)
class WithinTokens(PixelFormat):
    """The format of a tower whose pictures keep their aspect within a number of tokens.

    Args:
        most_tokens: Of a frame.
        step: Pixels of a side of one token.
    """

    most_tokens: int = 70
    step: int = 48

    def resize(self, frames: torch.Tensor) -> torch.Tensor:
        """Bring frames to the largest size within the bound, (T, 3, H, W) to (T, 3, H', W')."""
        height, width = frames.shape[-2:]
        scale = math.sqrt(self.most_tokens / (height * width))
        rows, columns = math.floor(scale * height), math.floor(scale * width)
        if rows == 0:  # a strip one token high
            rows, columns = 1, min(width // height, self.most_tokens)
        elif columns == 0:
            rows, columns = min(height // width, self.most_tokens), 1
        sized = dataclasses.replace(self, height=rows * self.step, width=columns * self.step)
        return PixelFormat.resize(sized, frames)
