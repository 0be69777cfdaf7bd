"""Videos, and how they are cut into what one worker decodes."""

from __future__ import annotations

import math
from dataclasses import dataclass

from longvid.types.carrier import require


@dataclass(frozen=True, slots=True)
class FrameSize:
    """The size at which frames leave the decoder, and how a picture is fitted into it.

    Args:
        height, width: Pixels.
        fit: "squash" ignores the aspect; "pad" scales the picture to fit inside and centres it on
            `fill`; "crop" scales the shortest edge and cuts the centre; "native" keeps the
            picture as it is and ignores height and width.
        fill: RGB, 0 to 255, of the border under "pad".
    """

    height: int = 224
    width: int = 224
    fit: str = "squash"
    fill: tuple[int, int, int] = (0, 0, 0)

    def __post_init__(self) -> None:
        known = ("squash", "pad", "crop", "native")
        require(self.fit in known, f"fit is {self.fit!r}; use one of {', '.join(known)}.")
        require(
            self.height > 0 and self.width > 0,
            f"A frame size must be positive, got {self.height}x{self.width}.",
        )


@dataclass(frozen=True, slots=True)
class Video:
    """One readable video file.

    Args:
        path: Where it lies, as the user named it.
        video_id: Hash of its content (`listing.content_id`): the identity of a video in a store.
        start_seconds: Presentation time of its first frame. Often 0, not always.
        duration_seconds: From the first frame to the end of the last.
        average_fps: Frames by duration; a variable rate has no other.
        num_frames: As counted from packets; a header is not believed.
        height, width: Pixels after rotation.
        clock_jumps: Where the clock of the stream starts again or jumps, seconds, and by how many
            seconds it is off there. All other times are as if it went on.
        clock_start_seconds: The time of the stream that a player shows as 0. An MPEG-TS or program
            stream and Ogg may begin at any time; there it is the earliest time of any of the
            file's streams, as ffmpeg and mpv count. All other containers count from 0 themselves.

    All times of a video, a plan, decoded frames and stored objects are those of the stream. What
    is read out of a store is in the time of a player.
    """

    path: str
    video_id: str
    start_seconds: float
    duration_seconds: float
    average_fps: float
    num_frames: int
    height: int
    width: int
    clock_jumps: tuple[tuple[float, float], ...] = ()
    clock_start_seconds: float = 0.0

    def __post_init__(self) -> None:
        times = (self.start_seconds, self.duration_seconds, self.clock_start_seconds)
        require(
            all(map(math.isfinite, times)),
            f"A video needs finite times, got {self.start_seconds=} {self.duration_seconds=} "
            f"{self.clock_start_seconds=}.",
        )

    @property
    def end_seconds(self) -> float:
        """Where the last frame stops being shown."""
        return self.start_seconds + self.duration_seconds

    def player_seconds(self, stream_seconds: float) -> float:
        """Convert a time of the stream to what a player shows."""
        return player_seconds(stream_seconds, self.clock_start_seconds)

    def stream_seconds(self, player_seconds: float) -> float:
        """Undo `player_seconds`, to a nanosecond."""
        return player_seconds + self.clock_start_seconds


def player_seconds(stream_seconds: float, clock_start_seconds: float) -> float:
    """Convert a time of a stream to what a player shows.

    Args:
        stream_seconds: Presentation time.
        clock_start_seconds: Of its `Video`; 0 changes nothing.

    Returns:
        Rounded to a nanosecond, so that no digits appear that neither time has.
    """
    if not clock_start_seconds:
        return stream_seconds
    return round(stream_seconds - clock_start_seconds, 9)


@dataclass(frozen=True, slots=True)
class SegmentPlan:
    """Which moments of one segment are sampled.

    Args:
        segment_index: Position of the segment in its video, from 0.
        start_seconds, end_seconds: The half-open span [start, end) that the segment stands for.
        sample_seconds: Wanted times, increasing; the frame on display at each is taken.
        slow: For each wanted time, whether the slow pathway sees it too.
    """

    segment_index: int
    start_seconds: float
    end_seconds: float
    sample_seconds: tuple[float, ...]
    slow: tuple[bool, ...]

    def __post_init__(self) -> None:
        require(
            len(self.sample_seconds) == len(self.slow) and len(self.slow) > 0,
            "A segment plan needs as many slow marks as sample times, and at least one; got "
            f"{len(self.slow)} and {len(self.sample_seconds)}.",
        )


@dataclass(frozen=True, slots=True)
class Chunk:
    """The unit of scheduling: consecutive segments of one video, decoded by one worker."""

    video: Video
    segments: tuple[SegmentPlan, ...]

    @property
    def key(self) -> tuple[str, int]:
        """Names the chunk: its video's id and the index of its first segment."""
        return self.video.video_id, self.segments[0].segment_index

    @property
    def start_seconds(self) -> float:
        return self.segments[0].start_seconds

    @property
    def end_seconds(self) -> float:
        """Where the last segment ends."""
        return self.segments[-1].end_seconds
