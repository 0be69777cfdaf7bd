"""Subtitle files: SubRip and WebVTT by a linear parser of our own, other formats by pysubs2.

pysubs2 1.8 reads WebVTT as SubRip (identifiers and NOTE blocks become text), knows neither hours
of three digits nor times without hours in SubRip, and takes quadratic time for unclosed tags, so
these two formats are read here.
"""

from __future__ import annotations

import html
import os
import re
import stat
from collections.abc import Iterable, Sequence

from longvid.errors import VideoError
from longvid.types import TextLine

#: A subtitle file of more bytes, or of more lines with a time, is refused.
MAX_BYTES = 10_000_000
MAX_LINES = 100_000
#: The text of one subtitle is cut after so many characters.
_MAX_CHARS = 1 << 14
_SRT_SUFFIXES = (".srt", ".vtt")
_PYSUBS2 = {
    ".ass": "ass",
    ".ssa": "ssa",
    ".ttml": "ttml",
    ".dfxp": "ttml",
    ".smi": "sami",
    ".sami": "sami",
}
#: Endings of subtitle files; where a video has several, an earlier one is taken.
SUFFIXES = (*_SRT_SUFFIXES, *_PYSUBS2)

# Every repeat is bounded or stops at a character that could begin the next match, so that no line
# takes more than linear time.
_TIME = r"(?:(\d{1,5}):)?(\d{1,2}):(\d{2})[,.](\d{1,3})"
_TIMES = re.compile(rf"(?<![\d:]){_TIME}[ \t]*-->[ \t]*{_TIME}")
_MARKUP = re.compile(
    r"</?(?:b|i|u|s|c|v|font|lang|ruby)(?:[.\s][^<>]*)?/?>|<\d[\d:.]*>|\{\\[^{}]*\}", re.IGNORECASE
)
#: A break, a hard space, and what is written above a word.
_BREAK = re.compile(r"</?rt(?:[.\s][^<>]*)?/?>|\\[Nnh]", re.IGNORECASE)
_DRAWING = re.compile(r"\{[^{}]*\\p[1-9]")
_SIDECAR = re.compile(r"(?:\.([a-z]{2,3}(?:-[a-z0-9]{2,8})?))?(\.[a-z]+)", re.IGNORECASE)


Line = tuple[float, float, str]
"""Start and end in seconds, and text that may hold markup."""


def text_lines(lines: Iterable[Line]) -> tuple[TextLine, ...]:
    """Remove markup, lines without text and lines without a duration; sort by time."""
    plain = ((start, end, plain_text(text)) for start, end, text in lines)
    return in_time_order(TextLine(*line) for line in plain if line[2] and line[1] > line[0])


def parse_subtitles(text: str) -> tuple[TextLine, ...]:
    """Read SubRip or WebVTT; markup, entries without a time and entries without text are left out.

    >>> parse_subtitles("1\\n00:01:02,500 --> 00:01:04,000\\n<i>Hello</i>\\nthere\\n")[0].text
    'Hello there'

    Returns:
        At most MAX_LINES, in the order of the file.
    """
    found: list[TextLine] = []
    text = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    is_webvtt = text.startswith("WEBVTT")
    times: Sequence[str | None] = ()
    body: list[str] = []
    for line in [*text.split("\n"), ""]:
        if line.strip(" \t"):
            match = _TIMES.search(line) if not times and "-->" in line else None
            if match is not None:
                times = match.groups()
            elif times:
                body.append(line[:_MAX_CHARS])
            continue
        if times:
            words = plain_text("\n".join(body)[:_MAX_CHARS])
            start, end = _seconds(times[:4]), _seconds(times[4:])
            if words and end > start:
                found.append(TextLine(start, end, html.unescape(words) if is_webvtt else words))
        times, body = (), []
        if len(found) >= MAX_LINES:
            break
    return tuple(found)


def in_time_order(lines: Iterable[TextLine]) -> tuple[TextLine, ...]:
    """Sort lines by start, then by end."""
    return tuple(sorted(lines, key=lambda line: (line.start_seconds, line.end_seconds)))


