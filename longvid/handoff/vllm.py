"""Requests of vLLM: rows of a prompt, or videos with their grid.

Rows (`prompt_embeds`) need `--enable-prompt-embeds`, videos `--enable-mm-embeds`. Put the video
before the question and keep the order of what is selected: equal fronts are read once.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from longvid.errors import OpError
from longvid.handoff.packing import identity_of, require_body, torch_file
from longvid.lazy_import import torch
from longvid.models.families.protocol import FramePiece, Piece, TextPiece


def prompt_embeds(pieces: Sequence[Piece], dtype: torch.dtype | None = None) -> dict[str, Any]:
    """Return the mixed prompt of `LLM.generate`: ids of text, rows of frames.

    Args:
        pieces: Text and frames in order, at least one frame.
        dtype: Of the rows; their own where not given.

    Returns:
        `prompt_embeds` (L, D), zero where there is text, `prompt_token_ids` (0 where there is a
        row) and `prompt_is_token_ids`.

    Raises:
        OpError: There is no frame.
    """
    frames = [piece for piece in pieces if isinstance(piece, FramePiece)]
    if not frames:
        raise OpError("A prompt without frames has no rows to hand over; ask about a video.")
    rows: list[torch.Tensor] = []
    ids: list[int] = []
    is_text: list[bool] = []
    width = frames[0].tokens.shape[1]
    for piece in pieces:
        if isinstance(piece, TextPiece):
            rows.append(frames[0].tokens.new_zeros(len(piece.ids), width))
            ids += piece.ids
            is_text += [True] * len(piece.ids)
        else:
            rows.append(piece.tokens)
            ids += [0] * len(piece.tokens)
            is_text += [False] * len(piece.tokens)
    data = torch.cat(rows)
    return {
        "prompt_embeds": data if dtype is None else data.to(dtype),
        "prompt_token_ids": ids,
        "prompt_is_token_ids": is_text,
    }


def chat_content(pieces: Sequence[Piece], tokenizer: Any) -> list[dict[str, Any]]:
    """Return the content of a chat message: text parts, and a `prompt_embeds` part a frame.

    The server's own template stands around it, so `pieces` are those between the template's ends.

    Args:
        pieces: Text and frames in order.
        tokenizer: Turns ids back into text.

    Raises:
        OpError: The message is larger than a server takes.
    """
    content: list[dict[str, Any]] = []
    for piece in pieces:
        if isinstance(piece, TextPiece):
            text = tokenizer.decode(list(piece.ids))
            if text:
                content.append({"type": "text", "text": text})
        else:
            content.append({"type": "prompt_embeds", "data": torch_file(piece.tokens)})
    require_body(sum(len(part.get("data", "")) for part in content))
    return content


@dataclass(frozen=True, slots=True, eq=False)
class VideoItem:
    """A run of frames of equal grid, as vLLM takes a video.

    Args:
        embeds: (T * h * w, D).
        grid: (T, rows, columns) in patches, before they are merged.
        timestamps: When each step is shown.
    """

    embeds: torch.Tensor
    grid: tuple[int, int, int]
    timestamps: tuple[float, ...]


def video_items(frames: Sequence[FramePiece], merge: int = 2) -> list[VideoItem]:
    """Cut frames into runs of equal grid.

    Args:
        frames: In time order; the tokens of each are a full grid.
        merge: Patches of a side that the model's tower merges into a token.

    Raises:
        OpError: The tokens of a frame are no full grid.
    """
    items = []
    for grid, run in itertools.groupby(frames, _grid):
        steps = list(run)
        height, width = grid
        items.append(
            VideoItem(
                embeds=torch.cat([frame.tokens for frame in steps]),
                grid=(len(steps), height * merge, width * merge),
                timestamps=tuple(frame.pts_seconds for frame in steps),
            )
        )
    return items


def video_part(item: VideoItem) -> dict[str, Any]:
    """Return the part of a chat message for one video.

    Its `uuid` names the content: a later message may send it with null in place of the data.

    Raises:
        OpError: The part is larger than a server takes.
    """
    data = torch_file(item.embeds)
    require_body(len(data))
    return {
        "type": "video_embeds",
        "video_embeds": {
            "video_embeds": data,
            "video_grid_thw": list(item.grid),
            "timestamps": list(item.timestamps),
        },
        "uuid": identity_of(item.embeds, torch.tensor(item.grid)),
    }


def _grid(frame: FramePiece) -> tuple[int, int]:
    """Return rows and columns of a frame's tokens.

    Raises:
        OpError: They are no full grid.
    """
    num_rows, num_columns = (len(set(frame.position[:, axis].tolist())) for axis in (0, 1))
    if num_rows * num_columns != len(frame.tokens):
        raise OpError(
            f"The frame at {frame.pts_seconds:.1f} s holds {len(frame.tokens)} tokens in "
            f"{num_rows} rows and {num_columns} columns, which is no full grid; vLLM cannot be "
            "given their positions. Leave out compressors that merge or prune."
        )
    return num_rows, num_columns
