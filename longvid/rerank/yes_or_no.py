"""How likely a language model finds "yes", of what it was asked to answer with yes or no."""

from __future__ import annotations

import math
from collections.abc import Sequence

from longvid.errors import ModelError

#: What `yes_likelihood` compares, in this order.
CHOICES = ("yes", "no")


def yes_likelihood(scores: Sequence[float], remedy: str) -> float:
    """Return the likelihood of "yes" against "no", in [0, 1].

    Args:
        scores: The logarithms of both likelihoods.
        remedy: What to do where they are no numbers, for the sentence that says so.

    Raises:
        ModelError: They are not two finite numbers.
    """
    if len(scores) != len(CHOICES) or not all(map(math.isfinite, scores)):
        raise ModelError(
            f"The language model scored yes and no as {list(scores)}, which are no two numbers; "
            f"check its weights, or {remedy}."
        )
    return 1 / (1 + math.exp(scores[1] - scores[0]))
