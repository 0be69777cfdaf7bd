"""A library of drawn films in which some things are shown in one shot of all films."""

from __future__ import annotations

import dataclasses

import numpy as np

from benchmarks.tasks.world.suites import Suite, plant_pairs
from longvid.models.mini_vocabulary import SIGNS
from longvid.world.scene import Film, generator, make_film

#: Ten minutes a film; what is unique is planted over all of them together.
LIBRARY = Suite("library", 600, 200, 0, 0, 2, 64, 1.0, 4, ())

_NUM_SIGNS, _NUM_PAIRS = 14, 7
_SEED_OFFSET = 700_000


def draw_library(seed: int, num_films: int) -> list[Film]:
    """Draw films of ten minutes with 14 signs and 7 pairs that one shot of all of them has.

    Args:
        seed: The range of seeds.
        num_films: At least one.
    """
    seed += _SEED_OFFSET
    films = [make_film(seed, i, duration_seconds=LIBRARY.seconds) for i in range(num_films)]
    whole = dataclasses.replace(films[0], shots=tuple(shot for f in films for shot in f.shots))
    rng = generator(seed + 1, num_films)
    whole = plant_pairs(_with_signs(whole, rng), rng, _NUM_PAIRS)
    planted, first = [], 0
    for film in films:
        last = first + len(film.shots)
        planted.append(dataclasses.replace(film, shots=whole.shots[first:last]))
        first = last
    return planted


def _with_signs(film: Film, rng: np.random.Generator) -> Film:
    """Leave each of some signs to one shot; other shots that had it get a sign of the others."""
    order = [int(i) for i in rng.permutation(len(SIGNS))]
    rare, common = order[:_NUM_SIGNS], order[_NUM_SIGNS:]
    at = dict(zip((int(i) for i in rng.permutation(len(film.shots))), rare, strict=False))
    shots = []
    for index, shot in enumerate(film.shots):
        sign = at.get(index, shot.sign)
        if index not in at and sign in rare:
            sign = common[index % len(common)]
        shots.append(dataclasses.replace(shot, sign=sign))
    return dataclasses.replace(film, shots=tuple(shots))
