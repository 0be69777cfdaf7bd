"""Which lines of text belong to which shown frames, by the rules of three publications."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence

from longvid.types import TextLine

_SOUNDS = re.compile(r"^[\[(].*[\])]$")

#: More words than this are thinned to about 200 lines.
_MAX_WORDS, _THINNED_LINES = 6000, 200
#: A shorter line counts as shown for this long, around its middle.
_MIN_SECONDS = 1.0


def list_at_frames(lines: Sequence[TextLine], pts_seconds: Sequence[float]) -> list[str]:
    """Return the lines at shown frames, as Video-MME lists them.

    One line a frame, the first that covers it; a line is listed once, and sounds in brackets such
    as [Music] are left out. Very many lines are thinned evenly.

    Args:
        lines: In order of their start.
        pts_seconds: When the frames are shown, increasing.

    Source: LongVU, `videomme` evaluation (subtitles listed by sampled frame).
    """
    kept_once: dict[str, None] = {}
    for seconds in pts_seconds:
        text = next(
            (line.text for line in lines if line.start_seconds <= seconds <= line.end_seconds), None
        )
        if text is not None and not _SOUNDS.match(text):
            kept_once.setdefault(text)
    kept = list(kept_once)
    if sum(len(text.split()) for text in kept) > _MAX_WORDS:
        kept = kept[:: max(1, len(kept) // _THINNED_LINES)]
    return kept


def align_to_preceding_frame(
    lines: Sequence[TextLine], pts_seconds: Sequence[float]
) -> tuple[str, ...]:
    """Return the text after each shown frame, as LLaMA-VID interleaves films.

    A line belongs to the last frame before its end; one that ends before the first frame belongs
    to the first. The walk through the frames never goes back.

    >>> lines = [TextLine(0.2, 0.9, "a"), TextLine(1.2, 1.4, "b")]
    >>> align_to_preceding_frame(lines, [0.0, 1.0, 2.0])
    ('a', 'b', '')

    Args:
        lines: Of the shown span.
        pts_seconds: When the frames are shown, increasing.
    """
    texts: list[list[str]] = [[] for _ in pts_seconds]
    num_before = 0  # frames that begin before the end of the current line
    for line in lines if texts else ():
        while num_before < len(pts_seconds) and pts_seconds[num_before] < line.end_seconds:
            num_before += 1
        texts[max(0, num_before - 1)].append(line.text)
    return tuple(" ".join(text) for text in texts)


def align_to_covering_frame(
    lines: Sequence[TextLine], pts_seconds: Sequence[float]
) -> tuple[str, ...]:
    """Return the text while frames are shown, as LongVideoBench interleaves it.

    A line that covers a shown frame goes after the last frame before its middle, or after the
    first frame; all others are left out. The walk through the frames never goes back.

    >>> align_to_covering_frame([TextLine(0.2, 1.2, "a"), TextLine(2.2, 3.9, "b")], [0.0, 1.0, 2.0])
    ('a', '', '')

    Args:
        lines: In order of their start.
        pts_seconds: When the frames are shown, increasing.

    Source: LongVideoBench, insert_subtitles_into_frames. There a line whose middle is before the
        first frame goes before it.
    """
    texts: list[list[str]] = [[] for _ in pts_seconds]
    num_before = 0  # frames up to the middle of the current line
    for line in lines:
        middle = (line.start_seconds + line.end_seconds) / 2
        half = max(line.end_seconds - line.start_seconds, _MIN_SECONDS) / 2
        num_before = max(num_before, bisect_right(pts_seconds, middle))
        first = bisect_right(pts_seconds, middle - half)
        if first < len(pts_seconds) and pts_seconds[first] < middle + half:
            texts[max(0, num_before - 1)].append(line.text)
    return tuple(" ".join(text) for text in texts)
