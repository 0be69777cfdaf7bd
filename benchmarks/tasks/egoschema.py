"""EgoSchema (Mangalam et al. 2023): three minutes of daily life, five options.

500 answers are public (`subset`); the answers to all 5,031 (`full`) are known to the validation
server only, so that split ends in a submission.json. The two never share a column.
"""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.harness.annotation_files import read_object, read_rows
from benchmarks.harness.open_ended_layouts import text
from benchmarks.harness.record import Record
from benchmarks.harness.task import Found, Layout, Task

_OPTIONS = tuple(f"option {index}" for index in range(5))
_COLUMNS = frozenset({"q_uid", "question", *_OPTIONS})


def _read(found: Found) -> Iterator[Record]:
    golds = found.beside("subset_answers.json") if found.split == "subset" else None
    right = read_object(golds) if golds else {}
    for row in read_rows(found.files[0][0]):
        name = text(row, "q_uid")
        if found.split == "full" or name in right:
            yield Record(
                id=name,
                video=(name,),
                question=text(row, "question"),
                options=tuple(text(row, option) for option in _OPTIONS),
                answer_index=int(right[name]) if name in right else None,
            )


TASK = Task(
    name="egoschema",
    layouts=(Layout("json", ("questions.json",), (_COLUMNS,), _read),),
    splits=("subset", "full"),
    groups=(),
    wants_gold=False,
)
