"""Questions about a film, each with its answer and the spans of time that show it.

A question is asked only if the film has exactly one answer to it and, where the times of the frames
are given, only if those frames show it. `TYPES` names the kinds of question; each has one function
that draws one question of the kind, or none where this film has none.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from longvid.world.many_shot_questions import MANY_SHOT
from longvid.world.one_shot_questions import ONE_SHOT
from longvid.world.views import View, WorldQuestion, view

__all__ = [
    "ONE_SHOT_TYPES",
    "TYPES",
    "YES_NO_TYPES",
    "WorldQuestion",
    "ask",
    "view",
]

_DRAWS = {**ONE_SHOT, **MANY_SHOT}
TYPES = tuple(_DRAWS)
ONE_SHOT_TYPES = tuple(ONE_SHOT)
YES_NO_TYPES = ("exists", "yes_no_motion", "size")
"""Types with two answers."""


def ask(
    v: View,
    rng: np.random.Generator,
    num_questions: int,
    weights: Mapping[str, float] | None = None,
) -> list[WorldQuestion]:
    """Draw questions about a film, no two with the same text.

    Args:
        weights: how often each type is tried (default: all alike); a type that is missing is not
            tried.

    Returns:
        At most `num_questions` questions; fewer where the film has no more to ask.
    """
    names = list(TYPES if weights is None else weights)
    share = np.array([1.0 if weights is None else weights[name] for name in names])
    bounds = np.cumsum(share / share.sum())
    found: dict[str, WorldQuestion] = {}
    for _ in range(8 * num_questions):
        if len(found) >= num_questions:
            break
        name = names[min(int(np.searchsorted(bounds, rng.random())), len(names) - 1)]
        question = _DRAWS[name](v, rng)
        if question is not None:
            found.setdefault(question.text, question)
    return list(found.values())
