"""Ragged tokens merged by their place: what compressors and selectors both do with them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from longvid.errors import OpError
from longvid.lazy_import import ops, torch
from longvid.types import Segment, Tokens

if TYPE_CHECKING:
    from torch import Tensor


def describe(segment: Segment) -> str:
    """Name a segment in an error, with the shapes that matter."""
    counts = segment.tokens.counts(segment.num_frames).tolist()
    shown = ", ".join(map(str, counts[:8])) + (", ..." if len(counts) > 8 else "")
    return (
        f"segment {segment.segment_index} of video {segment.video_id[:12]} with tokens "
        f"{tuple(segment.tokens.data.shape)} in {segment.num_frames} frames of {shown}"
    )


def require_finite(name: str, segment: Segment) -> None:
    """Refuse NaN and infinity, which would spread to every token they are averaged with.

    Raises:
        OpError: The first token that is not finite, by frame.
    """
    data = segment.tokens.data
    # Extremes carry NaN and infinity along, at the speed of one read and without a copy.
    if data.numel() == 0 or bool(torch.stack(torch.aminmax(data)).isfinite().all()):
        return
    bad = (~data.isfinite()).any(dim=1).nonzero().flatten()
    raise OpError(
        f"{name}: {len(bad)} tokens hold NaN or infinity, the first in frame "
        f"{int(segment.tokens.frame[bad[0]])}, in {describe(segment)}; the encoder overflowed, "
        "run it in bfloat16 or float32."
    )


def mean_rows(tokens: Tokens, offsets: Tensor, members: Tensor, frame: Tensor) -> Tokens:
    """Merge tokens: data and position are means weighted by size, sizes add up.

    Args:
        tokens: What is merged.
        offsets: (S + 1,) int64, members: (K,) int64 token indices, as `ops.segment_mean`.
        frame: (S,) int32, the non-decreasing frame of each result.
    """
    sizes = tokens.size[members]
    size = (
        torch.segment_reduce(sizes, "sum", offsets=offsets, axis=0, initial=0)
        if len(members)
        else sizes.new_zeros(len(frame))
    )
    return Tokens(
        data=ops.segment_mean(tokens.data, offsets, members, tokens.size),
        frame=frame,
        position=ops.segment_mean(tokens.position, offsets, members, tokens.size),
        size=size,
    )


def pool_cells(tokens: Tokens, height: int, width: int) -> Tokens:
    """Merge the tokens of a frame whose positions are in one cell of a height x width grid.

    Frames need no full grid, so merged and pruned frames pool too; a cell without tokens gives
    none.

    Args:
        tokens: Of one segment.
        height, width: The grid.
    """
    row = (tokens.position[:, 0] * height).long().clamp(0, height - 1)
    column = (tokens.position[:, 1] * width).long().clamp(0, width - 1)
    cell = (tokens.frame.long() * height + row) * width + column
    cells, label = torch.unique(cell, return_inverse=True)
    offsets, members = ops.segments_from_labels(label, len(cells))
    return mean_rows(tokens, offsets, members, (cells // (height * width)).int())
