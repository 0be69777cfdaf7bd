"""Find cuts from a file's packets alone: an engine for the child. No picture is decoded.

Coders begin a group of pictures where a shot begins, and else as late as they may. So a keyframe
that comes earlier after the last one than the longest group of the file is at a cut. A file whose
groups are all of one length says nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from longvid.decode.container import open_video
from longvid.decode.engine import Allocate, DecodedSegment, Gap
from longvid.decode.packet_table import scan
from longvid.types import SegmentPlan

_MOST_PIXELS = 1 << 30  # no picture is decoded
#: A group that is at least so much as long as the longest one ended for its length.
_FULL_LENGTH = 0.95


@dataclass(frozen=True, slots=True)
class Cuts:
    """When the first frames of shots are shown, increasing; the first frame is not among them."""

    pts_seconds: tuple[float, ...] = ()


class CutEngine:
    """Answers `probe` with the cuts of a file's video.

    Args:
        options: None.
        tick: Called while it works, so that the parent knows that it lives.
    """

    def __init__(self, options: dict[str, Any], tick: Callable[[], None]) -> None:
        self._tick = tick

    def probe(self, path: str) -> Cuts:
        """Read every packet once.

        Raises:
            VideoError: The file cannot be opened as a video.
        """
        container, stream = open_video(path, _MOST_PIXELS)
        with container:
            table = scan(container, stream, self._tick)
        shown = np.flatnonzero(table.keyframe[table.packet_of])
        times = np.array([table.times.pts_seconds(int(rank)) for rank in shown], np.float64)
        return Cuts(tuple(early(times).tolist()))

    def decode(
        self, path: str, segments: Sequence[SegmentPlan], allocate: Allocate
    ) -> Iterator[DecodedSegment | Gap]:
        return iter(())

    def close(self) -> None:
        """Nothing is open between requests."""


def early(keyframes: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the keyframes that come earlier than their group's longest length asks for.

    >>> early(np.array([0.0, 5.0, 10.0, 11.2, 16.2]))
    array([11.2])

    Args:
        keyframes: (K,) seconds, increasing.
    """
    lengths = np.diff(keyframes)
    if not len(lengths):
        return keyframes[:0]
    found: npt.NDArray[np.float64] = keyframes[1:][lengths < _FULL_LENGTH * lengths.max()]
    return found
