"""MSVD-QA (Xu et al. 2017): questions made from captions of 1,970 clips of ten seconds.

Video ids 1-1200 are train, 1201-1450 val, 1451-1970 test. Clips lie under their YouTube name, or
as vidN; `youtube_mapping.txt` beside the rows ties the two together.
"""

from __future__ import annotations

import functools

from benchmarks.harness.open_ended_layouts import Row, names_of_mapping, open_ended_layouts, text
from benchmarks.harness.record import Record
from benchmarks.harness.task import Found, Task


@functools.lru_cache(maxsize=4)
def _mapping(found: Found) -> tuple[dict[str, str], dict[str, str]]:
    clips = names_of_mapping(found, "youtube_mapping.txt")
    return clips, {clip: number for number, clip in clips.items()}


def _names(row: Row, found: Found) -> tuple[str, ...]:
    number, clip = text(row, "video_id"), text(row, "video_name")
    clips, numbers = _mapping(found)
    clip, number = clip or clips.get(number, ""), number or numbers.get(clip, "")
    return tuple(name for name in (f"vid{number}" if number else "", clip) if name)


def _true_split(record: Record) -> str | None:
    number = record.video[0].removeprefix("vid")
    if number == record.video[0] or not number.isdigit():
        return None
    return "train" if int(number) <= 1200 else "val" if int(number) <= 1450 else "test"


TASK = Task(
    name="msvd-qa",
    layouts=open_ended_layouts(_names, igvlm="MSVD_QA*.csv"),
    splits=("val", "test"),
    true_split=_true_split,
)
