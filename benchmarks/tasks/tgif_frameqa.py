"""TGIF-FrameQA (Jang et al. 2017): questions on what one frame of an animated picture shows."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.harness.annotation_files import read_rows
from benchmarks.harness.open_ended_layouts import Row, open_ended_layouts, text
from benchmarks.harness.record import Record, question_type
from benchmarks.harness.task import Found, Layout, Task


def _names(row: Row, found: Found) -> tuple[str, ...]:
    return (text(row, "video_name", "gif_name"),)


def _original(found: Found) -> Iterator[Record]:
    for row in read_rows(found.files[0][0]):
        yield Record(
            id=text(row, "vid_id", "key"),
            video=_names(row, found),
            question=text(row, "question"),
            answers=tuple(filter(None, [text(row, "answer")])),
            group={"type": question_type(text(row, "question"))},
        )


TASK = Task(
    name="tgif-frameqa",
    layouts=(
        Layout(
            "original",
            ("{split}_frameqa_question.csv|Test_frameqa_question.csv",),
            (frozenset({"gif_name", "question", "answer", "vid_id"}),),
            _original,
        ),
        *open_ended_layouts(_names, igvlm="TGIF_FrameQA*.csv", tables=False),
    ),
    splits=("test",),  # the only split that anybody reports
)
