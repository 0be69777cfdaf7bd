"""An open video from which single frames can be had, each exactly as if all were decoded."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Sequence
from typing import Protocol

from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from longvid.decode.packet_table import FrameTimes

Opened = tuple[InputContainer, VideoStream]

#: Opens a file anew.
Reopen = Callable[[], Opened]


class PacketsMislead(Exception):
    """A sound packet gave no picture of its own: packets do not foretell this file's frames."""


class Source(Protocol):
    """Frames of one file by rank, in order of display."""

    @property
    def times(self) -> FrameTimes:
        """When each frame is shown."""

    @property
    def doubtful(self) -> Container[int]:
        """The ranks of frames of the last call that were given, but may show damage."""

    def frames(self, ranks: Sequence[int]) -> Iterator[tuple[int, VideoFrame | None]]:
        """Yield each wanted frame once, or None where it cannot be decoded.

        Args:
            ranks: Increasing and unique.
        """

    def close(self) -> None:
        """Close the file."""
