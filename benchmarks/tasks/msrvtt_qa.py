"""MSRVTT-QA (Xu et al. 2017): questions made from captions of 10,000 clips of up to 30 s.

Video ids 0-6512 are train, 6513-7009 val, 7010-9999 test; clip N lies as videoN.
"""

from __future__ import annotations

from benchmarks.harness.open_ended_layouts import Row, open_ended_layouts, text
from benchmarks.harness.record import Record
from benchmarks.harness.task import Found, Task


def _names(row: Row, found: Found) -> tuple[str, ...]:
    name = text(row, "video_name")
    return (name or f"video{text(row, 'video_id')}",)


def _true_split(record: Record) -> str | None:
    number = record.video[0].removeprefix("video")
    if not number.isdigit():
        return None
    return "train" if int(number) <= 6512 else "val" if int(number) <= 7009 else "test"


TASK = Task(
    name="msrvtt-qa",
    layouts=open_ended_layouts(_names, igvlm="MSRVTT_QA*.csv"),
    splits=("val", "test"),
    true_split=_true_split,
)
