"""Answer without a model: the best line of timed text is quoted.

It understands nothing. It is for stores whose pictures no model at hand can read, and for
demonstrations on real footage.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from longvid.errors import ConfigError, LongvidError
from longvid.lazy_import import torch
from longvid.protocols import AnswerListener, Generation
from longvid.timed_text.words import (
    asked_source,
    clock,
    coverage,
    is_time_question,
    names_source_alone,
    sources_asked,
    text_name,
)
from longvid.types import (
    CheckpointRef,
    EncoderMemory,
    Evidence,
    LanguageModelMemory,
    Question,
    Selection,
)

NOTE = "quoted, not understood"
NOTHING_FOUND = "nothing found"
LISTED_NOTE = "no line has enough of the question's words; these are lines written on the screen"
ALL_LISTED_NOTE = "the question names no word of a line; these are lines in order of time"
_CANNOT_TELL = "cannot tell"
#: Lines of a list: those of a source that is asked for, and those that may have to do with a thing.
_ALL_LISTED, _LISTED = 12, 5
#: Lines that choices are compared with.
_LINES_FOR_CHOICES = 3


@dataclass(frozen=True, slots=True)
class Quote:
    """A language model that quotes.

    Args:
        min_score: Share of the question's words, without those that every question has, that a
            line must hold; below it the answer is "nothing found".
    """

    reads_pictures: ClassVar[bool] = False

    min_score: float = 0.3

    def __post_init__(self) -> None:
        if not 0 <= self.min_score <= 1:
            raise ConfigError(f"llm.min_score must be from 0 to 1, got {self.min_score}.")

    def spaces(self) -> tuple[str, ...]:
        """Name no token space: it looks at no token, so any store will do."""
        return ()

    def checkpoints(self) -> tuple[CheckpointRef, ...]:
        return ()

    def memory(self, encoder: EncoderMemory, device: str) -> LanguageModelMemory:
        return LanguageModelMemory()

    def setup(self, device: str = "cpu") -> Quoter:
        return Quoter(self.min_score)


class Quoter:
    """Quotes the lines among the evidence of a selection."""

    def __init__(self, min_score: float) -> None:
        self.space, self.note = "", NOTE
        self._min_score = min_score

    def embed_words(self, text: str) -> torch.Tensor:
        """Return (0, 0): there are no word embeddings."""
        return torch.empty(0, 0)

    def answer(self, question: Question, selection: Selection) -> Generation:
        """Quote the best line, with its time where that is asked for; or choose by the lines.

        A line of a source that the question does not name is no answer; the note says where it is.
        """
        lines = [span for span in selection.evidence if span.text]
        if question.choices:
            return self._choose(question, lines)
        asked = question.text
        sources = sources_asked(asked, {span.source for span in lines})
        own = [span for span in lines if span.source in sources]
        best = self._best(asked, own)
        if best is not None:
            if is_time_question(asked):
                return _generation(f"at {clock(best.start_seconds)}: {best.text}")
            if names_source_alone(asked):
                return _listed(own, _ALL_LISTED, ALL_LISTED_NOTE if len(own) > 1 else "")
            return _generation(best.text)
        other = self._best(asked, [span for span in lines if span.source not in sources])
        if other is not None:
            return replace(_generation(NOTHING_FOUND), note=_elsewhere_note(asked, other))
        # What is written on a thing need not name the thing.
        if own and asked_source(asked) == "screen" and not is_time_question(asked):
            return _listed(own, _LISTED, LISTED_NOTE)
        return _generation(NOTHING_FOUND)

    def answer_many(
        self, asked: Sequence[tuple[Question, Selection]], listener: AnswerListener | None = None
    ) -> list[Generation | LongvidError]:
        found: list[Generation | LongvidError] = []
        for index, (question, selection) in enumerate(asked):
            generation = self.answer(question, selection)
            if listener is not None:
                listener.text(index, generation.text)
            found.append(generation)
        return found

    def _best(self, asked: str, lines: Sequence[Evidence]) -> Evidence | None:
        """Return the first line with the most of a question's words; None where all have few."""
        best = max(lines, key=lambda span: coverage(asked, span.text, span.source), default=None)
        if best is None or coverage(asked, best.text, best.source) < self._min_score:
            return None
        return best

    def _choose(self, question: Question, lines: Sequence[Evidence]) -> Generation:
        """Choose the option whose words the best lines hold; none where two fit as well."""
        text = " ".join(span.text for span in lines[:_LINES_FOR_CHOICES])
        scores = tuple(coverage(choice, text) for choice in question.choices)
        best = max(scores)
        if best == 0 or scores.count(best) > 1:
            return _generation(_CANNOT_TELL, None, scores)
        choice = scores.index(best)
        return _generation(question.choices[choice], choice, scores)


def _listed(lines: Sequence[Evidence], most: int, note: str) -> Generation:
    """List lines, each text once."""
    texts = list(dict.fromkeys(span.text for span in lines))
    return replace(_generation("; ".join(texts[:most])), note=note)


def _elsewhere_note(asked: str, line: Evidence) -> str:
    """Say that the source asked for does not have a question's words, and where another has."""
    video = f" of {os.path.basename(line.path)}" if line.path else ""
    found = f"{text_name(line.source)} at {clock(line.start_seconds)}{video}: {line.text}"
    return f"no {text_name(asked_source(asked))} has the question's words; they are in {found}"


def _generation(text: str, choice: int | None = None, scores: tuple[float, ...] = ()) -> Generation:
    return Generation(text, 0, 0, {}, choice, scores, visual_tokens=0)
