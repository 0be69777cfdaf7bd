"""Look at what a model wrote as a whole: a broken model answers everything alike, or nothing."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

_REPEATED = re.compile(r"(.)\1{5,}|\b(\w+)(?:\W+\2\b){4,}", re.DOTALL)
_LONG_CHARS = 400
_MOST_KINDS = 10_000
_SUSPICIOUS_SHARE = 0.6
_FEWEST_CHOICES = 10


class Outputs:
    """Counts answers. Different ones are told apart up to a bound, so memory stays flat."""

    def __init__(self) -> None:
        self._kinds: Counter[str] = Counter()
        self._chosen: Counter[int | None] = Counter()
        self._golds: Counter[int] = Counter()
        self._other = self._empty = self._repeated = self._long = 0

    def add_choice(self, choice: int | None, gold: int | None) -> None:
        """Take in which option was chosen, None if the reply could not be read."""
        self._chosen[choice] += 1
        if gold is not None:
            self._golds[gold] += 1

    def add(self, answer: str) -> None:
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
        warnings += self._about_choices()
        return {
            "open_answers": opened,
            "different": len(self._kinds),
            "empty": self._empty,
            "repetitive": self._repeated,
            "long": self._long,
            "commonest": [[text[:60], count] for text, count in common],
            "choices": sum(self._chosen.values()),
            "chosen": {
                "unparsed" if choice is None else letter(choice): count
                for choice, count in sorted(
                    self._chosen.items(), key=lambda item: (item[0] is None, item[0])
                )
            },
            "warnings": warnings,
        }

    def _about_choices(self) -> Iterator[str]:
        total, unread = sum(self._chosen.values()), self._chosen[None]
        if total < _FEWEST_CHOICES:
            return
        if unread > 0.05 * total:
            yield f"{unread} of {total} replies to multiple-choice questions name no single option."
        counts = [(count, choice) for choice, count in self._chosen.items() if choice is not None]
        count, choice = max(counts, default=(0, 0))
        read = total - unread
        gold_share = self._golds[choice] / max(1, sum(self._golds.values()))
        # Options of unlike texts may truly be right more often than others.
        if read >= _FEWEST_CHOICES and count > (_SUSPICIOUS_SHARE + gold_share / 2) * read:
            yield (
                f"{count} of {read} replies choose {letter(choice)}: the model may prefer a letter "
                "to what it sees."
            )


def letter(choice: int) -> str:
    return chr(ord("A") + choice)
