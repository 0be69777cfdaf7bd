"""The clock of a stream: carried on where it starts again or jumps.

Recordings are put together by `cat a.ts b.ts`, clocks wrap, and one flipped bit makes a time of
days. Players then go on from the time before, and so does this module. A time that is carried on
is the stream's own time plus an offset, and the offset stays until the next discontinuity.

Two rules tell a discontinuity from what sound files do. FFmpeg has the same two.

    back      by more than 17 usual intervals: no codec reorders pictures by more than 16
    forward   by more than 10 s in containers whose clock may restart at any time (MPEG-TS and
              program streams, Ogg), by more than 30 hours in all others
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

RESTARTS_AT_ANY_TIME_SECONDS = 10.0
RESTARTS_BY_DAMAGE_SECONDS = 30 * 3600.0

#: One more than a codec may reorder pictures by.
_MOST_REORDERED = 17

Int64s = npt.NDArray[np.int64]


@dataclass(frozen=True)
class CarriedTimes:
    """Times without discontinuities.

    Args:
        offsets: (K,) int64, what was added to each time.
        places: Where a new offset begins, increasing.
        jumps: By how much the stream's own clock is off there, one a place.
    """

    offsets: Int64s
    places: tuple[int, ...] = ()
    jumps: tuple[int, ...] = ()


def usual_interval(ticks: Int64s) -> int:
    """Return the median of the steps forward, the lower of two; at least 1."""
    steps = np.diff(ticks)
    forward = np.sort(steps[steps > 0])
    return int(forward[(len(forward) - 1) // 2]) if len(forward) else 1


def without_stray(dts: Int64s, pts: Int64s) -> Int64s:
    """Put the presentation time in place of decoding times that alone are wrong.

    A discontinuity moves both times of a packet. One that is far from its packet's presentation
    time, which goes on from the packet before, is damage, and must not move that one.

    Args:
        dts, pts: (K,) int64 times of the packets, in the order of the file.
    """
    reordering = _MOST_REORDERED * usual_interval(dts)
    is_far = np.abs(pts - dts) > reordering
    if not is_far.any():
        return dts
    # Before the first packet there is none: it must go on to the second.
    goes_on = np.abs(np.diff(pts, prepend=pts[:2][-1:])) <= reordering
    return np.where(is_far & goes_on, pts, dts)


def carried_on(ticks: Int64s, longest_gap: int) -> CarriedTimes:
    """Find the offsets that carry a clock on.

    Args:
        ticks: (K,) int64 times in an order in which they should increase, but for reordering.
        longest_gap: A longer step forward is a discontinuity.
    """
    offsets = np.zeros(len(ticks), np.int64)
    steps = np.diff(ticks)
    interval = usual_interval(ticks)
    reordering = _MOST_REORDERED * interval
    longest_gap = max(longest_gap, reordering)
    if not ((steps < -reordering) | (steps > longest_gap)).any():
        return CarriedTimes(offsets)
    # Steps that may be errors: only what follows tells a wrong time from a long picture.
    places = (np.flatnonzero((steps < -reordering) | (steps > reordering)) + 1).tolist()
    wrong = _undone_steps(ticks, places, reordering, interval)
    offset, kept, jumps = 0, [], []
    for place, following in zip(places, [*places[1:], len(ticks)], strict=True):
        step = int(steps[place - 1])
        before = int(ticks[place - 1]) + offset
        own = int(ticks[place]) - before  # the step, if the stream's own time counts again
        if offset and 0 < own <= reordering:
            new = 0
        elif step < -reordering or step > longest_gap or place in wrong:
            new = interval - own
        else:
            new = offset
        if new != offset:
            kept.append(place)
            jumps.append(step - interval)
            offset = new
        offsets[place:following] = offset
    return CarriedTimes(offsets, tuple(kept), tuple(jumps))


def _undone_steps(ticks: Int64s, places: list[int], reordering: int, interval: int) -> set[int]:
    """Return the steps forward that a later step back undoes: the times between are wrong."""
    wrong: set[int] = set()
    forward: list[int] = []
    for place in places:
        now = int(ticks[place])
        if now > ticks[place - 1]:
            forward.append(place)
            continue
        while forward:
            start = forward.pop()
            elapsed = now - int(ticks[start - 1])
            if 0 < elapsed <= reordering + 2 * interval * (place - start):
                wrong.add(start)
                break
    return wrong


def filled_in(ticks: Sequence[int | None], interval: int) -> list[int]:
    """Give a time to what has none: between its neighbours, or one interval after the last.

    Args:
        ticks: Times in order of display, None where one is missing.
        interval: The usual step.
    """
    known = [place for place, time in enumerate(ticks) if time is not None]
    if not known:
        return [interval * place for place in range(len(ticks))]
    values = [time for time in ticks if time is not None]
    first, last = known[0], known[-1]
    places = np.arange(len(ticks))
    times = np.interp(places, known, [float(value - values[0]) for value in values])
    filled = [values[0] + int(time) for time in times]
    for place in range(first):
        filled[place] = values[0] - interval * (first - place)
    for place in range(last + 1, len(ticks)):
        filled[place] = values[-1] + interval * (place - last)
    for place, value in zip(known, values, strict=True):
        filled[place] = value
    return filled
