"""How well a question's text alone answers it: the baseline every figure stands beside.

    python -m longvid.world.prior --shots 1 6

The guesser is fitted on other films: it says the answer that the same text had most often, and for
a text met too rarely the one that its pattern had (the text with shapes, colours and signs
blanked).
"""

from __future__ import annotations

import argparse
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

import numpy as np

from longvid.models.mini_vocabulary import COLORS, PLURALS, SHAPES, SIGNS
from longvid.world.questions import TYPES, YES_NO_TYPES, WorldQuestion, ask, view
from longvid.world.scene import generator, make_film

LIMIT_TWO_WAY, LIMIT_OPEN = 0.55, 0.30
MIN_SEEN = 12

_BLANKS = (
    (re.compile(r"\b(" + "|".join(PLURALS.values()) + r")\b"), "SHAPES"),
    (re.compile(r"\b(" + "|".join(SHAPES) + r")\b"), "SHAPE"),
    (re.compile(r"\b(" + "|".join(COLORS) + r")\b"), "COLOR"),
    (re.compile(r"\bsign (" + "|".join(SIGNS) + r")\b"), "SIGN"),
)


def pattern(text: str) -> str:
    """Blank the shapes, colours and signs of a question.

    >>> pattern("what color is the star with sign k ?")
    'what color is the SHAPE with SIGN ?'
    """
    for expression, blank in _BLANKS:
        text = expression.sub(blank, text)
    return text


class TextGuesser:
    """Answer from the question's text, by what was most common."""

    def __init__(self, questions: Iterable[WorldQuestion]) -> None:
        self._by_text: dict[str, Counter[str]] = defaultdict(Counter)
        self._by_pattern: dict[str, Counter[str]] = defaultdict(Counter)
        for question in questions:
            self._by_text[question.text][question.answer] += 1
            self._by_pattern[pattern(question.text)][question.answer] += 1

    def guess(self, text: str) -> str:
        """Return the commonest answer; ties go to the first in the alphabet."""
        counts = self._by_text.get(text, Counter())
        if sum(counts.values()) < MIN_SEEN:
            counts = self._by_pattern.get(pattern(text), Counter({"": 1}))
        return min(counts, key=lambda answer: (-counts[answer], answer))


def draw_questions(
    seed: int, num_films: int, num_shots: int, num_frames: int, per_film: int = 12
) -> list[WorldQuestion]:
    """Draw questions about films as an answerer with evenly spread frames gets them."""
    found: list[WorldQuestion] = []
    for index in range(num_films):
        film = make_film(seed, index, num_shots=num_shots)
        times = (np.arange(num_frames) + 0.5) / num_frames * film.duration_seconds
        found.extend(ask(view(film, times), generator(seed + 1, index), per_film))
    return found


def text_only_accuracy(
    num_shots: int, num_frames: int, num_films: int = 6000, seed: int = 880_001
) -> dict[str, tuple[float, int]]:
    """Fit the guesser on films of one seed and score it on films of another.

    Returns:
        For each type the accuracy and the number of questions scored.
    """
    guesser = TextGuesser(draw_questions(seed, num_films, num_shots, num_frames))
    right: Counter[str] = Counter()
    total: Counter[str] = Counter()
    for question in draw_questions(seed + 100, num_films // 2, num_shots, num_frames):
        total[question.type] += 1
        right[question.type] += guesser.guess(question.text) == question.answer
    return {name: (right[name] / total[name], total[name]) for name in TYPES if total[name]}


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the text-only baseline of every type; exit 1 if one is above its limit."""
    parser = argparse.ArgumentParser(prog="python -m longvid.world.prior")
    parser.add_argument("--shots", type=int, nargs="+", default=[1, 6])
    parser.add_argument("--films", type=int, default=6000)
    options = parser.parse_args(arguments)
    above = False
    for num_shots in options.shots:
        rows = text_only_accuracy(num_shots, 8 if num_shots == 1 else 4 * num_shots, options.films)
        print(f"{num_shots} shot(s)")
        for name, (accuracy, count) in rows.items():
            limit = LIMIT_TWO_WAY if name in YES_NO_TYPES else LIMIT_OPEN
            above |= accuracy > limit
            mark = "  above its limit" if accuracy > limit else ""
            print(f"  {name:14s} {accuracy:.3f}  n={count}{mark}")
    return 1 if above else 0


if __name__ == "__main__":
    raise SystemExit(main())
