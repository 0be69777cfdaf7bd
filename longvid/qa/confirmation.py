"""Ask the language model whether what a search found shows what a question describes.

An embedder compares a whole frame with a whole sentence; a language model looks again. It is asked
about the best segments alone, a few at a time, and its answers are likelihoods of "yes", so no
words are generated.

Source: framesieve (github.com/AyushExel/framesieve), which has a language model confirm what its
search found.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from longvid.errors import LongvidError
from longvid.protocols import LanguageModel
from longvid.rerank.yes_or_no import CHOICES, yes_likelihood
from longvid.store import Hit
from longvid.types import Question, Segment, Selection

_REMEDY = "set ask.confirm_segments = 0"
#: A segment shows what is asked for where "yes" is likelier than "no".
_SHOWN = 0.5


@dataclass(frozen=True, slots=True)
class Confirmation:
    """What the language model said of the hits of a search.

    Args:
        hits: Those that it confirmed, then those that it did not, each in the order of the search.
        likelihoods: Of "yes" against "no", of the hits that it was asked about, in that order.
    """

    hits: list[Hit]
    likelihoods: tuple[float, ...]

    @property
    def is_shown(self) -> bool:
        """Whether any hit was confirmed."""
        return max(self.likelihoods, default=1.0) >= _SHOWN


def confirm(
    llm: LanguageModel,
    prompt: str,
    hits: Sequence[Hit],
    segments: Sequence[Segment],
    batch: int,
) -> Confirmation:
    """Ask about the best hits, one call each, and put those first that show what is asked for.

    Args:
        llm: Reads the segments' tokens.
        prompt: The question that "yes" or "no" answers.
        hits: Best first.
        segments: Of the first hits, in the same order; the others are not asked about.
        batch: Segments asked about in one pass.

    Raises:
        ModelError: A likelihood is no number.
        LongvidError: The model cannot read the question or the tokens.
    """
    question = Question(prompt, choices=CHOICES)
    asked = [
        (hit, (question, Selection((segment,), (), len(segment.tokens))))
        for hit, segment in zip(hits, segments, strict=False)
        if len(segment.tokens)
    ]
    likelihoods: list[float] = []
    for first in range(0, len(asked), batch):
        prompts = [selection for _, selection in asked[first : first + batch]]
        for generation in llm.answer_many(prompts):
            if isinstance(generation, LongvidError):
                raise generation
            likelihoods.append(yes_likelihood(generation.choice_scores, _REMEDY))
    seen = zip(asked, likelihoods, strict=True)
    shown = [hit for (hit, _), likelihood in seen if likelihood >= _SHOWN]
    return Confirmation([*shown, *(hit for hit in hits if hit not in shown)], tuple(likelihoods))
