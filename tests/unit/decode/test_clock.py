"""Clocks that start again, jump and err, as tables of numbers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from longvid.decode.clock import carried_on, filled_in, usual_interval, without_stray

SECOND = 1000


def carried(*ticks: int, longest_gap: int = 10 * SECOND) -> list[int]:
    """Return the times of a clock after it was carried on."""
    array = np.array(ticks, np.int64)
    return (array + carried_on(array, longest_gap).offsets).tolist()


def even(start: int, count: int) -> list[int]:
    return list(range(start, start + 40 * count, 40))


@pytest.mark.parametrize(
    "ticks",
    [
        [],
        [5],
        even(0, 100),
        [0, 160, 80, 40, 120, 320, 240, 200, 280],  # B-pictures by pts
        [0, 40, 80, 5080, 5120],  # a long picture
        [0, 40, 40, 80, 60, 120],  # a double one, and a small step back
    ],
)
def test_what_sound_files_do_is_left_alone(ticks: list[int]) -> None:
    assert carried(*ticks) == ticks
    assert carried_on(np.array(ticks, np.int64), 10 * SECOND).places == ()


def test_a_clock_that_starts_again_goes_on() -> None:
    assert carried(*even(1000, 50), *even(0, 50), *even(0, 50)) == even(1000, 150)


def test_a_clock_that_jumps_goes_on() -> None:
    assert carried(*even(0, 50), *even(20 * 3600 * SECOND, 50)) == even(0, 100)
    both = np.array([*even(0, 50), *even(20 * 3600 * SECOND, 50)])
    found = carried_on(both, 10 * SECOND)
    assert found.places == (50,)
    assert found.jumps == (20 * 3600 * SECOND - 2000,)


def test_a_single_wrong_time_changes_no_other() -> None:
    for wrong in (72_000_000, 9_000, 3_000):
        ticks = even(0, 100)
        ticks[30] = wrong
        assert carried(*ticks, longest_gap=30 * 3600 * SECOND) == even(0, 100)
    ticks = even(5000, 100)
    ticks[30] = 7
    assert carried(*ticks) == even(5000, 100)


def test_a_few_wrong_times_change_no_other() -> None:
    ticks = even(0, 100)
    ticks[30:33] = [1_000_000, 1_000_040, 1_000_080]
    ticks[60] = 2_000_000
    assert carried(*ticks, longest_gap=30 * 3600 * SECOND) == even(0, 100)


@given(st.lists(st.integers(-(2**40), 2**40), max_size=60))
def test_a_step_back_is_never_longer_than_reordering(ticks: list[int]) -> None:
    array = np.array(ticks, np.int64)
    found = carried_on(array, 10 * SECOND)
    steps = np.diff(array + found.offsets)
    reordering = 17 * usual_interval(array)
    assert (steps >= -reordering).all()
    assert (steps <= max(10 * SECOND, reordering)).all()
    assert list(found.places) == sorted(set(found.places))


def test_missing_times_are_filled_in() -> None:
    assert filled_in([None, 0, None, None, 120, None], 40) == [-40, 0, 40, 80, 120, 160]
    assert filled_in([None, None, None], 40) == [0, 40, 80]
    assert filled_in([], 40) == []


def test_a_decoding_time_that_alone_is_wrong_moves_no_picture() -> None:
    pts = np.array([2, 5, 4, 3, 8, 7, 6, 10, 9], np.int64)
    dts = np.array([0, 1, 2, 3, 4, 5, 6, 900, 8], np.int64)
    mended = without_stray(dts, pts)
    assert mended.tolist() == [0, 1, 2, 3, 4, 5, 6, 10, 8]
    assert not carried_on(mended, 50).offsets.any()


def test_a_wrong_presentation_time_of_the_first_packet_moves_no_other() -> None:
    pts = np.array([900, 5, 4, 3, 8, 7, 6, 10, 9], np.int64)
    dts = np.arange(9, dtype=np.int64)
    assert without_stray(dts, pts).tolist() == dts.tolist()
    assert len(without_stray(dts[:1], pts[:1])) == 1


def test_a_restart_moves_both_times_and_stays() -> None:
    pts = np.array([2, 3, 4, 902, 903, 904], np.int64)
    dts = pts - 2
    assert without_stray(dts, pts) is dts
    assert carried_on(dts, 50).places == (3,)
