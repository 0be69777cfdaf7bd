"""LongVideoBench (Wu et al. 2024): videos of seconds to an hour, four or five options.

Many questions quote what is said. The subtitles of a short video are those of the longer one it
was cut from.
"""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.harness.annotation_files import read_rows
from benchmarks.harness.open_ended_layouts import Row, number, text, texts
from benchmarks.harness.record import Record
from benchmarks.harness.task import Found, Layout, Task

_COLUMNS = frozenset({"id", "video_path", "question", "duration_group"})


def _options(row: Row) -> tuple[str, ...]:
    columns = (text(row, f"option{index}") for index in range(5))  # "N/A" where there are four
    return texts(row, "candidates") or tuple(c for c in columns if c not in ("", "N/A"))


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
                subtitles=text(row, "subtitle_path"),
                subtitles_from_seconds=number(row, "starting_timestamp_for_subtitles"),
            )


TASK = Task(
    name="longvideobench",
    layouts=(
        Layout("json", ("lvb_{split}.json|lvb_{split}_wo_gt.json",), (_COLUMNS,), _read),
        Layout(
            "parquet", ("{split}*.parquet|{split}idation*.parquet",), (_COLUMNS,), _read, many=True
        ),
    ),
    splits=("val", "test"),
    groups=("duration", "category"),
    wants_gold=False,
    subtitles="between",
)
