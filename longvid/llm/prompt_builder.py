"""From a question and a selection to the pieces of a prompt, checked before any work is done."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from longvid.errors import ModelError, QuestionError
from longvid.lazy_import import torch
from longvid.llm import prompt as prompts
from longvid.llm.generation import end_ids
from longvid.llm.known_footage import KnownFootage
from longvid.llm.line_in_place import asks_for_line
from longvid.llm.projector import SelectionProjector
from longvid.models import checkpoint_files
from longvid.models.families.protocol import Decoder, FramePiece, Piece, TextPiece
from longvid.models.tokenizer import (
    Span,
    TextTokenizer,
    load_tokenizer,
    outside,
    require_known_words,
    unknown_words,
)
from longvid.types import Question, Selection

if TYPE_CHECKING:
    from longvid.llm.huggingface import HuggingFaceLanguageModel

#: A setting that the checkpoint decides.
FROM_CHECKPOINT = "auto"

#: Earlier turns take at most this part of the context.
_HISTORY_SHARE = 4


@dataclass(frozen=True, slots=True)
class AskedPrompt:
    """A prompt that fits, laid out but not read: `options` are ids, none for an open question.

    `is_told` says whether its text may be told while it grows: what was told stays told.
    """

    question: Question
    pieces: list[Piece]
    options: list[tuple[int, ...]]
    num_prompt: int
    num_new: int
    note: str
    is_told: bool


class PromptBuilder:
    """Lays prompts out for one language model; reads and generates nothing.

    Args:
        part: Templates and how choices are answered.
        folder: The checkpoint.
        decoder: Its loaded language model, which knows its context and embeds words.
    """

    def __init__(self, part: HuggingFaceLanguageModel, folder: Path, decoder: Decoder) -> None:
        family = part.family()
        self._part = part
        self._decoder = decoder
        self._tower_projector = SelectionProjector(family, folder, part.spaces(), decoder)
        self.space = self._tower_projector.spaces[0]
        self._tokenizer = load_tokenizer(folder)
        self._text_tokenizer = TextTokenizer(self._tokenizer)
        self._placeholder = family.placeholder
        self._placeholder_id = family.placeholder_id(folder)
        own = prompts.prompt_of(folder, family, self._tokenizer)
        self.note = " ".join(filter(None, (checkpoint_files.note(folder), own.note)))
        self._known_footage = KnownFootage.read(folder)
        self._template = own.template if part.template == FROM_CHECKPOINT else part.template
        self._frame_prefix = (
            own.frame_prefix if part.frame_prefix == FROM_CHECKPOINT else part.frame_prefix
        )
        self._prompt = own
        self._newline = own.newline
        self._max_new_tokens = part.max_new_tokens or own.max_new_tokens

    def embed_words(self, text: str) -> torch.Tensor:
        return self._decoder.embed(self._text_tokenizer.text_ids(text)).float().cpu()

    def _ask(self, question: Question, selection: Selection) -> AskedPrompt:
        """Lay a prompt out and check it, before any work."""
        self._check_space(selection)
        self._check_words(question)
        by_line = asks_for_line(question, selection)
        question = self._with_history(question)
        options: list[tuple[int, ...]] = []
        if question.choices:
            ids, options = self._option_ids(question)
        else:
            text = prompts.render(self._template, self._placeholder, question.text, "")
            ids = self._prompt_ids(text)
        num_new = max(map(len, options), default=self._max_new_tokens)
        if sum(len(segment.tokens) for segment in selection.segments) >= self._decoder.context:
            self._check_context(self._layout(ids, selection), num_new)  # not projected for nothing
        pieces = self._layout(ids, self._tower_projector(selection))
        num_prompt = self._check_context(pieces, num_new)
        note = self._known_footage.note(selection) if self._known_footage else ""
        is_told = not (note and by_line)
        return AskedPrompt(question, pieces, options, num_prompt, num_new, note, is_told)

    def _with_history(self, question: Question) -> Question:
        """Add the conversation so far; a closed vocabulary cannot read it and is spared it."""
        if not question.history:
            return question
        earlier = " ".join(text for turn in question.history for text in turn)
        if unknown_words(self._tokenizer, f"{earlier} Earlier in this conversation"):
            return replace(question, history=())
        most_tokens = self._decoder.context // _HISTORY_SHARE
        return prompts.with_history(
            question, lambda text: len(self._text_tokenizer.text_ids(text)), most_tokens
        )

    def _option_ids(self, question: Question) -> tuple[tuple[int, ...], list[tuple[int, ...]]]:
        """Return the ids that all options have in front, and what each adds.

        Prompt and option are tokenized together, as in training, because a tokenizer may join
        across the seam; the shared part is therefore found afterwards.
        """
        lettered = self._part.choice_answer == "letter"
        listing = prompts.list_choices(question.choices, lettered=lettered)
        text = prompts.render(self._template, self._placeholder, question.text, listing)
        answers = prompts.letters(len(question.choices)) if lettered else question.choices
        seam = Span("" if text[-1].text[-1:].isspace() else " ")
        whole = [self._prompt_ids((*text, seam, outside(answer.strip()))) for answer in answers]
        prompt = self._prompt_ids(text)
        columns = zip(prompt, *whole, strict=False)
        alike = itertools.takewhile(lambda column: len(set(column)) == 1, columns)
        shared = sum(1 for _ in alike)
        if not lettered:
            end = end_ids(self._decoder)[:1]
            whole = [(*ids, *end) for ids in whole]
        options = [ids[shared:] for ids in whole]
        if not all(options):
            raise QuestionError(
                f"The choices {question.choices!r} hold one that this model reads as no text."
            )
        return prompt[:shared], options

    def _layout(self, ids: Sequence[int], selection: Selection) -> list[Piece]:
        """Put the frames of a selection, in order, where the prompt has its placeholder."""
        head, tail = prompts.split_at_video(ids, self._placeholder_id, self._template)
        prompt = replace(self._prompt, frame_prefix=self._frame_prefix)
        return prompts.lay_out(prompt, head, tail, selection, self._text_tokenizer.ids_of_each)

    def _prompt_ids(self, spans: Sequence[Span]) -> tuple[int, ...]:
        video = (self._placeholder, self._placeholder_id) if self._prompt.before_start else None
        return prompts.prompt_ids(self._tokenizer, self._text_tokenizer, spans, video)

    def _check_space(self, selection: Selection) -> None:
        for segment in selection.segments:
            if segment.space not in self._tower_projector.spaces:
                raise ModelError(
                    f"The selected tokens are of {segment.space}, but the language model reads "
                    f"{' or '.join(self._tower_projector.spaces)}; index the videos again with "
                    f"encoder.model = {self._part.model!r}, or ask with the model the store was "
                    "made for."
                )

    def _check_words(self, question: Question) -> None:
        asked = " ".join((question.text, *question.choices))
        reader = f"The model {self._part.model!r}"
        require_known_words(asked, reader, self._tokenizer, self._text_tokenizer.control_ids)

    def _check_context(self, pieces: Sequence[Piece], num_new: int) -> int:
        """Return how long the prompt is; refuse one that the model cannot read."""
        num_text = sum(len(p.ids) for p in pieces if isinstance(p, TextPiece))
        num_text += self._decoder.num_newlines(pieces) if self._newline else 0
        num_visual = sum(len(p.tokens) for p in pieces if isinstance(p, FramePiece))
        context = self._decoder.context
        excess = num_text + num_visual + num_new - context
        if excess > 0:
            remedy = self._shorten(num_visual - excess)
            if excess >= num_visual:  # not even without the video
                remedy = (
                    "shorten the question, its choices or the subtitles by at least "
                    f"{excess - num_visual + 1} tokens"
                )
            raise QuestionError(
                f"The prompt is {excess} tokens too long: {num_visual} visual and {num_text} text "
                f"tokens with {num_new} to be generated exceed the model's context of {context}; "
                f"{remedy}."
            )
        return num_text + num_visual

    def _shorten(self, room: int) -> str:
        """Say what makes a prompt shorter, given how many visual tokens there is room for."""
        return f"set ask.budget to at most {room}"
