"""Positions on three rotary axes: time, row and column of every token, without any weights.

A token keeps the position that it had in the whole video, whatever is merged or left out around it:
row and column on the grid it was encoded on. A merged token stands at the rounded mean of its
parts. Families differ in what time is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from longvid.errors import ModelError
from longvid.lazy_import import torch
from longvid.models.families.protocol import FramePiece, Piece

# Seconds times ticks that fall this little short of a whole number are meant to be it.
_SLACK = 1e-4


class GridPositions:
    """Time is seconds since the video's first frame, in ticks of the model's own."""

    def __init__(self, config: Any) -> None:
        self._config = config

    def __call__(self, pieces: Sequence[Piece]) -> torch.Tensor:
        """Give every token its position, (3, L) int64.

        Text counts on along all axes at once. A video starts where the text before it ends; the
        text after it goes on behind the longer side of its grid.

        Raises:
            ModelError: A frame does not say its grid.
        """
        parts = [torch.zeros(3, 0, dtype=torch.long)]
        at = 0
        shown: list[FramePiece] = []
        for piece in (*pieces, None):
            if isinstance(piece, FramePiece) and not self._begins_anew(shown, piece):
                shown.append(piece)
                continue
            if shown:
                parts += [at + self._in_video(frame, index) for index, frame in enumerate(shown)]
                at += self._length(shown)
            shown = [piece] if isinstance(piece, FramePiece) else []
            if piece is not None and not isinstance(piece, FramePiece):
                parts.append((at + torch.arange(len(piece.ids))).expand(3, -1))
                at += len(piece.ids)
        return torch.cat(parts, dim=1)

    def _length(self, shown: Sequence[FramePiece]) -> int:
        """Return how far behind the start of a video the text after it begins."""
        return max(max(frame.grid) for frame in shown)

    def _per_second(self) -> float:
        """Return the ticks of a second."""
        return float(self._config.vision_config.tokens_per_second)

    def _begins_anew(self, shown: Sequence[FramePiece], frame: FramePiece) -> bool:
        """Tell whether a frame is the first of another video than those just shown."""
        return bool(shown) and frame.pts_seconds < shown[-1].pts_seconds

    def _in_video(self, frame: FramePiece, index: int) -> torch.Tensor:
        """Return the positions of a frame's tokens from where its video starts, (3, n) int64."""
        cells = _cells(frame)
        time = torch.full((1, len(cells)), self._ticks(frame, index))
        return torch.cat([time, cells.T])

    def _ticks(self, frame: FramePiece, index: int) -> int:
        """Return the place in time of the frame that is shown as number `index` of its video."""
        seconds = frame.pts_seconds - frame.origin_seconds
        return max(0, math.floor(self._per_second() * seconds + _SLACK))


class CountedPositions(GridPositions):
    """Time is the number of a step among those shown."""

    def _ticks(self, frame: FramePiece, index: int) -> int:
        return index


class SteppedPositions(GridPositions):
    """Every step is a picture of its own; its time is in the text beside it."""

    def _begins_anew(self, shown: Sequence[FramePiece], frame: FramePiece) -> bool:
        return bool(shown)

    def _ticks(self, frame: FramePiece, index: int) -> int:
        return 0


def _cells(frame: FramePiece) -> torch.Tensor:
    """Return the row and column of each token on the grid it was encoded on, (n, 2) int64."""
    if 0 in frame.grid:
        raise ModelError(
            "The tokens do not say the grid they were laid out on, which this model's positions "
            "need; index the videos again."
        )
    sides = torch.tensor(frame.grid)
    cells = (frame.position.double() * sides - 0.5).round().long()
    return torch.minimum(cells.clamp_min(0), sides - 1)
