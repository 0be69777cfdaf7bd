"""Questions about the moment at which something is said or written."""

from __future__ import annotations

import re
from dataclasses import dataclass

from longvid.timed_text.words import asked_source, names_source_alone
from longvid.types import Evidence, Question

_LAST = re.compile(r"(?P<main>.+?),?\s+(?:when|while|as)\s+(?P<clause>.+?)[?.!\s]*", re.I | re.S)
_FIRST = re.compile(r"\W*(?:when|while|as)\s+(?P<clause>[^,]+),\s*(?P<main>.+)", re.I | re.S)
_BESIDE = re.compile(
    r"(?P<main>.+?),?\s+(?:right\s+|just\s+)?(?P<side>after|before)\s+(?P<clause>.+?)[?.!\s]*",
    re.I | re.S,
)


@dataclass(frozen=True, slots=True)
class FoundLines:
    """The lines among which one is quoted.

    Args:
        question: What they are to answer.
        lines: Best first; in time order where a source is listed, or they are beside a line.
        beside: The line that they are before or after; None where the question names none.
        is_after: They are after it.
    """

    question: Question
    lines: tuple[Evidence, ...]
    beside: Evidence | None = None
    is_after: bool = False


def split_beside(question: str) -> tuple[str, bool, str] | None:
    """Split a question about the text before or after a line.

    >>> split_beside("What is said after Greenbelt?")
    ('What is said?', True, 'Greenbelt')
    >>> split_beside("What does he say before he mentions ice?")
    ('What does he say?', False, 'he mentions ice')
    >>> split_beside("What does he say about whales after dinner?")

    Returns:
        What is asked, whether it is after the line, and what the line is about; None where the
        question asks for anything else.
    """
    match = _BESIDE.fullmatch(question)
    if match is None or not names_source_alone(match["main"]):
        return None
    return match["main"].rstrip("?.! ") + "?", match["side"].casefold() == "after", match["clause"]


def split_at_moment(question: str) -> tuple[str, str] | None:
    """Split a question about a moment that somebody speaks of, or that a sign names.

    >>> split_at_moment("What color is the star when she mentions krill?")
    ('What color is the star?', 'she mentions krill')
    >>> split_at_moment("While the narrator speaks of ice, what is behind him?")
    ('what is behind him?', 'the narrator speaks of ice')

    Returns:
        What is asked, and the clause; None where no clause names speech or text on the screen.
    """
    for form in (_FIRST, _LAST):
        match = form.fullmatch(question)
        if match is not None and asked_source(match["clause"]):
            return match["main"].rstrip("?.! ") + "?", match["clause"].strip()
    return None
