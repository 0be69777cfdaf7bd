"""What a decoding engine is asked and what it gives back, as plain data that crosses a pipe.

An engine runs inside the child process. It knows files, times and pixels, but not torch, which
would cost the child a second of start-up and a gigabyte.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from longvid.types import SegmentPlan, Video

#: (T, 3, H, W) or (3, H, W) uint8 RGB.
FrameArray = npt.NDArray[np.uint8]

#: Gives a writable uint8 array of a shape; the child backs it with shared memory.
Allocate = Callable[[tuple[int, ...]], FrameArray]

#: Called whenever an engine has done a bit of work, so that a hang can be told from slowness.
Progress = Callable[[], None]


@dataclass(frozen=True, slots=True)
class EncodedPicture:
    """One frame as a JPEG file."""

    pts_seconds: float
    height: int
    width: int
    jpeg: bytes


@dataclass(frozen=True, slots=True)
class DecodedSegment:
    """The frames of one segment.

    Args:
        segment_index: Of the request.
        data: (T, 3, H, W) uint8 RGB; the array that `Allocate` gave, or its first rows.
        pts_seconds, duration_seconds: One a frame.
        rows: For each wanted time the frame that answers it, -1 where there is none.
        pts_error_seconds: The largest distance to the exact frame; 0 unless asked to approximate.
        pictures: Small JPEG pictures of its frames, where they are wanted.
    """

    segment_index: int
    data: FrameArray
    pts_seconds: tuple[float, ...]
    duration_seconds: tuple[float, ...]
    rows: tuple[int, ...]
    pts_error_seconds: float = 0.0
    pictures: tuple[EncodedPicture, ...] = ()


@dataclass(frozen=True, slots=True)
class Gap:
    """A span whose wanted frames cannot be had, while others of the file can.

    Args:
        start_seconds, end_seconds: The span, in the time of the stream.
        sentence: For people, with {start} and {end} where these times are to be named.
        kind: One of FAILURE_KINDS.
    """

    start_seconds: float
    end_seconds: float
    sentence: str
    kind: str = "corrupt"


class Engine(Protocol):
    """Reads one file at a time. Raises VideoError for a file that cannot be used at all."""

    def probe(self, path: str, video_id: str) -> Video:
        """Read what the file says of itself, checked against its packets."""

    def decode(
        self, path: str, segments: Sequence[SegmentPlan], allocate: Allocate
    ) -> Iterator[DecodedSegment | Gap]:
        """Yield each segment in order as soon as it is complete, and gaps where they end."""

    def group_starts(self, path: str) -> list[float]:
        """Return when the groups of pictures begin, in stream time, increasing."""

    def close(self) -> None:
        """Release every open file."""


#: Makes an engine of its options.
EngineFactory = Callable[[dict[str, Any], Progress], Engine]


def plan_from_message(message: dict[str, Any]) -> SegmentPlan:
    """Restore a plan that crossed a pipe as JSON."""
    wanted, slow = tuple(message["sample_seconds"]), tuple(message["slow"])
    return SegmentPlan(**{**message, "sample_seconds": wanted, "slow": slow})


def video_from_message(message: dict[str, Any]) -> Video:
    """Restore a video that crossed a pipe as JSON."""
    jumps = tuple((at, jump) for at, jump in message["clock_jumps"])
    fields = {name: value for name, value in message.items() if name != "kind"}
    return Video(**{**fields, "clock_jumps": jumps})


def without_missing_rows(
    data: FrameArray, present: Sequence[bool], rows: Sequence[int]
) -> tuple[FrameArray, tuple[int, ...]]:
    """Close up the rows of frames that never came, in place.

    Args:
        data: (T, 3, H, W) with holes.
        present: (T,) whether each row was filled.
        rows: Row wanted at each time.

    Returns:
        The first rows of `data`, and `rows` with -1 for what is missing.
    """
    kept = [row for row, here in enumerate(present) if here]
    place = {row: new for new, row in enumerate(kept)}
    for new, row in enumerate(kept):
        if new != row:
            data[new] = data[row]
    return data[: len(kept)], tuple(place.get(row, -1) for row in rows)
