"""Questions about the moment at which something is said or written."""

from __future__ import annotations

import re

from longvid.timed_text.words import asked_source

_LAST = re.compile(r"(?P<main>.+?),?\s+(?:when|while|as)\s+(?P<clause>.+?)[?.!\s]*", re.I | re.S)
_FIRST = re.compile(r"\W*(?:when|while|as)\s+(?P<clause>[^,]+),\s*(?P<main>.+)", re.I | re.S)


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
