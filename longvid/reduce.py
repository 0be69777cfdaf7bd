"""Reducers: they drop frames that show nothing new, before the encoder pays for them.

They know frames and no question. The rule of LongVU is `longvid.methods.temporal_reduction`;
here it meets the frames of one segment.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from longvid.errors import ConfigError, require_at_least
from longvid.lazy_import import F, torch
from longvid.methods.longvu_config import LongVUConfig
from longvid.methods.temporal_reduction import select_frames
from longvid.types import CheckpointRef, FrameBatch

if TYPE_CHECKING:
    from torch import Tensor

_PIXELS = "pixels"
_THUMBNAIL_SIDE = 16


@dataclass(frozen=True, slots=True)
class KeepAll:
    """Keep every frame."""

    def identity(self) -> str:
        return ""

    def checkpoints(self) -> tuple[CheckpointRef, ...]:
        return ()

    def weight_bytes(self, device: str) -> int:
        return 0

    def setup(self, device: str = "cpu") -> KeepAll:
        return self

    def __call__(self, batch: FrameBatch) -> FrameBatch:
        return batch


@dataclass(frozen=True, slots=True)
class TemporalReduction:
    """Drop frames that resemble the rest of their window on average (LongVU).

    Always at work, and within one segment; the original reduces only videos that do not fit the
    language model's context, which is not known when a video is indexed.

    Args:
        features: What frames are compared by: a DINOv2 or DINOv3 checkpoint (folder or hub name),
            or "pixels", which needs no checkpoint and compares thumbnails of 16 x 16 pixels.
            Thumbnails see layout and brightness, not content: a stand-in, not LongVU.
        side: Pixels of a side of the checkpoint's input; 0 takes its own. LongVU uses 378.
        window: Frames compared with each other; the last window of a segment may be shorter. 8 in
            the paper.
        threshold: Mean cosine similarity from which a frame is dropped; 0.82 for MLVU.
        include_self: A frame's similarity to itself counts in the mean; not in the paper.
        force_middle: The middle frame of a window always survives. Otherwise (as in the paper)
            only where no other frame does.

    Source: LongVU, section 3.2; `cambrian_arch.py` select_frame.
    """

    features: str = "facebook/dinov2-giant"
    side: int = 378
    window: int = 16
    threshold: float = 0.83
    include_self: bool = True
    force_middle: bool = True

    def __post_init__(self) -> None:
        if not self.features:
            raise ConfigError(
                "longvu_temporal.features is empty; name a DINO checkpoint, or 'pixels'."
            )
        if self.side < 0:
            raise ConfigError(
                f"longvu_temporal.side must be 0 or a number of pixels, got {self.side}."
            )
        require_at_least("longvu_temporal.window", self.window, 1)
        if not 0 < self.threshold <= 2:
            raise ConfigError(
                f"longvu_temporal.threshold must be in (0, 2], got {self.threshold}; above 1 "
                "drops nothing."
            )

    def identity(self) -> str:
        from longvid.models import checkpoint_files

        if self.features == _PIXELS:
            return ""
        return checkpoint_files.identity(checkpoint_files.locate(self.features))

    def checkpoints(self) -> tuple[CheckpointRef, ...]:
        from longvid.models.checkpoint_ref import hub_checkpoint

        if self.features == _PIXELS:
            return ()
        return (hub_checkpoint("dino", "reducer.features", self.features),)

    def weight_bytes(self, device: str) -> int:
        """Return the bytes of the DINO checkpoint, which runs in float32."""
        from longvid.models import checkpoint_files
        from longvid.models.weight_count import count_model

        if self.features == _PIXELS:
            return 0
        return 4 * count_model(checkpoint_files.locate(self.features))[0]

    def setup(self, device: str = "cpu") -> TemporalReducer:
        if self.features == _PIXELS:
            return TemporalReducer(self, pixel_features)
        from longvid.models import dino

        return TemporalReducer(self, dino.load(self.features, device, side=self.side))

    def rule(self) -> LongVUConfig:
        return LongVUConfig(
            window=self.window,
            dino_threshold=self.threshold,
            include_self=self.include_self,
            force_middle=self.force_middle,
            always_reduce=True,
            max_frames=0,
        )


@dataclass(frozen=True, slots=True)
class TemporalReducer:
    """Temporal reduction at work.

    Args:
        part: Its configuration.
        features: From frames (T, 3, H, W) uint8 to features (T, P, C) float32.
    """

    part: TemporalReduction
    features: Callable[[Tensor], Tensor]

    def __call__(self, batch: FrameBatch) -> FrameBatch:
        """Drop frames; at least one of every window survives."""
        if len(batch) < 2:
            return batch
        return batch.keep(select_frames(self.features(batch.data), 0, self.part.rule()))


def pixel_features(frames: Tensor) -> Tensor:
    """Shrink frames to thumbnails around mid-grey, (T, 256, 3) float32 in [-1, 1].

    Args:
        frames: (T, 3, H, W) uint8.
    """
    # One frame at a time: a float copy of a segment at full size would dwarf the segment.
    thumbnails = torch.cat(
        [F.adaptive_avg_pool2d(frame[None].float(), _THUMBNAIL_SIDE) for frame in frames]
    )
    return thumbnails.flatten(2).transpose(1, 2) / 127.5 - 1.0
