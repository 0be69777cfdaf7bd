"""The text that a question is searched by."""

from __future__ import annotations

import re

from longvid.types import Question

#: Words that stand for something named before.
_REFERRING = frozenset(
    (
        *("it", "its", "itself", "he", "him", "his", "she", "her", "hers", "they", "them", "their"),
        *("theirs", "this", "that", "these", "those", "there", "then", "one", "ones", "same"),
        *("again", "else", "former", "latter", "before", "after", "afterwards", "next"),
    )
)
_BEGINNINGS = ("and", "but", "or", "so", "why", "what about", "how about", "how come")
#: A longer question describes what it is about, whatever it refers to.
_MOST_WORDS = 8


def search_text(question: Question) -> str:
    """Return the text that is searched for: a follow-up takes the question before along.

    A question that refers to nothing before it is searched by itself, as if it stood alone.

    >>> before = (("where is the star?", "left"),)
    >>> search_text(Question("and its color?", history=before))
    'where is the star? and its color?'
    >>> search_text(Question("where is the circle?", history=before))
    'where is the circle?'
    """
    text = question.text.casefold()
    words = re.findall(r"\w+", text)
    refers = not _REFERRING.isdisjoint(words) or any(
        re.match(rf"\W*{beginning}\b", text) for beginning in _BEGINNINGS
    )
    if question.history and refers and len(words) <= _MOST_WORDS:
        return f"{question.history[-1][0]} {question.text}"
    return question.text
