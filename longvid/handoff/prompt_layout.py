"""The prompt of a question as text and frames, made from a checkpoint's texts alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from longvid.errors import ModelError
from longvid.lazy_import import torch
from longvid.llm import prompt as prompts
from longvid.models.families import family_of, space_of
from longvid.models.families.protocol import Piece
from longvid.models.tokenizer import TextTokenizer, load_tokenizer
from longvid.types import Question, Selection


@dataclass(frozen=True, slots=True, eq=False)
class PromptLayout:
    """A prompt, and what an engine must know of its checkpoint.

    Args:
        pieces: Text and frames in order.
        placeholder_id: Id of the token that stands for visual ones.
        tokenizer: That made the ids.
    """

    pieces: tuple[Piece, ...]
    placeholder_id: int
    tokenizer: Any


def lay_out(folder: Path, question: Question, selection: Selection) -> PromptLayout:
    """Lay out an open question as the checkpoint's own prompt.

    Args:
        folder: The checkpoint; its weights are not read.
        question: Its choices are listed with letters.
        selection: What is shown.

    Raises:
        ModelError: The selection's tokens are of another space.
    """
    space = space_of(folder)
    other = next((one.space for one in selection.segments if one.space != space), None)
    if other is not None:
        raise ModelError(
            f"The selected tokens are of {other}, and {folder} reads {space}; hand them to the "
            "model that the store was made for."
        )
    family = family_of(folder)
    tokenizer = load_tokenizer(folder)
    text_tokenizer = TextTokenizer(tokenizer)
    own = prompts.prompt_of(folder, family, tokenizer)
    listing = prompts.list_choices(question.choices, lettered=True)
    spans = prompts.render(own.template, family.placeholder, question.text, listing)
    placeholder = family.placeholder_id(folder)
    video = (family.placeholder, placeholder) if own.before_start else None
    ids = prompts.prompt_ids(tokenizer, text_tokenizer, spans, video)
    head, tail = prompts.split_at_video(ids, placeholder, own.template)
    pieces = prompts.lay_out(own, head, tail, selection, text_tokenizer.ids_of_each)
    return PromptLayout(tuple(pieces), placeholder, tokenizer)


def positions_of(folder: Path, pieces: Sequence[Piece]) -> torch.Tensor | None:
    """Return the positions of a prompt on three axes, (3, L) int64; None where there is one."""
    family = family_of(folder)
    made = getattr(getattr(family, "decoder", None), "positions", None)
    if made is None:
        return None
    positions: torch.Tensor = made(family.config(folder))(pieces)
    return positions
