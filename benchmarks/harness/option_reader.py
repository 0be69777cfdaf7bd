"""Read the option that a model chose from what it wrote. What cannot be read is not guessed."""

from __future__ import annotations

import re
from collections.abc import Sequence

__all__ = ["chosen_option"]

_LETTER = "([A-{last}])"
# Strong statements first: a later rule counts only if no earlier one found anything.
_RULES = (
    r"\\boxed\{{\s*{letter}\s*\}}",
    r"\b(?i:answer|option|choice)\s*(?:is|:)?\s*:?\s*\(?\*{{0,2}}{letter}\b\*{{0,2}}",
    r"\({letter}\)",
    r"^\s*\*{{0,2}}{letter}\s*(?:[.):,]|\*|$)",
    r"(?<![\w']){letter}[.)](?!\w)",
)


def chosen_option(text: str, options: Sequence[str]) -> int | None:
    """Return the index of the option that a text names, None if it names none.

    "B", "(B)", "B.", "the answer is B", "\\boxed{B}" and the full text of an option count; of
    several the last one does.

    >>> chosen_option("The answer is (B).", ("red", "blue"))
    1
    >>> chosen_option("It is hard to tell.", ("red", "blue")) is None
    True
    """
    last = chr(ord("A") + len(options) - 1)
    for rule in _RULES:
        pattern = rule.format(letter=_LETTER.format(last=last))
        found = list(re.finditer(pattern, text, re.MULTILINE))
        if found:
            return ord(found[-1][1]) - ord("A")
    lowered = text.strip().lower()
    if len(lowered) == 1 and "a" <= lowered <= last.lower():
        return ord(lowered) - ord("a")
    return _by_text(lowered, options)


def _by_text(text: str, options: Sequence[str]) -> int | None:
    """Find the option whose text stands last; of two that end together the longer one wins."""
    ends = []
    for index, option in enumerate(options):
        words = option.strip().strip(".").lower()
        found = list(re.finditer(rf"(?<!\w){re.escape(words)}(?!\w)", text)) if words else []
        if found:
            ends.append((found[-1].end(), found[-1].end() - found[-1].start(), -index))
    return -max(ends)[2] if ends else None
