"""Tokens, and the segment that holds them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from longvid.types.carrier import Tensors, require
from longvid.types.picture import Picture

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Tokens(Tensors):
    """What the language model can be shown: a flat, ragged run of vectors in time order.

    Frames hold different numbers of tokens after pooling, merging and pruning, so a token names
    its frame instead of standing in a grid.

    Args:
        data: (N, D) float16, bfloat16 or float32.
        frame: (N,) int32, non-decreasing index into the segment's frames.
        position: (N, 2) float32, (row, column) of the token's centre, each in [0, 1].
        size: (N,) float32, how many patches the token stands for.
    """

    data: torch.Tensor
    frame: torch.Tensor
    position: torch.Tensor
    size: torch.Tensor

    def __post_init__(self) -> None:
        import torch

        num_tokens = self.data.shape[0]
        require(
            self.data.ndim == 2 and self.data.dtype.is_floating_point,
            f"Token data must be (N, D) floating point, got {tuple(self.data.shape)} "
            f"{self.data.dtype}.",
        )
        self.require_shapes(frame=(num_tokens,), position=(num_tokens, 2), size=(num_tokens,))
        require(
            self.frame.dtype == torch.int32 and bool((self.frame.diff() >= 0).all()),
            f"tokens.frame must be int32 and non-decreasing, got {self.frame.dtype}.",
        )

    def __len__(self) -> int:
        return int(self.data.shape[0])

    @classmethod
    def from_grid(cls, data: torch.Tensor) -> Tokens:
        """Flatten full patch grids, frame by frame and row by row.

        Args:
            data: (T, h, w, D).
        """
        import torch

        num_frames, height, width, token_width = data.shape
        rows = (torch.arange(height, dtype=torch.float32) + 0.5) / height
        columns = (torch.arange(width, dtype=torch.float32) + 0.5) / width
        grid = torch.stack(torch.meshgrid(rows, columns, indexing="ij"), dim=-1)  # (h, w, 2)
        patches = height * width
        return cls(
            data=data.reshape(num_frames * patches, token_width),
            frame=torch.arange(num_frames, dtype=torch.int32).repeat_interleave(patches),
            position=grid.reshape(patches, 2).repeat(num_frames, 1),
            size=torch.ones(num_frames * patches),
        )

    @classmethod
    def join(cls, pieces: Sequence[Tokens]) -> Tokens:
        """Join runs, at least one, in time order; within a frame the earlier piece comes first."""
        import torch

        if len(pieces) == 1:
            return pieces[0]
        order = torch.cat([piece.frame for piece in pieces]).sort(stable=True).indices
        names = ("data", "frame", "position", "size")
        return cls(*(torch.cat([getattr(p, name) for p in pieces])[order] for name in names))

    def keep(self, tokens: torch.Tensor) -> Tokens:
        """Return only the tokens at these sorted indices (K,) int64, or of this mask (N,) bool."""
        fields = (self.data, self.frame, self.position, self.size)
        return Tokens(*(field[tokens] for field in fields))

    def counts(self, num_frames: int) -> torch.Tensor:
        """Count the tokens of each frame, (num_frames,) int64."""
        import torch

        return torch.bincount(self.frame.long(), minlength=num_frames)


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Segment(Tensors):
    """An indexed span of a video: what is written to the store and read back by a question.

    Args:
        video_id, segment_index: Its identity.
        start_seconds, end_seconds: The half-open span [start, end) it stands for.
        pts_seconds: (T,) float64, presentation times of the frames that survived reduction.
        slow: (T,) bool, whether the slow pathway sees the frame.
        frame_embeddings: (T, E) float32, unit norm, in the text-aligned space.
        tokens: Tokens whose `frame` indexes into pts_seconds.
        space: Name of the token space; only a language model of the same space can read them.
        grid: (h, w) of the grid that the tokens were laid out on by the encoder, whatever has been
            merged or pruned since; (0, 0) where it is not known.
        pictures: Small JPEG pictures of its frames while it is written; a segment that is read
            has none, they are read apart.
    """

    video_id: str
    segment_index: int
    start_seconds: float
    end_seconds: float
    pts_seconds: torch.Tensor
    slow: torch.Tensor
    frame_embeddings: torch.Tensor
    tokens: Tokens
    space: str
    grid: tuple[int, int] = (0, 0)
    pictures: tuple[Picture, ...] = ()

    def __post_init__(self) -> None:
        num_frames = self.pts_seconds.shape[0]
        width = self.frame_embeddings.shape[-1]
        self.require_shapes(slow=(num_frames,), frame_embeddings=(num_frames, width))
        require(
            len(self.tokens) == 0 or int(self.tokens.frame[-1]) < num_frames,
            f"tokens.frame points past the {num_frames} frames of the segment.",
        )

    @property
    def num_frames(self) -> int:
        """How many frames survived reduction."""
        return int(self.pts_seconds.shape[0])

    @property
    def key(self) -> tuple[str, int]:
        """Sorting by this key gives the time order within each video."""
        return self.video_id, self.segment_index

    def with_tokens(self, tokens: Tokens) -> Segment:
        """Return the segment with other tokens, everything else unchanged."""
        return dataclasses.replace(self, tokens=tokens)
