"""Timed text: what a video says or writes, and when."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from longvid.errors import shown
from longvid.types.carrier import require

_MOST_SECONDS = 1e12  # 30,000 years

TextSourceName = Literal["subtitle", "speech", "screen"]
TEXT_SOURCES: tuple[TextSourceName, ...] = get_args(TextSourceName)


def require_span(what: str, start_seconds: float, end_seconds: float) -> None:
    """Refuse a span of time that is not finite or ends before it starts.

    Raises:
        LongvidError: The sentence begins with `what`.
    """
    times = (start_seconds, end_seconds)
    fits = all(isinstance(time, (int, float)) for time in times)
    require(
        fits and -_MOST_SECONDS < start_seconds <= end_seconds < _MOST_SECONDS,
        f"{what} needs finite times with start <= end, got {shown(times)} s.",
    )


def require_box(what: str, box: tuple[float, ...]) -> None:
    """Refuse a box that is not (left, top, right, bottom) in [0, 1].

    Raises:
        LongvidError: The sentence begins with `what`.
    """
    fits = len(box) == 4 and all(0 <= value <= 1 for value in box)
    require(
        fits and box[0] <= box[2] and box[1] <= box[3],
        f"{what} needs a box (left, top, right, bottom) in [0, 1], got {box}.",
    )


@dataclass(frozen=True, slots=True)
class Word:
    """One word of a line and when it is heard, in presentation time of its video."""

    start_seconds: float
    end_seconds: float
    text: str

    def __post_init__(self) -> None:
        require_span("A word", self.start_seconds, self.end_seconds)
        require(isinstance(self.text, str), f"A word must be text, got {shown(self.text)}.")


@dataclass(frozen=True, slots=True)
class TextLine:
    """One line of text and when it is shown or heard, in presentation time of its video.

    Args:
        start_seconds, end_seconds: The span.
        text: Without markup, on one line.
        source: "subtitle", "speech" or "screen".
        language: BCP 47 tag, "" where it is not known.
        confidence: Of the engine that read it, in [0, 1]; 1 for subtitles.
        box: Of screen text: left, top, right, bottom in [0, 1] of the upright frame.
        words: Words with their times, where the engine gives them.
    """

    start_seconds: float
    end_seconds: float
    text: str
    source: TextSourceName = "subtitle"
    language: str = ""
    confidence: float = 1.0
    box: tuple[float, ...] | None = None
    words: tuple[Word, ...] = ()

    def __post_init__(self) -> None:
        require_span("A line of text", self.start_seconds, self.end_seconds)
        require(isinstance(self.text, str), f"A line must be text, got {shown(self.text)}.")
        require(
            self.source in TEXT_SOURCES,
            f"The source of a line is {self.source!r}; use one of {', '.join(TEXT_SOURCES)}.",
        )
        require(
            0 <= self.confidence <= 1,
            f"The confidence of a line must be in [0, 1], got {self.confidence}.",
        )
        if self.box is not None:
            require_box("A line of text", self.box)
