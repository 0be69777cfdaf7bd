"""The lines of timed text that a question is shown, as a block in front of it."""

from __future__ import annotations

from collections.abc import Sequence

from longvid.timed_text.words import clock
from longvid.types import TextLine

_HEADING = "Text in the video, with its time (it may contain mistakes):"


def line_text(line: TextLine, video: str = "") -> str:
    """Write one line with its time and source; with the name of its video where one is given.

    >>> line_text(TextLine(8.0, 10.0, "THE END", "screen"))
    '[00:08] screen: THE END'
    """
    where = f"{video} {clock(line.start_seconds)}".strip()
    return f"[{where}] {line.source}: {line.text}"


def with_lines(question: str, lines: Sequence[str]) -> str:
    """Put lines, in time order, in front of a question."""
    return "\n".join([_HEADING, *lines, question])
