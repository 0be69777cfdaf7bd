"""A film as its frames show it: what can be asked, and how things can be named."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from longvid.models.mini_vocabulary import COLORS, SHAPES
from longvid.world.scene import APPEARS, CHANGES, COLLIDES, VANISHES, Film, Thing

T = TypeVar("T")

SIGN_SLOT = 4
"""Number of a shot's sign among its things, of which there are at most four."""


@dataclass(frozen=True, slots=True)
class WorldQuestion:
    """One question: its kind, text and answer, and where the answer is to be seen.

    `evidence` are the spans of `shots` in seconds; `things` are the (shot, number) of the things
    the answer is read from, `SIGN_SLOT` for the shot's sign, and may be empty.
    """

    type: str
    text: str
    answer: str
    shots: tuple[int, ...]
    evidence: tuple[tuple[float, float], ...]
    things: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Seen:
    """A thing as the frames show it."""

    shot: int
    slot: int
    thing: Thing
    visible: bool
    before: bool
    after: bool
    contact: bool
    moves: bool

    @property
    def shows_event(self) -> bool:
        """Tell whether the frames show what happens to it."""
        if self.thing.event == COLLIDES:
            return self.before and self.after and self.contact
        return self.before and self.after


class View:
    """A film with the counts that tell which descriptions are unique in it."""

    def __init__(self, film: Film, pts_seconds: np.ndarray | None) -> None:
        self.film = film
        if pts_seconds is None:
            fractions = [np.linspace(0.02, 0.98, 25)] * len(film.shots)
        else:
            index, fraction = film.locate(np.asarray(pts_seconds, dtype=np.float64))
            fractions = [fraction[index == i] for i in range(len(film.shots))]
        self.shown = [i for i, f in enumerate(fractions) if len(f)]
        self.things: list[Seen] = []
        self.whole: dict[int, bool] = {}
        for shot in self.shown:
            things = enumerate(film.shots[shot].things)
            seen = [_look(shot, slot, thing, fractions[shot]) for slot, thing in things]
            self.whole[shot] = all(item.visible for item in seen)
            self.things.extend(seen)
        self.pairs: Counter[tuple[int, int]] = Counter()
        self.shapes: Counter[int] = Counter()
        self.colors: Counter[int] = Counter()
        for item in self.things:
            thing = item.thing
            self.shapes[thing.shape] += 1
            for color in {thing.color, thing.color_after}:
                self.colors[color] += 1
                self.pairs[thing.shape, color] += 1
        self.signs = Counter(film.shots[i].sign for i in self.shown if film.shots[i].sign >= 0)

    @property
    def single(self) -> bool:
        """Tell whether only one shot is shown."""
        return len(self.shown) == 1

    def question(
        self, type: str, text: str, answer: str, *places: int | Seen | tuple[int, int]
    ) -> WorldQuestion:
        """Make a question; `places` are the shots, or the things in them, that show its answer."""
        shots: set[int] = set()
        things: list[tuple[int, int]] = []
        for place in places:
            if isinstance(place, int):
                shots.add(place)
                continue
            pair = (place.shot, place.slot) if isinstance(place, Seen) else place
            shots.add(pair[0])
            things.append(pair)
        order = tuple(sorted(shots))
        evidence = tuple(self.film.span(i) for i in order)
        return WorldQuestion(type, text, answer, order, evidence, tuple(things))

    def unique_sign(self, shot: int) -> bool:
        """Tell whether a shot has a sign that no other shot has."""
        sign = self.film.shots[shot].sign
        return sign >= 0 and self.signs[sign] == 1


def view(film: Film, pts_seconds: np.ndarray | None = None) -> View:
    """Prepare a film for asking; `pts_seconds` are the frames seen (default: all)."""
    return View(film, pts_seconds)


def _look(shot: int, slot: int, thing: Thing, fractions: np.ndarray) -> Seen:
    at = thing.event_at
    early, late = bool((fractions < at - 0.02).any()), bool((fractions > at + 0.02).any())
    visible = True
    if thing.event == APPEARS:
        visible = late
    elif thing.event == VANISHES:
        visible = early
    contact = bool((np.abs(fractions - at) < 0.13).any())
    moves = len(fractions) >= 3 and float(fractions.max() - fractions.min()) >= 0.45
    return Seen(shot, slot, thing, visible, early, late, contact, moves)


#: Draws one question of a kind, or None where a film has none.
Draw = Callable[[View, np.random.Generator], WorldQuestion | None]


def one(rng: np.random.Generator, items: Sequence[T]) -> T:
    """Pick one item."""
    return items[int(rng.random() * len(items))]


def unique_name(v: View, item: Seen, rng: np.random.Generator) -> str | None:
    """Describe a thing so that the description fits nothing else in the film."""
    thing = item.thing
    names = []
    changes = thing.event == CHANGES
    if v.shapes[thing.shape] == 1:
        names.append(SHAPES[thing.shape])
    if not changes and v.pairs[thing.shape, thing.color] == 1:
        names.append(f"{COLORS[thing.color]} {SHAPES[thing.shape]}")
    if not changes and v.colors[thing.color] == 1:
        names.append(f"{COLORS[thing.color]} object")
    return one(rng, names) if names else None


def shuffled(v: View, rng: np.random.Generator) -> list[Seen]:
    """Return the visible things in a random order."""
    return [v.things[int(i)] for i in rng.permutation(len(v.things)) if v.things[int(i)].visible]
