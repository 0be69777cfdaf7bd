"""Look at what a model wrote as a whole: a broken model answers everything alike, or nothing."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

__all__ = ["Outputs"]

_REPEATED = re.compile(r"(.)\1{5,}|\b(\w+)(?:\W+\2\b){4,}", re.DOTALL)
_LONG_CHARS = 400
_MOST_KINDS = 10_000
_SUSPICIOUS_SHARE = 0.6


class Outputs:
    """Counts answers. Different ones are told apart up to a bound, so memory stays flat."""

    def __init__(self) -> None:
        self._kinds: Counter[str] = Counter()
        self._other = self._total = self._empty = self._repeated = self._long = 0

    def add(self, answer: str, is_choice: bool) -> None:
        """Take in one answer; a chosen option may be whatever the annotations say."""
        self._total += 1
        if is_choice:
            return
        text = answer.strip()
        self._empty += not text
        self._repeated += bool(_REPEATED.search(text))
        self._long += len(text) > _LONG_CHARS
        if text in self._kinds or len(self._kinds) < _MOST_KINDS:
            self._kinds[text] += 1
        else:
            self._other += 1

    def summary(self) -> dict[str, Any]:
        """Return shares, the commonest answers, and sentences about what looks broken."""
        opened = sum(self._kinds.values()) + self._other
        common = self._kinds.most_common(5)
        warnings = []
        if opened >= 10 and common and common[0][1] > _SUSPICIOUS_SHARE * opened:
            warnings.append(
                f"{common[0][1]} of {opened} open answers are {common[0][0]!r}: the model may not "
                "see the video."
            )
        for count, what in (
            (self._empty, "empty"),
            (self._repeated, "repetitions of one sign or word"),
            (self._long, f"longer than {_LONG_CHARS} characters"),
        ):
            if count > 0.05 * max(opened, 1):
                warnings.append(f"{count} of {opened} open answers are {what}.")
        return {
            "open_answers": opened,
            "different": len(self._kinds),
            "empty": self._empty,
            "repetitive": self._repeated,
            "long": self._long,
            "commonest": [[text[:60], count] for text, count in common],
            "warnings": warnings,
        }
