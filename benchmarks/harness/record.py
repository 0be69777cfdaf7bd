"""One row of any benchmark: what is asked, of which video, and what counts as right."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Record:
    """One question.

    Args:
        id: Of the question, unique in its split.
        video: Names under which the video may lie below the folder of videos, the most likely
            first; an ending that does not fit is passed over, a folder in a name is not. The first
            is also the cluster for standard errors.
        question: As it stands in the annotations.
        answers: Everything that counts as right; empty when the gold answer is not public.
        options: For multiple choice, without letters.
        answer_index: Of the right option.
        group: Names under which figures are also given apart ("type", "duration", "task").
        evidence: Spans [start, end) in seconds that show the answer.
        tube: Where the thing asked about is: rows of seconds, left, top, right, bottom in [0, 1],
            `grounding_scores.FRAMES_PER_SECOND` of them a second.
        start_seconds, end_seconds: The part of the video that is asked about; None for all of it.
        subtitles: File with what is said, relative to the folder of subtitles, "" for none.
        subtitles_from_seconds: Where in that file the video begins, when it was cut out of a
            longer one; None for its beginning.
    """

    id: str
    video: tuple[str, ...]
    question: str
    answers: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    answer_index: int | None = None
    group: Mapping[str, str] = field(default_factory=dict)
    evidence: tuple[tuple[float, float], ...] = ()
    tube: tuple[tuple[float, ...], ...] = ()
    start_seconds: float | None = None
    end_seconds: float | None = None
    subtitles: str = ""
    subtitles_from_seconds: float | None = None

    @property
    def cluster(self) -> str:
        """Rows of one video are not independent; this names the video."""
        return self.video[0]

    @property
    def has_gold(self) -> bool:
        """True when the row can be scored."""
        if self.options:
            return self.answer_index is not None
        return bool(self.answers or self.tube)

    def to_json(self) -> str:
        """Return one line; what is empty is left out."""
        values = {
            item.name: getattr(self, item.name)
            for item in dataclasses.fields(self)
            if getattr(self, item.name) not in ((), {}, "", None)
        }
        return json.dumps(values, ensure_ascii=False)

    @classmethod
    def from_json(cls, line: str) -> Record:
        values: dict[str, Any] = json.loads(line)
        for name in ("video", "answers", "options"):
            values[name] = tuple(values.get(name, ()))
        values["evidence"] = tuple((a, b) for a, b in values.get("evidence", ()))
        values["tube"] = tuple(tuple(row) for row in values.get("tube", ()))
        return cls(**values)


@dataclass(frozen=True, slots=True)
class Gold:
    """The right answer to a question that stands in another file, joined by id."""

    id: str
    answers: tuple[str, ...] = ()
    answer_index: int | None = None
    group: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A row that is not asked, because this benchmark's figure is not about it.

    Args:
        id: Of the row.
        why: The same words for every row of a kind.
    """

    id: str
    why: str


def question_type(question: str) -> str:
    """Return the type of an open question, as the closed-vocabulary protocols count it.

    >>> question_type("what color is the car?"), question_type("who is singing?")
    ('color', 'who')
    """
    words = question.lower().replace("?", " ").split()
    if "color" in words or "colour" in words:
        return "color"
    first = words[0] if words else ""
    return first if first in ("what", "who", "how", "when", "where") else "other"
