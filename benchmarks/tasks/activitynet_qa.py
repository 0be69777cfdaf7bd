"""ActivityNet-QA (Yu et al. 2019): 58,000 questions on clips of two to three minutes."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.harness.annotation_files import read_rows
from benchmarks.harness.open_ended_layouts import Row, open_ended_layouts, text
from benchmarks.harness.record import Record
from benchmarks.harness.task import Found, Layout, Task

_TYPES = (
    "motion",
    "spatial",
    "temporal",
    "yesno",
    "color",
    "object",
    "location",
    "number",
    "other",
)


def _names(row: Row, found: Found) -> tuple[str, ...]:
    name = text(row, "video_name").removeprefix("v_")
    return (f"v_{name}", name)


def _type(row: Row) -> str:
    number = text(row, "type", "question_type")
    return _TYPES[int(number)] if number.isdigit() and int(number) < len(_TYPES) else "unknown"


def _parquet(found: Found) -> Iterator[Record]:
    for path in found.files[0]:
        for row in read_rows(path):
            yield Record(
                id=text(row, "question_id"),
                video=_names(row, found),
                question=text(row, "question"),
                answers=tuple(filter(None, [text(row, "answer")])),
                group={"type": _type(row)},
            )


_COLUMNS = frozenset({"video_name", "question", "question_id", "answer", "type"})

TASK = Task(
    name="activitynet-qa",
    layouts=(
        *open_ended_layouts(_names, igvlm="ActivityNet_QA*.csv", type_of=_type, tables=False),
        Layout("parquet", ("{split}*.parquet",), (_COLUMNS,), _parquet, many=True),
    ),
    splits=("val", "test"),
)
