"""How results look: JSON for machines, tables for people, tab-separated rows in a pipe."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import io
import json
import os
import shutil
import sys
import textwrap
import unicodedata
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from longvid.errors import ConfigError, LongvidError, counted

if TYPE_CHECKING:
    from longvid.indexing.report import IndexReport
    from longvid.qa.object_search import ObjectEvidence
    from longvid.types import Evidence, Failure, Track

#: Exit statuses: done · an error told in one sentence · finished, some videos failed.
OK, ERROR, FAILURES = 0, 1, 3

#: Columns of a terminal below which a long name, or a sentence, is not folded further.
_NAME_COLUMNS, _SENTENCE_COLUMNS = 24, 16


def print_report(report: IndexReport, as_json: bool, *, strict: bool = False) -> int:
    """Print what a run did and return the exit status that says so.

    Args:
        report: Of the run.
        as_json: As JSON instead of a sentence and a table.
        strict: Any failure or gap makes the status 3, not only too many failed videos.
    """
    warn(report.note)
    for sentence in report.skipped:
        warn(sentence)
    if as_json:
        dump(dataclasses.asdict(report))
    else:
        speed = ""
        if report.video_seconds and report.seconds:
            speed = f" ({report.video_seconds / report.seconds:.0f} x realtime)"
        say(
            f"{report.outcome}: {counted(report.segments, 'segment')}, "
            f"{counted(report.frames, 'frame')}, {counted(report.tokens, 'token')} from "
            f"{clock(report.video_seconds)} of video in "
            f"{report.seconds:.1f} s{speed}"
        )
        if report.failures:
            table(
                ("video", "stage", "kind", "from", "to", "error"),
                [failure_row(failure) for failure in report.failures],
            )
    return FAILURES if report.failed_too_often or (strict and report.failures) else OK


def warn(note: str) -> None:
    """Print a caveat on stderr; nothing for ""."""
    if note:
        remark(f"longvid: {printable(note)}")


class OutputError(LongvidError):
    """The result cannot be written to stdout."""


class ReaderGoneError(OutputError):
    """The program that reads stdout has ended, as `head` does."""


def say(text: str, end: str = "\n") -> None:
    """Print a result on stdout.

    Raises:
        OutputError: It cannot be written.
    """
    _written(lambda: print(text, end=end))


def flush() -> None:
    """Write what stdout still holds back.

    Raises:
        OutputError: It cannot be written.
    """
    if sys.stdout is not None:
        _written(sys.stdout.flush)


def _written(write: Callable[[], None]) -> None:
    if sys.stdout is None:
        raise OutputError("The result cannot be written: stdout is closed.")
    try:
        write()
    except BrokenPipeError as error:
        raise ReaderGoneError("The reader of stdout has ended.") from error
    except OSError as error:
        raise OutputError(f"The result cannot be written to stdout: {error.strerror}.") from error


def remark(text: str) -> None:
    """Print something that is no result on stderr; where that is impossible, nobody can be told."""
    with contextlib.suppress(OSError):
        print(text, file=sys.stderr)


def dump(value: object) -> None:
    """Print a value as JSON; what JSON has no word for becomes its text."""
    say(json.dumps(value, indent=1, default=str))


def print_answer(text: str) -> None:
    """Print what a model wrote: its lines, other control characters as escapes."""
    say("\n".join(map(printable, text.split("\n"))))


def print_evidence(evidence: Sequence[Evidence]) -> None:
    """Print the spans that support an answer."""
    said = any(span.text for span in evidence)
    names = short_names([span.path for span in evidence])
    table(
        ("video", "from", "to", "score", *(("source", "text") if said else ())),
        [
            (
                names[span.path],
                clock(span.start_seconds),
                clock(span.end_seconds),
                f"{span.score:.3f}",
                *((span.source, span.text) if said else ()),
            )
            for span in evidence
        ],
    )


def print_tracks(tracks: Sequence[Track]) -> None:
    """Print where the things of an answer are: each track with the best of its boxes."""
    rows = []
    for track in tracks:
        best = max(track.boxes, key=lambda box: box.score)
        first, last = track.boxes[0].pts_seconds, track.boxes[-1].pts_seconds
        box = " ".join(f"{edge:.2f}" for edge in best.xyxy)
        rows.append((track.phrase, clock(first), clock(last), len(track.boxes), box))
    table(("thing", "from", "to", "boxes", "best: left top right bottom"), rows)


def print_objects(found: Sequence[ObjectEvidence]) -> None:
    """Print boxes that a search found."""
    names = short_names([one.path for one in found])
    table(
        ("video", "at", "score", "thing", "left top right bottom"),
        [
            (
                names[one.path],
                clock(one.seconds),
                f"{one.score:.3f}",
                one.thing,
                " ".join(f"{edge:.2f}" for edge in one.xyxy),
            )
            for one in found
        ],
    )


def folded(text: str) -> str:
    """Break a long line between words where a terminal would break it within one."""
    if sys.stdout is None or not sys.stdout.isatty():
        return text
    return textwrap.fill(text, shutil.get_terminal_size().columns, break_long_words=False)


def short_names(paths: Sequence[str]) -> dict[str, str]:
    """Name files by their last part, and those whole that share it.

    >>> short_names(["/a/x.mp4", "/b/x.mp4", "/b/y.mp4"])
    {'/a/x.mp4': '/a/x.mp4', '/b/x.mp4': '/b/x.mp4', '/b/y.mp4': 'y.mp4'}
    """
    lasts = {path: os.path.basename(path) or path for path in paths}
    counts = collections.Counter(lasts.values())
    return {path: last if counts[last] == 1 else path for path, last in lasts.items()}


def failure_row(failure: Failure) -> tuple[str, ...]:
    """Lay a failure out for the table: video, stage, kind, from, to, error."""
    span = (failure.start_seconds, failure.end_seconds)
    return (
        os.path.basename(failure.path) or failure.path,
        failure.stage,
        failure.kind,
        *("" if seconds is None else clock(seconds) for seconds in span),
        failure.error,
    )


def read_clock(text: str) -> float:
    """Read seconds, m:ss or h:mm:ss.

    >>> read_clock("1:02:03.5")
    3723.5

    Raises:
        ConfigError: It is none of them; behind a colon 60 and more are not read.
    """
    *whole, last = text.strip().split(":")
    try:
        numbers = [*map(float, whole), float(last)]
    except ValueError:
        numbers = [float("nan")]
    total = 0.0
    for number in numbers:
        total = total * 60 + number
    is_clock = len(numbers) <= 3 and all(one.isdecimal() for one in whole)
    if not (is_clock and 0 <= total < 1e9 and all(0 <= one < 60 for one in numbers[1:])):
        raise ConfigError(f"{text!r} is no time; give seconds, m:ss or h:mm:ss.")
    return total


def clock(seconds: float) -> str:
    """Write seconds as a player shows them, to a tenth.

    >>> clock(3723.44), clock(59.97)
    ('1:02:03.4', '1:00.0')
    """
    minutes, tenths = divmod(max(0, round(seconds * 10)), 600)
    hours, minutes = divmod(minutes, 60)
    rest = f"{tenths // 10:02d}.{tenths % 10}"
    return f"{hours}:{minutes:02d}:{rest}" if hours else f"{minutes}:{rest}"


def text_lines(number: int, source: str) -> str:
    """Write how many lines a source gave.

    >>> text_lines(1, "speech"), text_lines(2, "screen")
    ('1 line of speech', '2 lines of screen text')
    """
    from longvid.timed_text.words import text_name

    return f"{counted(number, 'line')} of {text_name(source)}"


def share(part: int, whole: int | None) -> str:
    """Write a part of a whole in percent, "" where the whole is unknown."""
    return f" ({100 * part / whole:.1f} % of the source files)" if whole else ""


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table: aligned on a terminal, tab-separated into a pipe.

    Nothing is cut: a long cell is folded, and a terminal too narrow for the columns gets a line a
    cell.
    """
    if not rows:
        return
    cells = [[printable(str(cell)) for cell in row] for row in rows]
    if sys.stdout is None or not sys.stdout.isatty():
        for row in (list(header), *cells):
            say("\t".join(row))
        return
    from rich.console import Console

    say(_laid_out(header, cells, Console().width), end="")


