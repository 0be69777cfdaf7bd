"""Read what is said in a video from the files that benchmarks circulate: .srt, .vtt, or JSON.

LongVideoBench's files are JSON lists, of {"start": "00:01:02.500", "end": …, "line": text} or of
{"timestamp": [62.5, 64.0], "text": text}, where an end may be missing. Their times count from the
beginning of the video that a clip was cut from.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.harness.errors import AnnotationError
from longvid.errors import LongvidError, VideoError
from longvid.timed_text.subtitle_formats import in_time_order, plain_text, read_sidecar
from longvid.types import TextLine


def read_subtitles(
    path: Path, from_seconds: float = 0.0, duration_seconds: float = 0.0
) -> tuple[TextLine, ...]:
    """Return the lines of one file in time order, none of them before the video begins.

    Args:
        path: Ends in .json, .srt or .vtt.
        from_seconds: Where in the file's time the video begins.
        duration_seconds: Of the video; a line without an end lasts as long.

    Raises:
        AnnotationError: There is no such file, or it does not hold lines.
    """
    try:
        if path.suffix.lower() == ".json":
            read = tuple(_json_lines(path, from_seconds + duration_seconds))
        else:
            read = read_sidecar(str(path))
        moved = (
            TextLine(line.start_seconds - from_seconds, line.end_seconds - from_seconds, line.text)
            for line in read
        )
        return in_time_order(line for line in moved if line.end_seconds > 0 and line.text)
    except VideoError as error:
        raise AnnotationError(str(error)) from error
    except OSError as error:
        raise AnnotationError(f"{path} cannot be read: {error.strerror or error}.") from error
    except (ValueError, TypeError, KeyError, AttributeError, LongvidError) as error:
        raise AnnotationError(
            f"{path} is not a list of lines, each with start, end and line, or with timestamp and "
            f"text ({type(error).__name__}: {error})."
        ) from error


def _json_lines(path: Path, last: float) -> Iterator[TextLine]:
    for row in json.loads(path.read_text(encoding="utf-8-sig")):
        if "timestamp" in row:
            start, end = row["timestamp"]
            yield TextLine(float(start), last if end is None else float(end), _text(row))
        else:
            yield TextLine(_seconds(row["start"]), _seconds(row["end"]), _text(row))


def _text(row: Mapping[str, Any]) -> str:
    return plain_text(row["text"] if "text" in row else row["line"])


def _seconds(clock: str) -> float:
    """Read hours:minutes:seconds.

    >>> _seconds("00:01:02.500")
    62.5
    """
    hours, minutes, seconds = clock.replace(",", ".").split(":")
    return 3600 * int(hours) + 60 * int(minutes) + float(seconds)
