"""The clock of a sound track, carried on with that of the video where it starts again or jumps.

Sound of a recording that was put together has its own time steps back where the video's does. It
is moved by as much as the video was, so that both stay together; a step that the video does not
have is undone: what follows goes on where the sound ended.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

from longvid.decode.container import open_video
from longvid.decode.packet_table import scan
from longvid.errors import VideoError

#: A step back that is longer is a discontinuity: no codec reorders sound.
_LONGEST_STEP_BACK = 0.5
#: Sound and picture of one discontinuity differ by less.
_MOST_APART = 1.0
#: No picture is decoded.
_MOST_PIXELS = 1 << 30


class SoundClock:
    """Gives the offset of each piece of sound.

    Args:
        jumps: By how much the video's own clock is off at each of its discontinuities, in order.
        longest_gap: A longer step forward is a discontinuity.
    """

    def __init__(self, jumps: Sequence[float], longest_gap: float) -> None:
        self._jumps, self._longest_gap = list(jumps), longest_gap
        self.offset_seconds = 0.0

    def advance(self, step_seconds: float) -> float:
        """Return the offset of a piece whose own time is so much after the end of the one before.

        >>> clock = SoundClock([-4.0], longest_gap=10.0)
        >>> clock.advance(0.2), clock.advance(-3.9), clock.advance(-2.0)
        (0.0, 4.0, 6.0)
        """
        for count, jump in enumerate(itertools.accumulate(self._jumps), start=1):
            if abs(step_seconds - jump) < min(_MOST_APART, 0.5 * abs(jump)):
                self.offset_seconds -= jump
                del self._jumps[:count]
                return self.offset_seconds
        if not -_LONGEST_STEP_BACK <= step_seconds <= self._longest_gap:
            self.offset_seconds -= step_seconds
        return self.offset_seconds


def video_jumps(path: str, tick: Callable[[], None]) -> tuple[float, ...]:
    """Return by how much the clock of a file's video jumps at each discontinuity.

    Args:
        path: A local file, which is read once.
        tick: Called for every packet.
    """
    try:
        container, stream = open_video(path, _MOST_PIXELS)
    except VideoError:  # sound alone
        return ()
    with container:
        times = scan(container, stream, tick).times
    return tuple(times.seconds(jump) for _, jump in times.joins)
