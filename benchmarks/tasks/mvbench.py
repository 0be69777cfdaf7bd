"""MVBench (Li et al. 2024): twenty tasks of 200 questions, three to five options, averaged.

Some tasks ask about a part of a longer video. Sources that come as folders of pictures are not
read: their rows count as missing.
"""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.qa.openended import Row, text
from benchmarks.qa.reading import read_rows
from benchmarks.qa.record import Record
from benchmarks.qa.task import Found, Layout, Task

_COLUMNS = frozenset({"video", "question", "candidates", "answer"})


def _bound(row: Row, name: str) -> float | None:
    value = row.get(name)
    return float(value) if isinstance(value, (int, float)) else None


def _read(found: Found) -> Iterator[Record]:
    for path in found.files[0]:
        for number, row in enumerate(read_rows(path)):
            options, answer = tuple(str(o) for o in row["candidates"]), text(row, "answer")
            yield Record(
                id=f"{path.stem}-{number}",
                video=(text(row, "video"),),
                question=text(row, "question"),
                options=options,
                answer_index=options.index(answer) if answer in options else -1,
                group={"task": path.stem},
                start_seconds=_bound(row, "start"),
                end_seconds=_bound(row, "end"),
            )


TASK = Task(
    name="mvbench",
    summary=__doc__.splitlines()[0],
    layouts=(Layout("json", ("json/*.json|*.json",), (_COLUMNS,), _read, many=True),),
    splits=("test",),
    groups=("task",),
    macro="task",
    windows=True,
)
