"""How the ragged tokens of a segment are laid out: groups of equal count, grids, pooled rows.

Dense work wants frames of equal count; this module finds them and puts results back in time
order. It knows no method of compression.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from longvid.errors import OpError
from longvid.lazy_import import torch
from longvid.methods.token_pooling import describe
from longvid.types import Segment, Tokens

if TYPE_CHECKING:
    from torch import Tensor

# Positions are at least 1 / 64 apart on any grid in use; this is far below and above rounding.
_POSITION_TOLERANCE = 1e-3


class _Part(Protocol):
    def __call__(self, segment: Segment) -> Segment: ...


@dataclass(frozen=True, slots=True)
class Placed:
    """A compressor at work on a device: tokens go there and come back to the CPU."""

    part: _Part
    device: str

    def __call__(self, segment: Segment) -> Segment:
        there = self.part(segment.with_tokens(_moved(segment.tokens, self.device)))
        return there.with_tokens(_moved(there.tokens, "cpu"))


def _moved(tokens: Tokens, device: str) -> Tokens:
    return Tokens(
        data=tokens.data.to(device),
        frame=tokens.frame.to(device),
        position=tokens.position.to(device),
        size=tokens.size.to(device),
    )


def equal_groups(starts: Tensor, counts: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Gather runs of tokens that have equally many.

    Args:
        starts: (G,) int64, first token of each run.
        counts: (G,) int64, tokens in each run.

    Yields:
        (K,) int64 indices of the runs and (K, n) int64 token indices, by rising count n; runs
        without tokens are left out.
    """
    for count in torch.unique(counts).tolist():
        if count == 0:
            continue
        runs = (counts == count).nonzero().flatten()
        steps = torch.arange(count, device=starts.device)
        yield runs, starts[runs].unsqueeze(1) + steps


@dataclass(frozen=True, slots=True)
class FrameGroup:
    """Frames with one and the same patch grid.

    Args:
        frames: (K,) int64 frames of the segment.
        tokens: (K, height * width) int64 token indices, row by row.
        height, width: The grid.
    """

    frames: Tensor
    tokens: Tensor
    height: int
    width: int


def full_grids(name: str, segment: Segment) -> list[FrameGroup]:
    """Find the patch grid of every frame from the positions of its tokens.

    Args:
        name: Of the part that asks, for its error.
        segment: Any segment.

    Returns:
        Groups of frames with equal grids; frames without tokens are in none.

    Raises:
        OpError: The tokens of a frame are not a full grid.
    """
    tokens = segment.tokens
    counts = tokens.counts(segment.num_frames)
    starts = counts.cumsum(0) - counts
    groups: list[FrameGroup] = []
    for frames, index in equal_groups(starts, counts):
        while len(frames):
            position = tokens.position[index]  # (K, n, 2)
            height, width = _grid_of(position[0])
            if height * width != index.shape[1]:
                raise OpError(
                    f"{name}: the {index.shape[1]} tokens of frame {int(frames[0])} are not a "
                    f"full patch grid, in {describe(segment)}; put {name} before compressors that "
                    "merge or prune."
                )
            alike = _alike(position, position[0])
            groups.append(FrameGroup(frames[alike], index[alike], height, width))
            frames, index = frames[~alike], index[~alike]
    return groups


def same_grid(name: str, segment: Segment) -> Tensor:
    """Return (T, n) token indices of frames whose tokens lie at the same n places.

    Raises:
        OpError: Frames hold different numbers of tokens, or tokens at different places.
    """
    tokens = segment.tokens
    counts = tokens.counts(segment.num_frames)
    count = int(counts[0])
    steps = torch.arange(count, device=tokens.data.device)
    if bool((counts == count).all()):
        index = (counts.cumsum(0) - counts).unsqueeze(1) + steps
        if bool(_alike(tokens.position[index], tokens.position[index[0]]).all()):
            return index
    raise OpError(
        f"{name}: the frames share no patch grid, in {describe(segment)}; put {name} before "
        "compressors that give frames different tokens."
    )


def _grid_of(position: Tensor) -> tuple[int, int]:
    """Return (h, w) if the (n, 2) positions are a full grid in row order, else (0, 0)."""
    height, width = (
        1 + int((axis.sort().values.diff() > _POSITION_TOLERANCE).sum())
        for axis in (position[:, 0], position[:, 1])
    )
    if height * width != len(position):
        return 0, 0
    grid = grid_centres(height, width, position.device)
    return (height, width) if bool(_alike(position.unsqueeze(0), grid).all()) else (0, 0)


def _alike(position: Tensor, pattern: Tensor) -> Tensor:
    """Tell which of (K, n, 2) positions are the (n, 2) pattern: (K,) bool."""
    return ((position - pattern).abs() < _POSITION_TOLERANCE).flatten(1).all(dim=1)


def grid_centres(height: int, width: int, device: torch.device | str = "cpu") -> Tensor:
    """Return the cell centres of a grid, (height * width, 2) float32, row by row."""
    rows = (torch.arange(height, dtype=torch.float32, device=device) + 0.5) / height
    columns = (torch.arange(width, dtype=torch.float32, device=device) + 0.5) / width
    return torch.stack(torch.meshgrid(rows, columns, indexing="ij"), dim=-1).flatten(0, 1)


def gather(data: Tensor, index: Tensor) -> Tensor:
    """Return data[index] for (G, n) indices, (G, n, ...); all of data in order is not copied.

    Args:
        data: (N, ...) of tokens.
        index: (G, n) int64 token indices.
    """
    if index.numel() == len(data) and bool((index.flatten().diff() == 1).all()):
        return data.view(*index.shape, *data.shape[1:])
    return data[index]


def concatenate(pieces: Sequence[Tokens], like: Tokens) -> Tokens:
    """Join pieces and bring them into time order; within a frame the earlier piece comes first.

    Args:
        pieces: Any number of runs.
        like: Gives the width, dtype and device when there is no piece.
    """
    if not pieces:
        return like.keep(torch.zeros(0, dtype=torch.int64, device=like.data.device))
    return Tokens.join(pieces)
