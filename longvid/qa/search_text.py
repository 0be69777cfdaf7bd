"""The text that a question is searched by."""

from __future__ import annotations

import re

from longvid.types import Question

__all__ = ["search_text"]

#: Words that say nothing of what is looked for.
_FUNCTION_WORDS = frozenset(
    (
        *("a", "an", "and", "are", "as", "at", "be", "but", "by", "did", "do", "does", "for"),
        *("from", "had", "has", "have", "he", "her", "his", "how", "i", "in", "is", "it", "its"),
        *("me", "my", "of", "on", "or", "she", "so", "that", "the", "their", "them", "then"),
        *("there", "these", "they", "this", "those", "to", "was", "we", "were", "what", "when"),
        *("where", "which", "who", "whom", "whose", "why", "will", "with", "you", "your"),
    )
)
_LEAST_CONTENT_WORDS = 4


def search_text(question: Question) -> str:
    """Return the text that is searched for: a short follow-up takes the question before along.

    >>> search_text(Question("and its color?", history=(("where is the star?", "left"),)))
    'where is the star? and its color?'
    """
    words = re.findall(r"\w+", question.text.casefold())
    content = [word for word in words if word not in _FUNCTION_WORDS]
    if question.history and len(content) < _LEAST_CONTENT_WORDS:
        return f"{question.history[-1][0]} {question.text}"
    return question.text
