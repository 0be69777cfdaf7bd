"""Pictures kept in a store, what a search found, and where something is in a picture."""

from __future__ import annotations

from dataclasses import dataclass

from longvid.types.carrier import require
from longvid.types.text_line import TextLine, require_box, require_span


@dataclass(frozen=True, slots=True)
class Picture:
    """One frame as a JPEG file, as a store keeps it.

    Args:
        video_id: Of the video it shows.
        pts_seconds: Presentation time.
        jpeg: The encoded picture.
        height, width: Pixels.
        found: What a detector found in it before, a list of things each.
    """

    video_id: str
    pts_seconds: float
    jpeg: bytes
    height: int
    width: int
    found: tuple[FoundBoxes, ...] = ()

    def __post_init__(self) -> None:
        require_span("A picture", self.pts_seconds, self.pts_seconds)
        require(
            self.height > 0 and self.width > 0,
            f"A picture must have a positive size, got {self.height}x{self.width}.",
        )

    def __repr__(self) -> str:
        shown = f"{self.video_id!r} at {self.pts_seconds} s, {self.height}x{self.width}"
        return f"Picture({shown}, {len(self.jpeg)} bytes)"


@dataclass(frozen=True, slots=True)
class Candidate:
    """One segment that a search found, with what a reranker can read.

    Args:
        video_id, segment_index: The segment.
        start_seconds, end_seconds: Its span.
        score: Of the search.
        pictures: In time order; empty where the store holds none.
        lines: Lines of timed text in the span.
    """

    video_id: str
    segment_index: int
    start_seconds: float
    end_seconds: float
    score: float
    pictures: tuple[Picture, ...] = ()
    lines: tuple[TextLine, ...] = ()

    def __post_init__(self) -> None:
        require_span("A candidate", self.start_seconds, self.end_seconds)


@dataclass(frozen=True, slots=True)
class Mask:
    """Which pixels of a frame show something, as run lengths (`methods.run_lengths`).

    Args:
        size: Height and width of the picture that was looked at.
        counts: Run lengths in COCO's text.
    """

    size: tuple[int, int]
    counts: str

    def __post_init__(self) -> None:
        require(
            len(self.size) == 2 and min(self.size) > 0,
            f"A mask must have a positive height and width, got {self.size}.",
        )


@dataclass(frozen=True, slots=True)
class Box:
    """Where something is in one frame.

    Args:
        video_id: Of the video.
        pts_seconds: Of the frame.
        xyxy: Left, top, right, bottom in [0, 1] of the upright frame.
        score: Of the detector, in [0, 1].
        mask: What of the box it is, if a tracker was asked for masks.
    """

    video_id: str
    pts_seconds: float
    xyxy: tuple[float, ...]
    score: float = 1.0
    mask: Mask | None = None

    def __post_init__(self) -> None:
        require_span("A box", self.pts_seconds, self.pts_seconds)
        require_box("A box", self.xyxy)


@dataclass(frozen=True, slots=True)
class FoundBoxes:
    """What a detector found in one picture.

    Args:
        things: What was looked for.
        boxes: Of the things that are there.
    """

    things: tuple[str, ...]
    boxes: tuple[tuple[str, Box], ...] = ()


@dataclass(frozen=True, slots=True)
class Track:
    """One thing of an answer, followed through frames.

    Args:
        phrase: What it is called.
        boxes: In time order.
        answer_span: Start and end of the phrase in the answer's text, (0, 0) where it is not there.
        is_candidate: Whether others of the phrase may be meant in its place; no answer has such.
    """

    phrase: str
    boxes: tuple[Box, ...]
    answer_span: tuple[int, int] = (0, 0)
    is_candidate: bool = False
