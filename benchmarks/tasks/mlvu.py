"""MLVU (Zhou et al. 2024): multiple choice on videos of minutes to hours, averaged over tasks.

M-Avg is the mean of the task accuracies, not of the rows. The two generative tasks (sub_scene,
summary) are no part of it; they are left out and counted. dev and test differ and are never mixed.
"""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.harness.annotation_files import read_rows
from benchmarks.harness.open_ended_layouts import text, texts
from benchmarks.harness.record import LeftOut, Record
from benchmarks.harness.task import Found, Layout, Task

_COLUMNS = frozenset({"video", "question", "question_type"})
_GENERATIVE = ("subPlot", "sub_scene", "summary")
_WHY = "a generative task, which a judge scores from 0 to 10: G-Avg, no part of M-Avg"


def _read(found: Found) -> Iterator[Record | LeftOut]:
    for path in found.files[0]:
        for number, row in enumerate(read_rows(path)):
            kind = text(row, "question_type") or path.stem
            name = text(row, "question_id") or f"{path.stem}-{number}"
            options = texts(row, "candidates")
            if not options or kind in _GENERATIVE:
                yield LeftOut(name, _WHY)
                continue
            answer = text(row, "answer")
            yield Record(
                id=name,
                video=(text(row, "video"),),
                question=text(row, "question"),
                options=options,
                # An answer that is none of the options is an unusable row, and listed.
                answer_index=options.index(answer) if answer in options else -1 if answer else None,
                group={"task": kind},
            )


TASK = Task(
    name="mlvu",
    layouts=(
        Layout("tasks", ("[0-9]_*.json",), (_COLUMNS,), _read, many=True),
        Layout("list", ("*{split}*.json",), (_COLUMNS,), _read, many=True),
    ),
    splits=("dev", "test"),
    groups=("task",),
    macro="task",
    wants_gold=False,
)
