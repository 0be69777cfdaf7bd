"""LongVideoBench (Wu et al. 2024): videos of seconds to an hour, four or five options."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.qa.openended import Row, text
from benchmarks.qa.reading import read_rows
from benchmarks.qa.record import Record
from benchmarks.qa.task import Found, Layout, Task

_COLUMNS = frozenset({"id", "video_path", "question", "duration_group"})


def _options(row: Row) -> tuple[str, ...]:
    listed = row.get("candidates")
    if listed is None:  # one column an option, "N/A" where there are four
        listed = [row.get(f"option{index}") for index in range(5)]
    return tuple(str(option) for option in listed if option not in (None, "", "N/A"))


def _read(found: Found) -> Iterator[Record]:
    for path in found.files[0]:
        for row in read_rows(path):
            right = text(row, "correct_choice")
            yield Record(
                id=text(row, "id"),
                video=(text(row, "video_path"), text(row, "video_id")),
                question=text(row, "question"),
                options=_options(row),
                answer_index=int(right) if right.isdigit() else None,
                group={
                    "duration": text(row, "duration_group"),
                    "category": text(row, "question_category"),
                },
            )


TASK = Task(
    name="longvideobench",
    summary=__doc__,
    layouts=(
        Layout("json", ("lvb_{split}.json|lvb_{split}_wo_gt.json",), (_COLUMNS,), _read),
        Layout(
            "parquet", ("{split}*.parquet|{split}idation*.parquet",), (_COLUMNS,), _read, many=True
        ),
    ),
    splits=("val", "test"),
    groups=("duration", "category"),
    wants_gold=False,
)
