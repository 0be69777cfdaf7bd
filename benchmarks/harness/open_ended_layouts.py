"""The four ways in which open-ended video question answering circulates, all the same rows.

qa-json   {split}_qa.json                 list of {id, question, answer, video_id}
csv       {split}.csv                     question, answer, video_id, id
q-a       {split}_q.json + {split}_a.json  {video_name, question, question_id} and
                                          {answer, type, question_id}, joined by id
igvlm     MSVD_QA.csv and the like        video_id, answer, question, video_name, question_id
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from benchmarks.harness.annotation_files import read_rows
from benchmarks.harness.errors import AnnotationError
from benchmarks.harness.record import Gold, Record, question_type
from benchmarks.harness.task import Found, Layout

Row = Mapping[str, Any]
Names = Callable[[Row, Found], tuple[str, ...]]
Typing = Callable[[Row], str]


def text(row: Row, *keys: str) -> str:
    """Return the first of these columns that holds something, as text without blanks."""
    for key in keys:
        value = row.get(key)
        if value is not None and str(value).strip():
            return str(value).strip()
    return ""


def number(row: Row, key: str) -> float | None:
    """Return what a column holds if it is a number, None for anything else."""
    value = row.get(key)
    return float(value) if isinstance(value, (int, float)) else None


def texts(row: Row, key: str) -> tuple[str, ...]:
    """Return a column that holds a list, as texts; () for anything else."""
    value = row.get(key)
    return tuple(str(item) for item in value) if isinstance(value, list) else ()


def open_ended_layouts(
    names: Names, *, igvlm: str, type_of: Typing | None = None, tables: bool = True
) -> tuple[Layout, ...]:
    """Return the layouts of one set.

    Args:
        names: Tells from a row under which names its video may lie.
        igvlm: Glob of the file in IG-VLM's flavour, which does not say its split.
        type_of: Tells the type of a row; None takes the question's first word.
        tables: False where only the last two flavours exist.
    """

    def record(row: Row, found: Found, name: str) -> Record:
        question, answer = text(row, "question"), text(row, "answer")
        return Record(
            id=name,
            video=names(row, found),
            question=question,
            answers=(answer,) if answer else (),
            group={"type": type_of(row) if type_of else question_type(question)},
        )

    def whole(found: Found) -> Iterator[Record]:
        for row in read_rows(found.files[0][0]):
            yield record(row, found, text(row, "question_id", "id"))

    def halves(found: Found) -> Iterator[Record | Gold]:
        (questions,), (answers,) = found.files
        for row in read_rows(questions):
            yield record(row, found, text(row, "question_id"))
        for row in read_rows(answers):
            answer, name = text(row, "answer"), text(row, "question_id")
            group = {"type": type_of(row)} if type_of else {}
            if name and answer:
                yield Gold(name, answers=(answer,), group=group)

    qa = frozenset({"id", "question", "answer", "video_id"})
    first = (
        Layout("qa-json", ("{split}_qa.json",), (qa,), whole),
        Layout("csv", ("{split}.csv",), (qa,), whole),
    )
    return (
        *(first if tables else ()),
        Layout(
            "q-a",
            ("{split}_q.json", "{split}_a.json"),
            (
                frozenset({"question", "question_id", "video_name"}),
                frozenset({"answer", "question_id"}),
            ),
            halves,
        ),
        Layout(
            "igvlm",
            (f"{igvlm}|igvlm.csv",),
            (frozenset({"video_name", "question", "answer", "question_id"}),),
            whole,
        ),
    )


def names_of_mapping(found: Found, glob: str) -> dict[str, str]:
    """Read a file of lines "ytname vidN": N to the clip's own name; {} if there is no file."""
    path = found.beside(glob)
    if path is None:
        return {}
    try:
        pairs = [line.split() for line in path.read_text(encoding="utf-8").splitlines() if line]
    except (OSError, UnicodeDecodeError) as error:
        raise AnnotationError(f"{path} cannot be read: {error}.") from error
    if any(len(pair) != 2 for pair in pairs):
        raise AnnotationError(f"{path} must hold two names a line: that of the clip, and vidN.")
    return {number.removeprefix("vid"): clip for clip, number in pairs}
