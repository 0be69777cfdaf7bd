from __future__ import annotations

import numpy as np
import pytest

from longvid.models.mini_vocabulary import MOTIONS
from longvid.world.scene import CENTERS, CHANGES, COLLIDES, make_film


def test_a_film_is_a_function_of_seed_and_index() -> None:
    assert make_film(3, 5, num_shots=4) == make_film(3, 5, num_shots=4)
    assert make_film(3, 5, num_shots=4) != make_film(3, 6, num_shots=4)
    assert make_film(3, 5, num_shots=4) != make_film(4, 5, num_shots=4)


def test_shots_last_four_to_twenty_seconds_and_fill_the_film() -> None:
    film = make_film(1, 0, duration_seconds=600.0)
    lengths = np.diff(film.starts_seconds)
    assert film.duration_seconds >= 600.0
    assert film.duration_seconds - lengths[-1] < 600.0
    assert lengths.min() >= 4.0
    assert lengths.max() <= 20.0
    assert len(lengths) == len(film.shots)


def test_things_start_in_cells_of_their_own() -> None:
    for index in range(200):
        (shot,) = make_film(1, index).shots
        starts = {
            (np.abs(np.subtract(CENTERS, t.x)).argmin(), np.abs(np.subtract(CENTERS, t.y)).argmin())
            for t in shot.things
            if MOTIONS[t.motion] != "around"
        }
        plain = [t for t in shot.things if MOTIONS[t.motion] != "around"]
        assert len(starts) == len(plain)


def test_things_stay_inside_the_frame() -> None:
    for index in range(200):
        for thing in make_film(2, index).shots[0].things:
            assert min(thing.x, thing.to_x) > 0.1
            assert max(thing.x, thing.to_x) < 0.9
            assert (thing.color_after != thing.color) == (thing.event == CHANGES)
            if thing.event == COLLIDES:
                assert thing.place == -1


@pytest.mark.parametrize("seed", [1, 2])
def test_needles_appear_exactly_once_in_a_long_film(seed: int) -> None:
    film = make_film(seed, 0, duration_seconds=3600.0, num_needles=5)
    signs = np.bincount([shot.sign for shot in film.shots if shot.sign >= 0], minlength=23)
    assert (signs == 1).sum() >= 5
    assert signs.max() > 3


def test_locate_gives_shot_and_fraction() -> None:
    film = make_film(1, 1, num_shots=3)
    start, end = film.span(1)
    index, fraction = film.locate(np.array([0.0, (start + end) / 2, film.duration_seconds]))
    assert index.tolist() == [0, 1, 2]
    assert fraction == pytest.approx([0.0, 0.5, 1.0])
