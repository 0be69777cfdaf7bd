"""Questions that join several, each about a place of its own: asked apart, answered together.

A model that is shown two places at once takes what it sees in one for the other's, so each part is
searched for, shown and answered by itself, with its share of the budget.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, groupby, zip_longest

from longvid.config import Ask
from longvid.errors import shown
from longvid.protocols import AnswerListener
from longvid.question_form import places_of
from longvid.types import Answer, Evidence, Failure, Question, Segment, Selection

_SENTENCE_END = re.compile(r"(?<=\.) ")


def parts_of(question: Question, ask: Ask) -> tuple[Question, ...]:
    """Return the questions that a question joins; itself where it is one.

    Options are of the whole question, so one with options is never taken apart.
    """
    if ask.route == "none" or not ask.num_segments or question.choices:
        return (question,)
    texts = places_of(question.text)
    return tuple(replace(question, text=text) for text in texts) if len(texts) > 1 else (question,)


def answer_of(parts: Sequence[Question], given: Sequence[Answer], num_evidence: int) -> Answer:
    """Return the answer to a question from those to its parts.

    Args:
        parts: In order.
        given: One a part.
        num_evidence: The most spans, the best of each part first.
    """
    if len(given) == 1:
        return given[0]
    seconds: dict[str, float] = {}
    for step, value in chain.from_iterable(answer.seconds.items() for answer in given):
        seconds[step] = seconds.get(step, 0.0) + value
    return Answer(
        text="; ".join(answer.text for answer in given),
        evidence=_in_turn([answer.evidence for answer in given])[:num_evidence],
        visual_tokens=sum(answer.visual_tokens for answer in given),
        prompt_tokens=sum(answer.prompt_tokens for answer in given),
        output_tokens=sum(answer.output_tokens for answer in given),
        seconds=seconds,
        note=_note(parts, given),
        tracks=tuple(chain.from_iterable(answer.tracks for answer in given)),
        experts=tuple(dict.fromkeys(chain.from_iterable(answer.experts for answer in given))),
    )


def _note(parts: Sequence[Question], given: Sequence[Answer]) -> str:
    """Return what is to be known of all answers, and of single ones with their question."""
    noted = [_SENTENCE_END.split(answer.note) if answer.note else [] for answer in given]
    of_all = [sentence for sentence in noted[0] if all(sentence in one for one in noted)]
    sentences = list(of_all)
    for part, of_one in zip(parts, noted, strict=True):
        own = [sentence for sentence in of_one if sentence not in of_all]
        if own:
            sentences += [f"{shown(part.text)}:", *own]
    return " ".join(sentences)


def answers_of(
    asked: Sequence[tuple[int, Question]],
    answers: Sequence[Answer | Failure],
    num_evidence: int,
) -> list[Answer | Failure]:
    """Return one entry a question from those of the parts: the first failure, if there is one.

    Args:
        asked: The parts in order, each with the place of the question that it belongs to.
        answers: One a part.
        num_evidence: The most spans of a question.
    """
    joined: list[Answer | Failure] = []
    for _, group in groupby(zip(asked, answers, strict=True), key=lambda one: one[0][0]):
        of_one = list(group)
        parts = [part for (_, part), _ in of_one]
        given = [answer for _, answer in of_one if isinstance(answer, Answer)]
        failures = [answer for _, answer in of_one if isinstance(answer, Failure)]
        joined.append(failures[0] if failures else answer_of(parts, given, num_evidence))
    return joined


def selection_of(selections: Sequence[Selection], num_evidence: int) -> Selection:
    """Return all that the parts of a question are shown, a segment that several show once.

    Args:
        selections: One a part, in order.
        num_evidence: The most spans, the best of each part first.
    """
    if len(selections) == 1:
        return selections[0]
    segments: dict[tuple[str, int], Segment] = {}
    for segment in chain.from_iterable(one.segments for one in selections):
        known = segments.get(segment.key)
        if known is None or len(known.tokens) < len(segment.tokens):
            segments[segment.key] = segment
    shown_pictures = chain.from_iterable(one.pictures for one in selections)
    pictures = {(picture.video_id, picture.pts_seconds): picture for picture in shown_pictures}
    return Selection(
        segments=tuple(segments[key] for key in sorted(segments)),
        evidence=_in_turn([one.evidence for one in selections])[:num_evidence],
        budget=sum(one.budget for one in selections),
        pictures=tuple(pictures[key] for key in sorted(pictures)),
        experts=tuple(dict.fromkeys(chain.from_iterable(one.experts for one in selections))),
        text_tokens=sum(one.text_tokens for one in selections),
    )


def _in_turn(evidence: Sequence[Sequence[Evidence]]) -> tuple[Evidence, ...]:
    """Return the first span of each part, then the second of each, none of them twice."""
    spans = chain.from_iterable(zip_longest(*evidence))
    return tuple(dict.fromkeys(span for span in spans if span is not None))


@dataclass(slots=True)
class PartsListener:
    """A listener to parts that tells another of the questions which they belong to.

    Args:
        listener: Hears of a question when all its parts are selected, and of its first part's text:
            what the others say comes with the answer.
        owners: For each part, the question that it belongs to, in order.
        num_evidence: The most spans of a question.
    """

    listener: AnswerListener
    owners: Sequence[int]
    num_evidence: int
    _selections: dict[int, list[Selection]] = field(default_factory=dict)

    def selected(self, index: int, selection: Selection) -> None:
        owner = self.owners[index]
        selections = self._selections.setdefault(owner, [])
        selections.append(selection)
        if len(selections) == self.owners.count(owner):  # not where a part could not be prepared
            joined = selection_of(self._selections.pop(owner), self.num_evidence)
            self.listener.selected(owner, joined)

    def text(self, index: int, text: str) -> None:
        owner = self.owners[index]
        is_first = index == 0 or self.owners[index - 1] != owner
        if is_first and owner not in self._selections:  # of a later batch: evidence comes first
            self.listener.text(owner, text)

    def stopped(self, index: int) -> bool:
        return self.listener.stopped(self.owners[index])
