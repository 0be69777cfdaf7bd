"""The films and questions of the yardstick: six lengths, two ranges of seeds.

A film and its questions follow from (seed, suite, index) alone. Films of ten minutes and more hold
needles: signs shown in one shot only, and shapes in a colour that they have in one shot only, so
that a question can name one place among hundreds of shots.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from dataclasses import dataclass

import numpy as np

from longvid.models.mini_vocabulary import COLORS, SHAPES, SIGNS
from longvid.world.prior import TextGuesser
from longvid.world.questions import ONE_SHOT_TYPES, TYPES, ask, view
from longvid.world.scene import CHANGES, NOTHING, Film, Shot, generator, make_film
from longvid.world.views import WorldQuestion

TEST_SEED = 31_000_000
"""Films that figures are reported on; nothing was chosen by them."""

TUNING_SEED = 41_000_000
"""Films that settings were chosen by."""

_PRIOR_SEED = 51_000_000
"""Films that the text-only guesser learns from."""

UNANSWERED = ("times",)
"""Types that mini answers no better than their text does: they can judge nothing, and are left out.

They are drawn and then dropped, so that the other questions do not depend on this choice.
"""

_HOP_SHARE = 0.25
_HOP_ROUNDS = 12

_NEEDLE_TYPES = (
    "where",
    "size",
    "motion",
    "event",
    "sign_read",
    "background",
    "sign_ref",
    "count",
    "before",
    "after",
)


@dataclass(frozen=True, slots=True)
class Suite:
    """Films of one length and how they are written, indexed and asked about.

    Args:
        name: As it is printed.
        seconds: The least duration; 0 for films of one shot, which last ten seconds on average.
        num_films: In a full run.
        questions_per_film: At most.
        num_needles: Signs, and as many pairs of shape and colour, shown in one shot only.
        file_fps, file_size: Of the H.264 file, frames a second and pixels.
        sample_fps: At which it is indexed.
        grid: Side of the grid of tokens that is kept of the 8x8 patches of a frame.
        types: Asked.
    """

    name: str
    seconds: float
    num_films: int
    questions_per_film: int
    num_needles: int
    file_fps: int
    file_size: int
    sample_fps: float
    grid: int
    types: tuple[str, ...]

    @property
    def number(self) -> int:
        """Return what sets this suite's seeds apart from another's."""
        return int(self.seconds)


SUITES = {
    suite.name: suite
    for suite in (
        Suite("10 s", 0, 48, 7, 0, 25, 128, 2.0, 8, ONE_SHOT_TYPES),
        Suite("1 min", 60, 32, 9, 0, 12, 128, 2.0, 8, TYPES),
        Suite("10 min", 600, 16, 16, 4, 5, 96, 2.0, 4, (*_NEEDLE_TYPES, "first_last")),
        Suite("1 h", 3600, 8, 26, 6, 2, 64, 1.0, 4, _NEEDLE_TYPES),
        Suite("3 h", 10_800, 6, 34, 6, 2, 64, 1.0, 4, _NEEDLE_TYPES),
        Suite("10 h", 36_000, 3, 34, 6, 2, 64, 1.0, 4, _NEEDLE_TYPES),
    )
}


def draw_film(suite: Suite, seed: int, index: int) -> Film:
    """Draw one film of a suite."""
    seed += suite.number
    if not suite.seconds:
        return make_film(seed, index)
    film = make_film(seed, index, duration_seconds=suite.seconds, num_needles=suite.num_needles)
    return plant_pairs(film, generator(seed + 100_000, index), suite.num_needles)


def plant_pairs(film: Film, rng: np.random.Generator, count: int) -> Film:
    """Make `count` pairs of shape and colour unique: other things of that pair change colour.

    Pairs are taken from things that keep their colour, in different shots. The colour that
    another thing takes instead follows from its place in the film.

    Args:
        film: Any film.
        rng: Decides which things become needles.
        count: At most so many; 0 returns the film.
    """
    if not count:
        return film
    needles: dict[tuple[int, int], tuple[int, int]] = {}
    for shot in (int(i) for i in rng.permutation(len(film.shots))):
        slot = int(rng.random() * len(film.shots[shot].things))
        thing = film.shots[shot].things[slot]
        if thing.event == NOTHING and (thing.shape, thing.color) not in needles:
            needles[thing.shape, thing.color] = (shot, slot)
        if len(needles) == count:
            break
    shots = [_without(shot, index, needles) for index, shot in enumerate(film.shots)]
    return dataclasses.replace(film, shots=tuple(shots))


def _without(shot: Shot, index: int, needles: dict[tuple[int, int], tuple[int, int]]) -> Shot:
    """Recolour the things of a shot that have the pair of a needle and are not that needle."""
    things = []
    for slot, thing in enumerate(shot.things):
        others = {pair for pair, at in needles.items() if at != (index, slot)}
        free = [c for c in range(len(COLORS)) if (thing.shape, c) not in others]
        # Every shape keeps a free colour: there are fewer needles than colours.
        color, after = thing.color, thing.color_after
        if (thing.shape, color) in others:
            color = free[(index + slot) % len(free)]
        if thing.event != CHANGES:
            after = color
        elif (thing.shape, after) in others or after == color:
            left = [c for c in free if c != color]
            after = left[(index + slot) % len(left)]
        things.append(dataclasses.replace(thing, color=color, color_after=after))
    return dataclasses.replace(shot, things=tuple(things))


def draw_questions(suite: Suite, seed: int, index: int, film: Film) -> list[WorldQuestion]:
    """Draw the questions about one film, as the frames that are indexed show it."""
    drawn = _drawn(suite, seed, index, film)
    return [question for question in drawn if question.type not in UNANSWERED]


def _drawn(suite: Suite, seed: int, index: int, film: Film) -> list[WorldQuestion]:
    seen = view(film, np.arange(0.0, film.duration_seconds, 1.0 / suite.sample_fps))
    rng = generator(seed + suite.number + 200_000, index)
    wanted = suite.questions_per_film
    if not suite.num_needles:
        return ask(seen, rng, wanted, dict.fromkeys(suite.types, 1.0))
    # Few of many shots can be named, so questions about their neighbours need more tries.
    hops: dict[str, WorldQuestion] = {}
    for _ in range(_HOP_ROUNDS):
        if len(hops) >= wanted * _HOP_SHARE:
            break
        found = ask(seen, rng, 1 + int(wanted * _HOP_SHARE), {"before": 1.0, "after": 1.0})
        hops.update((question.text, question) for question in found)
    hop = list(hops.values())[: int(wanted * _HOP_SHARE)]
    plain = dict.fromkeys([name for name in suite.types if name not in ("before", "after")], 1.0)
    return [*ask(seen, rng, wanted - len(hop), plain), *hop]


@functools.cache
def prior_guesser(suite: Suite) -> TextGuesser:
    """Fit the text-only guesser on other films of the same kind, a few hundred questions a type.

    Hours are stood in for by ten minutes with the same needles: the answers' frequencies do not
    depend on how many other shots there are.
    """
    stand_in = suite if suite.seconds <= 600 else dataclasses.replace(suite, seconds=600.0)
    num_films, per_film = (3000, 12) if suite.seconds < 600 else (250, 60)
    asked = dataclasses.replace(stand_in, questions_per_film=per_film)
    questions: list[WorldQuestion] = []
    for index in range(num_films):
        film = draw_film(stand_in, _PRIOR_SEED, index)
        questions.extend(draw_questions(asked, _PRIOR_SEED, index, film))
    return TextGuesser(questions)


def named_by(question: WorldQuestion) -> str:
    """Say how a question names its place: "sign", "pair" (colour and shape), or "other".

    Questions about the shot before or after the named one are "sign, next shot" and
    "pair, next shot".
    """
    words = question.text.split()
    following = ", next shot" if question.type in ("before", "after") else ""
    if "sign" in words and words[words.index("sign") + 1] in SIGNS:
        return "sign" + following
    pairs = itertools.pairwise(words)
    if any(color in COLORS and shape in SHAPES for color, shape in pairs):
        return "pair" + following
    return "other"
