"""What is said in a video, as text with times: SubRip and WebVTT, beside the video or as a string.

This module knows text files and names of files. It opens no video.
"""

from __future__ import annotations

import math
import os
import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

__all__ = [
    "MOST_BYTES",
    "Subtitle",
    "in_time_order",
    "listed",
    "parse_subtitles",
    "plain_text",
    "rank",
    "read_sidecar",
    "read_text",
    "sidecar_of",
    "spoken_after",
    "spoken_over",
]

#: More of a subtitle file is not read.
MOST_BYTES = 64 << 20
_TIME = r"(?:(\d+):)?(\d{1,2}):(\d{2})[,.](\d{1,3})"
_TIMES = re.compile(rf"{_TIME}\s*-->\s*{_TIME}")
_MARKUP = re.compile(r"<[^>]*>|\{\\[^}]*\}|\\[Nnh]")
_WORD = re.compile(r"\w+")
_SOUNDS = re.compile(r"^[\[(].*[\])]$")
_SIDECAR = re.compile(r"(?:\.([a-z]{2,3}(?:-[a-z0-9]{2,8})?))?\.(?:srt|vtt)", re.IGNORECASE)

#: More words than this are thinned to about 200 lines.
_MOST_WORDS, _THINNED_LINES = 6000, 200
_SATURATION, _LENGTH_WEIGHT = 1.2, 0.75
#: A shorter line counts as shown for so long, around its middle.
_LEAST_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Subtitle:
    """One line of text and when it is shown, in presentation time of its video."""

    start_seconds: float
    end_seconds: float
    text: str


def parse_subtitles(text: str) -> tuple[Subtitle, ...]:
    """Read a .srt or .vtt file; markup is left out, and what has no time or no text.

    >>> parse_subtitles("1\\n00:01:02,500 --> 00:01:04,000\\n<i>Hello</i>\\nthere\\n")
    (Subtitle(start_seconds=62.5, end_seconds=64.0, text='Hello there'),)

    Returns:
        In the order of the file.
    """
    found = []
    text = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    for block in re.split(r"\n[ \t]*\n", text):
        match = _TIMES.search(block)
        if match is None:
            continue
        _, _, lines = block[match.end() :].partition("\n")  # the rest of the line are settings
        said = plain_text(lines)
        start, end = _seconds(match.groups()[:4]), _seconds(match.groups()[4:])
        if said and end > start:
            found.append(Subtitle(start, end, said))
    return tuple(found)


def in_time_order(subtitles: Iterable[Subtitle]) -> tuple[Subtitle, ...]:
    """Sort subtitles by start, then by end."""
    return tuple(sorted(subtitles, key=lambda line: (line.start_seconds, line.end_seconds)))


def plain_text(text: str) -> str:
    """Leave markup out and join lines.

    >>> plain_text("{\\\\an8}<b>Yes</b>\\\\NNo")
    'Yes No'
    """
    return " ".join(_MARKUP.sub(" ", text).split())


def _seconds(fields: Sequence[str | None]) -> float:
    hours, minutes, seconds, fraction = (field or "0" for field in fields)
    return int(hours) * 3600 + int(minutes) * 60 + int(seconds) + float(f"0.{fraction}")


def sidecar_of(path: str, names: Iterable[str]) -> str | None:
    """Choose the subtitle file that belongs to a video among the names of its folder.

    It has the video's name with .srt or .vtt in place of the suffix, perhaps with a language
    between. One without a language comes first, then English, then the others by name.

    >>> sidecar_of("a/film.mp4", ["film.de.srt", "film.en.vtt", "film2.srt", "film.old.srt"])
    'a/film.en.vtt'
    """
    folder, name = os.path.split(path)
    stem = os.path.splitext(name)[0]
    fitting = []
    for other in names:
        ending = _SIDECAR.fullmatch(other[len(stem) :]) if other.startswith(stem) else None
        if ending is not None:
            language = (ending[1] or "").lower()
            order = 0 if not language else 1 if language.startswith("en") else 2
            fitting.append((order, other))
    return os.path.join(folder, min(fitting)[1]) if fitting else None


def read_sidecar(path: str) -> tuple[Subtitle, ...]:
    """Read a subtitle file in time order; one that is not UTF-8 is read as Latin-1.

    Raises:
        OSError: It cannot be read.
    """
    with open(path, "rb") as file:
        return read_text(file.read(MOST_BYTES))


