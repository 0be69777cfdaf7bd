"""How results look: JSON for machines, tables for people, tab-separated rows in a pipe."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from longvid.indexing.report import IndexReport

__all__ = [
    "ERROR",
    "FAILURES",
    "OK",
    "clock",
    "dump",
    "failure_row",
    "print_evidence",
    "print_report",
    "share",
    "table",
    "warn",
]

#: Exit statuses: done · an error told in one sentence · finished, some videos failed.
OK, ERROR, FAILURES = 0, 1, 3


def print_report(report: IndexReport, as_json: bool) -> int:
    """Print what a run did and return the exit status that says so."""
    warn(report.note)
    if as_json:
        dump(dataclasses.asdict(report))
    else:
        speed = report.video_seconds / report.seconds if report.seconds else 0.0
        print(
            f"{report.videos_indexed} indexed, {report.videos_skipped} already there, "
            f"{report.videos_failed} failed: {report.segments} segments, {report.frames} frames, "
            f"{report.tokens} tokens from {clock(report.video_seconds)} of video in "
            f"{report.seconds:.1f} s ({speed:.0f} x realtime)"
        )
        if report.failures:
            table(
                ("video", "stage", "kind", "from", "to", "error"),
                [failure_row(failure) for failure in report.failures],
            )
    return FAILURES if report.failures else OK


def warn(note: str) -> None:
    """Say a caveat on stderr; "" says nothing."""
    if note:
        print(f"longvid: {note}", file=sys.stderr)


def dump(value: Any) -> None:
    """Print a value as JSON; what JSON has no word for becomes its text."""
    print(json.dumps(value, indent=1, default=str))


def print_evidence(evidence: Sequence[Any]) -> None:
    """Print the spans that support an answer."""
    said = any(span.text for span in evidence)
    table(
        ("video", "from", "to", "score", *(("said",) if said else ())),
        [
            (
                os.path.basename(span.path),
                clock(span.start_seconds),
                clock(span.end_seconds),
                f"{span.score:.3f}",
                *((span.text,) if said else ()),
            )
            for span in evidence
        ],
    )


def failure_row(failure: Any) -> tuple[str, ...]:
    """Lay a failure out for the table: video, stage, kind, from, to, error."""
    gap = failure.is_gap
    return (
        os.path.basename(failure.path) or failure.path,
        failure.stage,
        failure.kind,
        clock(failure.start_seconds) if gap else "",
        clock(failure.end_seconds) if gap else "",
        failure.error,
    )


def clock(seconds: float) -> str:
    """Write seconds as people read them off a player: 1:02:03.4."""
    minutes, rest = divmod(max(0.0, seconds), 60)
    hours, minutes = divmod(int(minutes), 60)
    return f"{hours}:{minutes:02d}:{rest:04.1f}" if hours else f"{minutes}:{rest:04.1f}"


def share(part: int, whole: int | None) -> str:
    """Write a part of a whole in percent, "" where the whole is unknown."""
    return f" ({100 * part / whole:.1f} % of the source files)" if whole else ""


def table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print a table: with rules on a terminal, tab-separated into a pipe."""
    if not rows:
        return
    if not sys.stdout.isatty():
        for row in (header, *rows):
            print("\t".join(str(cell) for cell in row))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in header:
        table.add_column(name)
    for row in rows:
        table.add_row(*(str(cell) for cell in row))
    Console().print(table)
