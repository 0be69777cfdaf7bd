"""Answers that are lines of text: for words and footage that the language model cannot read."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace

from longvid.llm.quote import ALL_LISTED_NOTE, NOTE, NOTHING_FOUND, Quoter
from longvid.protocols import Generation
from longvid.qa.moment_of_line import FoundLines
from longvid.qa.text_search import TextSearch
from longvid.store import Store
from longvid.store.timed_text import RECOGNISED, text_fingerprints
from longvid.timed_text.words import (
    asked_source,
    asked_spans,
    clock,
    names_source_alone,
    sources_asked,
    text_name,
)
from longvid.types import Evidence, Question, Selection

_UNREAD = "the language model does not know these words or this footage"
_NOTHING = "no line of the videos' own text has enough of the question's words to be quoted"
QUOTED_NOTE = f"{_UNREAD}; the answer is the video's own text, {NOTE}"
NOTHING_QUOTED_NOTE = f"{_UNREAD}; {_NOTHING}"
#: Of more videos it is not asked for each whether its text was read.
_MOST_VIDEOS = 64
#: Lines with less than this share of the score of the one that is quoted support nothing.
_LEAST_SHARE = 0.5
#: What happens to the text of a source.
_HAPPENS = {"screen": "written", "text": "said or written"}
#: A text source of each kind that needs no checkpoint.
_READERS = {"screen": "screen_text", "speech": "pocketsphinx", "text": "screen_text"}


@dataclass(frozen=True, slots=True)
class LineQuotes:
    """Quotes lines, and says why there is none.

    Args:
        store: Holds the videos.
        search: Over its timed text.
        min_score: As of `Quote`.
    """

    store: Store
    search: TextSearch
    min_score: float

    def quote(self, found: FoundLines) -> Generation:
        """Answer by some lines, as the language model `quote` does.

        Where nothing is found because there is no such text, or none at that time or beside that
        line, the note says so.
        """
        question = found.question
        quote = Quoter(self.min_score).answer(question, Selection((), found.lines, 0))
        if found.beside is not None and quote.note == ALL_LISTED_NOTE:
            side = "follow" if found.is_after else "precede"
            at = clock(found.beside.start_seconds)
            return replace(quote, note=f"these are the lines that {side} the one at {at}")
        if quote.text != NOTHING_FOUND or quote.note:
            return quote
        missing = self._missing(question)
        return replace(quote, note=missing or _none_beside(found) or _untimely(question))

    def _missing(self, question: Question) -> str:
        """Say that a video has no line of the source that a question names, "" where it has."""
        asked = asked_source(question.text)
        if not asked or sources_asked(question.text, self.search.sources(question.video_ids)):
            return ""
        videos = self.store.videos()
        ids = question.video_ids or tuple(video.video.video_id for video in videos)
        paths = {video.video.video_id: video.video.path for video in videos}
        name = os.path.basename(paths[ids[0]]) if len(ids) == 1 else "the store"
        kinds = [kind for kind in RECOGNISED if asked in (kind, "text")]
        is_read = asked == "subtitle" or any(
            text_fingerprints(self.store, video_id, kind)
            for video_id in ids[:_MOST_VIDEOS]
            for kind in kinds
        )
        if is_read:
            return f"{name} holds no {text_name(asked)}"
        command = f"longvid text --store {self.store.uri} --source {_READERS[asked]}"
        return f"no text source has read the {text_name(asked)} of {name}; {command} does"


def _none_beside(found: FoundLines) -> str:
    """Say that no line is before or after the one that a question names, "" where it names none."""
    line = found.beside
    if line is None:
        return ""
    happens = _HAPPENS.get(asked_source(found.question.text), "said")
    side = "after" if found.is_after else "before"
    at, name = clock(line.start_seconds), os.path.basename(line.path)
    span = found.question.span
    within = f" from {clock(span[0])} to {clock(span[1])}" if span else ""
    return f"nothing is {happens}{within} {side} the line at {at} of {name}: {line.text}"


def _untimely(question: Question) -> str:
    """Say at what time there is no text of the source that a question names and nothing else."""
    if not names_source_alone(question.text):
        return ""
    times = [
        f"at {clock(start)}" if end - start <= 1 else f"from {clock(start)} to {clock(end)}"
        for start, end in asked_spans(question.text) or filter(None, [question.span])
    ]
    if not times:
        return ""
    return f"there is no {text_name(asked_source(question.text))} {' or '.join(times)}"


def quote_note(quote: Generation, *, in_place: bool) -> str:
    """Return the caveat of an answer that quotes.

    Args:
        quote: The answer.
        in_place: It stands for one of a language model that cannot read words or footage.
    """
    if quote.text == NOTHING_FOUND:
        return f"{_UNREAD}; {quote.note or _NOTHING}" if in_place else quote.note or _NOTHING
    return "; ".join(filter(None, (QUOTED_NOTE if in_place else NOTE, quote.note)))


def supporting_lines(quote: Generation, lines: Sequence[Evidence]) -> tuple[Evidence, ...]:
    """Return the lines that support a quote: those quoted, and then those found about as well.

    Args:
        quote: An answer by lines.
        lines: Among which it was chosen.

    Returns:
        No line where nothing was found; all where an option was chosen by them.
    """
    if quote.text == NOTHING_FOUND:
        return ()
    said = [line for line in lines if line.text]
    quoted = [line for line in said if line.text in quote.text]
    if quote.choice is not None or not quoted:
        return tuple(said)
    least = _LEAST_SHARE * max(line.score for line in quoted)
    others = [line for line in said if line not in quoted and 0 < least <= line.score]
    return (*quoted, *sorted(others, key=lambda line: -line.score))
