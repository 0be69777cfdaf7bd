"""NExT-QA, multiple choice (Xiao et al. 2021): why, when and what, five options each."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.harness.annotation_files import read_object, read_rows
from benchmarks.harness.open_ended_layouts import text
from benchmarks.harness.record import Record
from benchmarks.harness.task import Found, Layout, Task

_KINDS = {"C": "causal", "T": "temporal", "D": "descriptive"}
_OPTIONS = ("a0", "a1", "a2", "a3", "a4")
_COLUMNS = frozenset({"video", "question", "answer", "qid", "type", *_OPTIONS})


def _read(found: Found) -> Iterator[Record]:
    mapped = found.beside("map_vid_vidorID.json")
    folders = read_object(mapped) if mapped else {}
    for path in found.files[0]:
        for row in read_rows(path):
            video, kind, answer = text(row, "video"), text(row, "type"), text(row, "answer")
            yield Record(
                id=f"{video}_{text(row, 'qid')}",  # a qid is unique within its video only
                video=tuple(filter(None, [video, str(folders.get(video, ""))])),
                question=text(row, "question"),
                options=tuple(text(row, option) for option in _OPTIONS),
                answer_index=int(answer) if answer.isdigit() else None,
                group={"type": kind, "kind": _KINDS.get(kind[:1], "unknown")},
            )


TASK = Task(
    name="next-qa",
    layouts=(
        Layout("csv", ("{split}.csv",), (_COLUMNS,), _read),
        Layout("parquet", ("{split}*.parquet",), (_COLUMNS,), _read, many=True),
    ),
    splits=("val", "test"),
    groups=("kind", "type"),
)
