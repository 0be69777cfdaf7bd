"""Questions, what is shown for them, and answers."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from longvid.errors import QuestionError, shown
from longvid.types.carrier import Tensors, require
from longvid.types.picture import Picture, Track
from longvid.types.tokens import Segment

if TYPE_CHECKING:
    import torch

#: What of a video a question may be shown; subtitles are speech.
EXPERTS = ("pictures", "speech", "screen", "boxes")


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked.

    Args:
        text: The question.
        video_ids: Restricts it to these videos; empty means the whole store.
        choices: Answers to choose from; empty means an open question.
        span: Start and end in seconds; restricts it to segments and lines of text that overlap
            it. None for all.
        history: Earlier turns of a conversation, (question, answer) each, oldest first.
    """

    text: str
    video_ids: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()
    span: tuple[float, float] | None = None
    history: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        _require_text("The question", self.text)
        object.__setattr__(self, "video_ids", _texts("video_ids", self.video_ids))
        object.__setattr__(self, "choices", _texts("choices", self.choices))
        if len(self.choices) == 1:
            raise QuestionError("A multiple-choice question needs two choices, got one.")
        stripped = [choice.strip() for choice in self.choices]
        repeated = next((one for one in stripped if stripped.count(one) > 1), None)
        if repeated is not None:
            raise QuestionError(
                f"The choice {shown(repeated)} is given twice; name each choice once."
            )
        if self.span is not None:
            object.__setattr__(self, "span", _span(self.span))
        object.__setattr__(self, "history", _turns(self.history))


def _span(given: object) -> tuple[float, float]:
    if isinstance(given, Sequence) and len(given) == 2:
        start, end = given
        numbers = all(isinstance(one, (int, float)) for one in (start, end))
        # An integer may be more than a float can hold, and no time is.
        if numbers and 0 <= start < end and (end == math.inf or end <= sys.float_info.max):
            return start, end
    raise QuestionError(f"span must be a start and a later end in seconds, got {shown(given)}.")


def _turns(given: object) -> tuple[tuple[str, str], ...]:
    if isinstance(given, str) or not isinstance(given, Sequence):
        raise QuestionError(f"history must be a list of turns, got {shown(given)}.")
    turns = []
    for turn in given:
        texts = _texts("A turn of history", turn)
        if len(texts) != 2:
            raise QuestionError(
                f"A turn of history is a question and its answer, got {shown(turn)}."
            )
        turns.append((texts[0], texts[1]))
    return tuple(turns)


def _require_text(what: str, given: object) -> None:
    if not isinstance(given, str):
        raise QuestionError(f"{what} must be text, got {shown(given)}.")
    if not given.strip():
        raise QuestionError(f"{what} is empty; write some text.")
    try:
        given.encode()
    except UnicodeEncodeError as error:
        raise QuestionError(
            f"{what} holds {given[error.start]!r}, which is not valid Unicode; leave it out."
        ) from error


def _texts(what: str, given: object) -> tuple[str, ...]:
    if isinstance(given, str) or not isinstance(given, Sequence):
        raise QuestionError(
            f"{what} must be a list of texts, got {shown(given)}; write [{shown(given)}]."
        )
    for one in given:
        _require_text(f"An entry of {what}", one)
    return tuple(given)


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Query(Tensors):
    """A question with its embedding.

    Args:
        question: What is asked.
        embedding: (E,) float32, unit norm, in the text-aligned space.
        text_tokens: (L, D) the question in the language model's own input embeddings, for
            selectors that score tokens against words (LongVU); may be empty (0, D).
    """

    question: Question
    embedding: torch.Tensor
    text_tokens: torch.Tensor


@dataclass(frozen=True, slots=True)
class Evidence:
    """A span that supports an answer, with the score that found it.

    Args:
        start_seconds, end_seconds: In the time of a player, as `longvid clip` and the server take
            it (`Video.clock_start_seconds`).
        text, source: Of a line of timed text: its words, and "subtitle", "speech" or "screen".
    """

    video_id: str
    path: str
    start_seconds: float
    end_seconds: float
    score: float
    text: str = ""
    source: str = ""


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Selection:
    """What the language model is shown: segments in time order, never over the budget.

    Args:
        segments: In time order within each video.
        evidence: One entry a contiguous span, best first.
        budget: The most visual tokens that may be shown.
        spoken: What is said after each frame of each segment, "" for nothing; empty where no
            subtitles are interleaved.
        pictures: Stored pictures of the frames shown, in time order within each video; only for
            a language model that reads pictures.
        experts: Of EXPERTS, those that were chosen; empty where none are chosen.
        text_tokens: Tokens of the lines that were retrieved, words where the language model counts
            none; the budget does not hold for them.
    """

    segments: tuple[Segment, ...]
    evidence: tuple[Evidence, ...]
    budget: int
    spoken: tuple[tuple[str, ...], ...] = ()
    pictures: tuple[Picture, ...] = ()
    experts: tuple[str, ...] = ()
    text_tokens: int = 0

    def __post_init__(self) -> None:
        require(
            self.num_tokens <= self.budget,
            f"The selection holds {self.num_tokens} tokens, over its budget of {self.budget}; "
            "raise the budget to that, or add a selector, which keeps to it.",
        )

    @property
    def num_tokens(self) -> int:
        return sum(len(segment.tokens) for segment in self.segments)

    def __repr__(self) -> str:
        shown = f"{len(self.segments)} segments, {self.num_tokens} of {self.budget} tokens"
        return f"Selection({shown})"


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer and what it rests on.

    Args:
        text: The answer, or the chosen option.
        evidence: Spans that were shown, best first.
        visual_tokens, prompt_tokens, output_tokens: Counts.
        seconds: Wall time by step ("embed", "search", "load", "select", "llm", ...).
        choice: For multiple choice, the index chosen.
        choice_scores: For multiple choice, the log-likelihood of each option.
        note: A caveat that a person must see (random weights, words a model does not know).
        tracks: Where the answer's things are, if a grounder was asked to find them.
        experts: What was shown, where `ask.experts` chooses: "pictures", "speech", "screen",
            "boxes".
    """

    text: str
    evidence: tuple[Evidence, ...]
    visual_tokens: int
    prompt_tokens: int
    output_tokens: int
    seconds: dict[str, float]
    choice: int | None = None
    choice_scores: tuple[float, ...] = ()
    note: str = ""
    tracks: tuple[Track, ...] = ()
    experts: tuple[str, ...] = ()
