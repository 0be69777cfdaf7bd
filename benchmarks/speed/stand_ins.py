"""Parts that take a stated time instead of doing work, for measuring and testing the runners.

The planner, the runners, the ledger and the store around them are the real ones. A made-up video
is a text file that says how many seconds it lasts; what is "decoded" and "encoded" from it depends
on its content only, so that two runs can be compared bit for bit.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from longvid.config import Config, load_config
from longvid.errors import ModelError
from longvid.inputs import content_id
from longvid.protocols import RUN_ONLY, TextEmbedder
from longvid.types import (
    CheckpointRef,
    Chunk,
    EncoderMemory,
    Failure,
    FrameBatch,
    FrameSize,
    Segment,
    TextLine,
    Tokens,
    Video,
)

_GRID = 4
_WIDTH = 3 * _GRID * _GRID
_FATAL = "fatal"


@dataclass(frozen=True, slots=True)
class StandInDecoder:
    """Sleeps, and gives frames of one colour.

    Args:
        size: Of the frames.
        pictures: None are made.
        seconds_per_frame: How long one frame takes.
        fatal: Die by SIGKILL, with the whole process, on a video whose name holds "fatal".
    """

    size: FrameSize = field(default_factory=lambda: FrameSize(16, 16))
    pictures: str = field(default="none", metadata=RUN_ONLY)
    seconds_per_frame: float = field(default=0.0, metadata=RUN_ONLY)
    fatal: bool = field(default=True, metadata=RUN_ONLY)

    def setup(self, device: str = "cpu") -> StandInDecoder:
        return self

    def probe(self, path: str, video_id: str | None = None) -> Video:
        """Read the length from the file's first word."""
        seconds = float(Path(path).read_text().split()[0])
        identity = video_id or content_id(path)
        return Video(path, identity, 0.0, seconds, 1.0, max(1, int(seconds)), 90, 160)

    def read_text(self, path: str) -> tuple[TextLine, ...]:
        return ()

    def decode(self, chunk: Chunk) -> Iterator[FrameBatch | Failure]:
        """Yield the frames of each segment after the time they take."""
        if self.fatal and _FATAL in os.path.basename(chunk.video.path):
            os.kill(os.getpid(), signal.SIGKILL)
        for plan in chunk.segments:
            count = len(plan.sample_seconds)
            time.sleep(count * self.seconds_per_frame)
            colour = (int(chunk.video.video_id[:6], 16) + plan.segment_index) % 251
            yield FrameBatch(
                video_id=chunk.video.video_id,
                segment_index=plan.segment_index,
                start_seconds=plan.start_seconds,
                end_seconds=plan.end_seconds,
                data=torch.full(
                    (count, 3, self.size.height, self.size.width), colour, dtype=torch.uint8
                ),
                pts_seconds=torch.tensor(plan.sample_seconds, dtype=torch.float64),
                duration_seconds=torch.ones(count, dtype=torch.float64),
                slow=torch.tensor(plan.slow),
            )

    def close(self) -> None:
        """Do nothing: there is no process."""


@dataclass(frozen=True, slots=True)
class StandInEncoder:
    """Sleeps, and makes tokens of the mean colours of a 4x4 grid."""

    seconds_per_frame: float = field(default=0.0, metadata=RUN_ONLY)
    pixels: int = 16

    def frame_size(self) -> FrameSize:
        return FrameSize(self.pixels, self.pixels)

    def identity(self) -> str:
        return "stand-in"

    def space(self) -> str:
        return "stand-in"

    def embedding_width(self) -> int:
        return _WIDTH

    def note(self) -> str:
        return ""

    def checkpoints(self) -> tuple[CheckpointRef, ...]:
        return ()

    def memory(self, device: str, segment_frames: int) -> EncoderMemory:
        grid = (_GRID, _GRID)
        return EncoderMemory("stand-in", 0, 0, 0, 2, grid, token_width=3, embedding_width=_WIDTH)

    def setup(self, device: str = "cpu") -> StandInEncoder:
        return self

    def setup_embedder(self, device: str = "cpu") -> TextEmbedder:
        """Refuse: nothing is asked of these stores.

        Raises:
            ModelError: Always.
        """
        raise ModelError("A stand-in encodes no text; ask a store of another encoder.")

    def __call__(self, batch: FrameBatch) -> Segment:
        """Pool the frames of one segment after the time they take."""
        time.sleep(len(batch) * self.seconds_per_frame)
        pooled = torch.nn.functional.adaptive_avg_pool2d(batch.data.float(), _GRID)  # (T, 3, 4, 4)
        embeddings = pooled.flatten(1) + torch.arange(1.0, _WIDTH + 1)
        return Segment(
            video_id=batch.video_id,
            segment_index=batch.segment_index,
            start_seconds=batch.start_seconds,
            end_seconds=batch.end_seconds,
            pts_seconds=batch.pts_seconds,
            slow=batch.slow,
            frame_embeddings=torch.nn.functional.normalize(embeddings, dim=1),
            tokens=Tokens.from_grid(pooled.permute(0, 2, 3, 1).half()),
            space=self.space(),
        )


def stand_in_config(*overrides: str, decoder: Any = None, encoder: Any = None) -> Config:
    """Return the `mini` configuration with stand-ins for what takes time."""
    return replace(
        load_config("mini", overrides),
        decoder=decoder or StandInDecoder(),
        encoder=encoder or StandInEncoder(),
        compressors=(),
    )


def make_footage(
    folder: Path, num_videos: int, seconds: float, num_contents: int | None = None
) -> Path:
    """Write made-up videos.

    Args:
        folder: Where they go; made if it is not there.
        num_videos: How many.
        seconds: How long each lasts.
        num_contents: So many differ, the others are the same under other names; None for all.

    Returns:
        The folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(num_videos):
        content = number % (num_contents or num_videos)
        (folder / f"{number:06d}.mp4").write_text(f"{seconds:g} seconds of video {content}\n")
    return folder