def plain_text(text: str) -> str:
    """Remove the markup of subtitle formats and join lines.

    >>> plain_text("{\\\\an8}<b>Yes</b>\\\\NNo, an <image>")
    'Yes No, an <image>'
    >>> plain_text("the <i>blue mug</i>.")
    'the blue mug.'
    """
    return " ".join(_MARKUP.sub("", _BREAK.sub(" ", text)).split())


def _seconds(fields: Sequence[str | None]) -> float:
    hours, minutes, seconds, fraction = (field or "0" for field in fields)
    return int(hours) * 3600 + int(minutes) * 60 + int(seconds) + float(f"0.{fraction}")


def sidecar_of(path: str, names: Iterable[str]) -> str | None:
    """Choose the subtitle file that belongs to a video among the names of its folder.

    It has the video's name with a subtitle suffix in place of its own, perhaps with a language
    between. One without a language comes first, then English, then the others by name.

    >>> sidecar_of("a/film.mp4", ["film.de.srt", "film.en.vtt", "film2.srt", "film.old.srt"])
    'a/film.en.vtt'
    """
    folder, name = os.path.split(path)
    stem = os.path.splitext(name)[0]
    fitting = []
    for other in names:
        ending = _SIDECAR.fullmatch(other[len(stem) :]) if other.startswith(stem) else None
        if ending is not None and ending[2].lower() in SUFFIXES:
            language = (ending[1] or "").lower()
            order = 0 if not language else 1 if language.startswith("en") else 2
            fitting.append((order, ending[2].lower() not in _SRT_SUFFIXES, other))
    return os.path.join(folder, min(fitting)[2]) if fitting else None


def read_sidecar(path: str) -> tuple[TextLine, ...]:
    """Read a subtitle file in time order.

    Its bytes may be UTF-8, UTF-16 with a byte order mark, or else Latin-1.

    Raises:
        VideoError: It is no regular file, cannot be read, is too large, or is not of its format.
    """
    try:
        info = os.stat(path)
        if not stat.S_ISREG(info.st_mode):
            raise _refusal(path, "is not a regular file; remove it or rename it", "unreadable")
        if info.st_size > MAX_BYTES:
            raise _refusal(
                path,
                f"has {info.st_size:,} bytes, and {MAX_BYTES:,} are allowed; shorten it",
                "too-large",
            )
        with open(path, "rb") as file:
            data = file.read(MAX_BYTES)
    except OSError as error:
        raise _refusal(path, f"cannot be read: {error.strerror}", "unreadable") from error
    suffix = os.path.splitext(path)[1].lower()
    text = _decoded(data)
    found = _foreign(text, suffix, path) if suffix in _PYSUBS2 else parse_subtitles(text)
    if len(found) >= MAX_LINES:
        raise _refusal(path, f"has {MAX_LINES:,} lines or more; shorten it", "too-large")
    if not found and _should_hold_lines(text):
        raise _refusal(path, "holds no line that can be read; remove or repair it", "corrupt")
    return in_time_order(found)


def _should_hold_lines(text: str) -> bool:
    """Return False for what is empty on purpose: nothing, or a head of WebVTT alone."""
    text = text.removeprefix("\ufeff").strip()
    return bool(text) and (not text.startswith("WEBVTT") or "-->" in text)


def _decoded(data: bytes) -> str:
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return data.decode("utf-16", "replace")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _foreign(text: str, suffix: str, path: str) -> tuple[TextLine, ...]:
    """Read a format that pysubs2 knows."""
    import xml.etree.ElementTree

    import pysubs2

    try:
        subtitles = pysubs2.SSAFile.from_string(text, _PYSUBS2[suffix])
    except (pysubs2.Pysubs2Error, xml.etree.ElementTree.ParseError, ValueError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        sentence = f"is not a {suffix} subtitle file: {reason}; remove or repair it"
        raise _refusal(path, sentence, "corrupt") from error
    found = []
    for event in subtitles[:MAX_LINES]:
        words = event.text[:_MAX_CHARS]
        if event.is_comment or _DRAWING.search(words):
            continue
        words = plain_text(words)
        if words and event.end > event.start >= 0:
            found.append(TextLine(event.start / 1000, event.end / 1000, words))
    return tuple(found)


def _refusal(path: str, what: str, kind: str) -> VideoError:
    return VideoError(f"The subtitle file {path} {what}.", kind=kind, path=path, stage="text")