def read_text(data: bytes) -> tuple[Subtitle, ...]:
    """Read the bytes of a subtitle file; see `read_sidecar`."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        text = data.decode("latin-1")
    return in_time_order(parse_subtitles(text))


def listed(subtitles: Sequence[Subtitle], pts_seconds: Sequence[float]) -> list[str]:
    """Return the lines said at shown frames, as Video-MME lists them.

    One line a frame, the first subtitle that covers it; a line is listed once, and sounds in
    brackets such as [Music] are left out. Very many lines are thinned evenly.

    Args:
        subtitles: In order of their start.
        pts_seconds: When the frames are shown, increasing.

    Source: LongVU, `videomme` evaluation (subtitles listed by sampled frame).
    """
    lines: dict[str, None] = {}
    for seconds in pts_seconds:
        said = next(
            (s.text for s in subtitles if s.start_seconds <= seconds <= s.end_seconds), None
        )
        if said is not None and not _SOUNDS.match(said):
            lines.setdefault(said)
    kept = list(lines)
    if sum(len(line.split()) for line in kept) > _MOST_WORDS:
        kept = kept[:: max(1, len(kept) // _THINNED_LINES)]
    return kept


def spoken_after(subtitles: Sequence[Subtitle], pts_seconds: Sequence[float]) -> tuple[str, ...]:
    """Return what is said after each shown frame, as LLaMA-VID interleaves films.

    A subtitle belongs to the last frame before its end; one that ends before the first frame
    belongs to the first. The walk through the frames never goes back.

    >>> spoken_after([Subtitle(0.2, 0.9, "a"), Subtitle(1.2, 1.4, "b")], [0.0, 1.0, 2.0])
    ('a', 'b', '')

    Args:
        subtitles: Of the shown span.
        pts_seconds: When the frames are shown, increasing.
    """
    texts: list[list[str]] = [[] for _ in pts_seconds]
    num_before = 0  # frames that begin before the end of the current subtitle
    for line in subtitles if texts else ():
        while num_before < len(pts_seconds) and pts_seconds[num_before] < line.end_seconds:
            num_before += 1
        texts[max(0, num_before - 1)].append(line.text)
    return tuple(" ".join(said) for said in texts)


def spoken_over(subtitles: Sequence[Subtitle], pts_seconds: Sequence[float]) -> tuple[str, ...]:
    """Return what is said while frames are shown, as LongVideoBench interleaves them.

    A subtitle that covers a shown frame stands after the last frame before its middle, or after
    the first frame; all others are left out. The walk through the frames never goes back.

    >>> spoken_over([Subtitle(0.2, 1.2, "a"), Subtitle(2.2, 3.9, "b")], [0.0, 1.0, 2.0])
    ('a', '', '')

    Args:
        subtitles: In order of their start.
        pts_seconds: When the frames are shown, increasing.

    Source: LongVideoBench, insert_subtitles_into_frames. There a subtitle whose middle is before
        the first frame stands before it.
    """
    texts: list[list[str]] = [[] for _ in pts_seconds]
    num_before = 0  # frames up to the middle of the current subtitle
    for line in subtitles:
        middle = (line.start_seconds + line.end_seconds) / 2
        half = max(line.end_seconds - line.start_seconds, _LEAST_SECONDS) / 2
        num_before = max(num_before, bisect_right(pts_seconds, middle))
        first = bisect_right(pts_seconds, middle - half)
        if first < len(pts_seconds) and pts_seconds[first] < middle + half:
            texts[max(0, num_before - 1)].append(line.text)
    return tuple(" ".join(said) for said in texts)


def rank(texts: Sequence[str], query: str) -> list[tuple[float, int]]:
    """Score texts by the words they share with a query (BM25), best first.

    Args:
        texts: Any.
        query: Words; case and order do not matter.

    Returns:
        (score, index) of the texts that share a word, ties to the lower index.
    """
    wanted = set(_WORD.findall(query.casefold()))
    counts = [Counter(_WORD.findall(text.casefold())) for text in texts]
    lengths = [sum(count.values()) for count in counts]
    mean = sum(lengths) / max(1, len(lengths))
    holding = {word: sum(word in count for count in counts) for word in wanted}
    found = []
    for index, (count, length) in enumerate(zip(counts, lengths, strict=True)):
        score = 0.0
        for word in wanted & count.keys():
            rare = math.log(1 + (len(texts) - holding[word] + 0.5) / (holding[word] + 0.5))
            norm = _SATURATION * (1 - _LENGTH_WEIGHT + _LENGTH_WEIGHT * length / mean)
            score += rare * count[word] * (_SATURATION + 1) / (count[word] + norm)
        if score:
            found.append((score, index))
    return sorted(found, key=lambda entry: (-entry[0], entry[1]))
