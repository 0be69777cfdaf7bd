"""A question with all that the language model is shown, and listeners of a batch of them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from longvid.errors import LongvidError, ModelError, StoreError
from longvid.lazy_import import torch
from longvid.protocols import AnswerListener, Generation
from longvid.types import Answer, Failure, Query, Question, Selection


@dataclass(frozen=True, slots=True)
class Renumbered:
    """A listener that hears of a batch's questions by their places among all."""

    listener: AnswerListener
    places: Sequence[int]

    def selected(self, index: int, selection: Selection) -> None:
        self.listener.selected(self.places[index], selection)

    def text(self, index: int, text: str) -> None:
        self.listener.text(self.places[index], text)

    def stopped(self, index: int) -> bool:
        return self.listener.stopped(self.places[index])


@dataclass(frozen=True, slots=True)
class Prepared:
    """A question with what the language model will be shown."""

    query: Query
    question: Question
    selection: Selection
    clock: Clock
    plain: Question  # without the lines that were retrieved
    is_unseen: bool  # lines were found, and nothing in the pictures
    note: str

    def answer(self, generation: Generation, model_note: str) -> Answer:
        """Return what a language model gave as the answer to the question.

        Args:
            generation: What it gave.
            model_note: What a person must know of every answer of it.
        """
        self.clock.seconds.setdefault("llm", sum(generation.seconds.values()))
        num_shown = generation.visual_tokens
        return Answer(
            text=generation.text,
            evidence=self.selection.evidence,
            visual_tokens=self.selection.num_tokens if num_shown is None else num_shown,
            prompt_tokens=generation.prompt_tokens,
            output_tokens=generation.output_tokens,
            seconds={**self.clock.seconds, **generation.seconds},
            choice=generation.choice,
            choice_scores=generation.choice_scores,
            note=" ".join(filter(None, (model_note, generation.caveats, self.note))),
            experts=self.selection.experts,
        )


@dataclass(slots=True)
class Clock:
    """Wall time by step."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def __call__(self, step: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.seconds[step] = time.perf_counter() - started


def failed_question(question: Question, error: LongvidError) -> Failure:
    """Say as data why a question has no answer."""
    kind = "question"
    if isinstance(error, StoreError):
        kind = "store"
    elif isinstance(error, ModelError):
        short = isinstance(error.__cause__, torch.OutOfMemoryError)
        kind = "out-of-memory" if short else "model"
    path = question.video_ids[0] if question.video_ids else ""
    return Failure(video_id="", path=path, stage="ask", kind=kind, error=str(error))
