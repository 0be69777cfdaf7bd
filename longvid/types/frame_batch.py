"""Decoded frames."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

from longvid.types.carrier import Tensors, require
from longvid.types.picture import Picture

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class FrameBatch(Tensors):
    """The decoded frames of one segment.

    Args:
        video_id: Of the video they come from.
        segment_index: Of the segment they fill.
        start_seconds, end_seconds: The segment's span.
        data: (T, 3, H, W) uint8 RGB.
        pts_seconds: (T,) float64, strictly increasing, the true presentation times.
        duration_seconds: (T,) float64, how long each frame is shown.
        slow: (T,) bool, whether the slow pathway sees the frame.
        pictures: Small JPEG pictures of frames, for people; empty where none are wanted.
    """

    video_id: str
    segment_index: int
    start_seconds: float
    end_seconds: float
    data: torch.Tensor
    pts_seconds: torch.Tensor
    duration_seconds: torch.Tensor
    slow: torch.Tensor
    pictures: tuple[Picture, ...] = ()

    def __post_init__(self) -> None:
        import torch

        num_frames = self.data.shape[0]
        require(
            self.data.ndim == 4 and self.data.shape[1] == 3 and self.data.dtype == torch.uint8,
            f"Frames must be (T, 3, H, W) uint8, got {tuple(self.data.shape)} {self.data.dtype}.",
        )
        per_frame = (num_frames,)
        self.require_shapes(pts_seconds=per_frame, duration_seconds=per_frame, slow=per_frame)
        require(
            bool((self.pts_seconds.diff() > 0).all()),
            f"pts_seconds must increase strictly, got {self.pts_seconds.tolist()}.",
        )

    def __len__(self) -> int:
        return int(self.data.shape[0])

    def keep(self, frames: torch.Tensor) -> FrameBatch:
        """Return the batch with only the frames at these sorted indices, (K,) int64."""
        return dataclasses.replace(
            self,
            data=self.data[frames],
            pts_seconds=self.pts_seconds[frames],
            duration_seconds=self.duration_seconds[frames],
            slow=self.slow[frames],
        )
