"""Hand-made questions on free footage, with the spans that show the answer (`qa_real.json`)."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.harness.annotation_files import read_rows
from benchmarks.harness.open_ended_layouts import number, text, texts
from benchmarks.harness.record import Record
from benchmarks.harness.task import Found, Layout, Task

_COLUMNS = frozenset({"id", "video", "question", "answer", "format", "evidence_start_s"})


def _read(found: Found) -> Iterator[Record]:
    for row in read_rows(found.files[0][0]):
        closed = text(row, "format") == "multiple_choice"
        start, end = number(row, "evidence_start_s"), number(row, "evidence_end_s")
        accepted = texts(row, "answers_accepted") or (text(row, "answer"),)
        yield Record(
            id=text(row, "id"),
            video=(text(row, "video"),),
            question=text(row, "question"),
            answers=() if closed else tuple(filter(None, accepted)),
            options=texts(row, "options") if closed else (),
            answer_index=row.get("answer_index") if closed else None,
            group={"type": text(row, "type"), "format": "choice" if closed else "open"},
            evidence=() if start is None or end is None else ((start, end),),
        )


TASK = Task(
    name="real",
    layouts=(Layout("json", ("qa_real*.json",), (_COLUMNS,), _read),),
    splits=("all",),
    groups=("format", "type"),
)
