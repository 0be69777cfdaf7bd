"""Which part of a video a kind of question is shown, decided by rules and no language model."""

from __future__ import annotations

import dataclasses

from longvid.config import Ask
from longvid.question_form import QuestionKind, kind_of

#: What came before or after a moment is in the segments around it.
_ORDER_CONTEXT = 2


@dataclasses.dataclass(frozen=True, slots=True)
class Route:
    """How one question is put to a store.

    Args:
        ask: The settings for it.
        spreads: Show frames spread over the whole video, whatever the search finds.
        only_fitting: Show no segment that scores less than `ask.fitting`.
        names_place: The question's words are known to be about places, not about a whole video.
    """

    ask: Ask
    spreads: bool = False
    only_fitting: bool = False
    names_place: bool = False


def route_of(text: str, ask: Ask) -> Route:
    """Return how a question is put to a store.

    A question about one place is shown the best segment, one about what comes before or after it
    the segments around it too, one that counts every segment that fits, and one about a whole
    video frames spread over it. With `ask.route` of "none" all are put alike.

    Args:
        text: The question.
        ask: The settings for every question.
    """
    if ask.route == "none" or not ask.num_segments:
        return Route(ask)
    kind = kind_of(text)
    if kind is QuestionKind.GLOBAL:
        return Route(ask, spreads=True)
    if kind is QuestionKind.COUNT:
        most = max(ask.num_segments, ask.num_rescored)
        counted = dataclasses.replace(ask, num_segments=most)
        return Route(counted, only_fitting=True, names_place=True)
    context = ask.context_segments
    if kind is QuestionKind.ORDER:
        context = max(context, _ORDER_CONTEXT)
    one = dataclasses.replace(ask, num_segments=1, context_segments=context)
    return Route(one, names_place=True)
