"""What answers say of damage: a video that was left out might have answered otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from longvid.store import Store
from longvid.types import Answer, Failure

#: So many damaged videos are named; the check of the store names all.
_MOST_NAMED = 3


def damage_notes(store: Store) -> list[str]:
    """Return a sentence for each damaged video that a search leaves out, up to three."""
    sentences = list(store.damaged().values())
    if len(sentences) > _MOST_NAMED:
        more = len(sentences) - _MOST_NAMED
        rest = f"{more} more of its objects are damaged; longvid store verify names them."
        return [*sentences[:_MOST_NAMED], rest]
    return sentences


def with_damage(answer: Answer, store: Store) -> Answer:
    """Add to an answer's note which videos of its store are damaged."""
    return _noted(answer, damage_notes(store))


def all_with_damage(answers: Sequence[Answer | Failure], store: Store) -> list[Answer | Failure]:
    """Add to each answer's note which videos of their store are damaged."""
    sentences = damage_notes(store)
    return [_noted(one, sentences) if isinstance(one, Answer) else one for one in answers]


def _noted(answer: Answer, sentences: Sequence[str]) -> Answer:
    new = [sentence for sentence in sentences if sentence not in answer.note]
    return replace(answer, note=" ".join(filter(None, (answer.note, *new))))
