"""Requests of SGLang: one item of precomputed embeddings, with positions of its own.

`Engine.generate(input_ids=..., video_data=[item])`, in the engine's own process. Never offer it to
others over HTTP: what the engine unpacks there, it trusts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from longvid.errors import OpError
from longvid.handoff.packing import identity_of
from longvid.lazy_import import torch
from longvid.models.families.protocol import FramePiece, Piece, TextPiece


def precomputed(
    pieces: Sequence[Piece], positions: torch.Tensor, placeholder_id: int, merge: int = 2
) -> dict[str, Any]:
    """Return the arguments of `Engine.generate` for a prompt.

    Args:
        pieces: Text and frames in order, at least one frame.
        positions: (3, L) int64, of every token.
        placeholder_id: Id that stands for a visual token.
        merge: Patches of a side that the model's tower merges into a token.

    Returns:
        `input_ids`, and `video_data` of exactly one item: the engine takes one of a kind.

    Raises:
        OpError: There is no frame, or positions are not one a token.
    """
    ids: list[int] = []
    offsets: list[tuple[int, int]] = []
    frames = [piece for piece in pieces if isinstance(piece, FramePiece)]
    if not frames:
        raise OpError("A prompt without frames has no item to hand over; ask about a video.")
    for piece in pieces:
        if isinstance(piece, TextPiece):
            ids += piece.ids
            continue
        first = len(ids)
        ids += [placeholder_id] * len(piece.tokens)
        if offsets and offsets[-1][1] == first - 1:
            offsets[-1] = (offsets[-1][0], len(ids) - 1)
        else:
            offsets.append((first, len(ids) - 1))  # both ends belong to it
    if positions.shape != (3, len(ids)):
        raise OpError(
            f"Positions must be (3, {len(ids)}) for this prompt, got {tuple(positions.shape)}."
        )
    feature = torch.cat([frame.tokens for frame in frames])
    rows, columns = (max(frame.grid[axis] for frame in frames) * merge for axis in (0, 1))
    item = {
        "format": "precomputed_embedding",
        "feature": feature,
        "offsets": offsets,
        "hash": int(identity_of(feature, positions)[:15], 16),
        "video_grid_thw": torch.tensor([[len(frames), rows, columns]]),
        "mrope_positions": positions,
        "mrope_position_delta": torch.tensor([[int(positions.max()) + 1 - len(ids)]]),
    }
    return {"input_ids": ids, "video_data": [item]}
