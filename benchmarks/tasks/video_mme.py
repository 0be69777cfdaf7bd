"""Video-MME (Fu et al. 2024): 900 videos from seconds to an hour, four options."""

from __future__ import annotations

import re
from collections.abc import Iterator

from benchmarks.harness.annotation_files import read_rows
from benchmarks.harness.open_ended_layouts import text, texts
from benchmarks.harness.record import Record
from benchmarks.harness.task import Found, Layout, Task

_LETTER = re.compile(r"^\s*\(?[A-Z][.):]\s*")
_COLUMNS = frozenset({"videoID", "question_id", "question", "options", "answer", "duration"})


def _read(found: Found) -> Iterator[Record]:
    for path in found.files[0]:
        for row in read_rows(path):
            letter = text(row, "answer").upper()[:1]
            video = text(row, "videoID")
            yield Record(
                id=text(row, "question_id"),
                video=(video,),
                question=text(row, "question"),
                options=tuple(_LETTER.sub("", option).strip() for option in texts(row, "options")),
                answer_index=ord(letter) - ord("A") if letter else None,
                group={
                    "duration": text(row, "duration"),
                    "domain": text(row, "domain"),
                    "task": text(row, "task_type"),
                },
                subtitles=f"{video}.srt",
            )


TASK = Task(
    name="video-mme",
    layouts=(
        Layout("parquet", ("*.parquet|videomme/*.parquet",), (_COLUMNS,), _read, many=True),
        Layout("json", ("*video*mme*.json",), (_COLUMNS,), _read),
    ),
    splits=("test",),
    groups=("duration", "domain", "task"),
    subtitles="before",
)
