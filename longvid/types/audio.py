"""Decoded sound."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from longvid.types.carrier import Tensors, require

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Audio(Tensors):
    """One block of a video's sound track, mono.

    Args:
        video_id: Of the video it belongs to.
        start_seconds: Presentation time of the first sample.
        sample_rate: Samples per second.
        data: (S,) float32 in [-1, 1].
    """

    video_id: str
    start_seconds: float
    sample_rate: int
    data: torch.Tensor

    def __post_init__(self) -> None:
        import torch

        require(
            self.data.ndim == 1 and self.data.dtype == torch.float32,
            f"Audio must be (S,) float32, got {tuple(self.data.shape)} {self.data.dtype}.",
        )
        require(
            math.isfinite(self.start_seconds) and self.sample_rate > 0,
            f"Audio needs a finite start and a positive rate, got {self.start_seconds=} and "
            f"{self.sample_rate=}.",
        )

    @property
    def end_seconds(self) -> float:
        """Presentation time right after the last sample."""
        return self.start_seconds + self.data.shape[0] / self.sample_rate