def _laid_out(header: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> str:
    """Return a table as lines of at most `width` columns."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    buffer = io.StringIO()
    console = Console(file=buffer, width=width, force_terminal=True, highlight=False)
    widths = _column_widths([list(cells) for cells in zip(header, *rows, strict=True)], width)
    if widths:
        grid = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
        for name, columns in zip(header, widths, strict=True):
            grid.add_column(name, overflow="fold", width=columns)
        for row in rows:
            grid.add_row(*map(Text, row))  # as Text, brackets in a name are no markup
        console.print(grid)
        return buffer.getvalue()
    for index, row in enumerate(rows):
        if index:
            console.print()
        for name, cell in zip(header, row, strict=True):
            if cell:
                console.print(
                    Text.assemble((f"{name or 'state'}: ", "bold"), cell), overflow="fold"
                )
    return buffer.getvalue()


def _column_widths(columns: Sequence[Sequence[str]], width: int) -> list[int]:
    """Return how wide columns are laid out; [] where the terminal is too narrow for them.

    A word of a sentence is never broken. rich would choose widths too, and cut a cell where its
    choice comes out too wide.
    """
    from rich.cells import cell_len

    whole = [max(map(cell_len, cells)) for cells in columns]
    words = [max(cell_len(word) for cell in cells for word in cell.split(" ")) for cells in columns]
    room = width - 2 * len(columns)
    for name_columns in (width, _NAME_COLUMNS):  # names are folded only where they have to be
        widths = [
            min(max(_SENTENCE_COLUMNS, word) if wanted > word else name_columns, wanted)
            for wanted, word in zip(whole, words, strict=True)
        ]
        spare = room - sum(widths)
        if spare >= 0:
            break
    else:
        return []
    # The columns that lack least are filled first: most come out whole.
    for index in sorted(range(len(columns)), key=lambda index: whole[index] - widths[index]):
        more = min(spare, whole[index] - widths[index])
        widths[index] += more
        spare -= more
    return widths


def printable(text: str) -> str:
    """Write control characters and broken Unicode as escapes, so that a name cannot move a cursor.

    >>> print(printable("a\\tb"))
    a\\tb
    """
    return "".join(
        letter
        if letter.isprintable() or unicodedata.category(letter) == "Zs"
        else letter.encode("unicode_escape").decode()
        for letter in text
    )
