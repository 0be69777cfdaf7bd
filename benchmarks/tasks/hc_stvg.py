"""HC-STVG v2 (Tang et al. 2021): a sentence about one of several people, and that one's tube.

Clips last 20 s; boxes are left, top, width and height in pixels, one a frame from `st_frame` on.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePath
from typing import Any

from benchmarks.harness.annotation_files import read_object
from benchmarks.harness.errors import AnnotationError
from benchmarks.harness.grounding_scores import FRAMES_PER_SECOND
from benchmarks.harness.record import Record
from benchmarks.harness.task import Found, Layout, Task

_SECONDS = 20.0


def _read(found: Found) -> Iterator[Record]:
    (path,) = found.files[0]
    for video, row in read_object(path).items():
        try:
            yield Record(
                id=PurePath(video).stem,
                video=(video,),
                question=str(row["English"]),
                tube=_tube(row),
            )
        except (ArithmeticError, KeyError, TypeError, ValueError) as error:
            raise AnnotationError(
                f"{path.name} does not describe {video} as HC-STVG v2 does ({error!r})."
            ) from error


def _tube(row: dict[str, Any]) -> tuple[tuple[float, ...], ...]:
    """Return seconds and box of every frame that is compared."""
    frames_per_second = row["img_num"] / _SECONDS
    height, width = row["img_size"]
    rows = []
    for place in range(int(_SECONDS) * FRAMES_PER_SECOND):
        seconds = place / FRAMES_PER_SECOND
        at = round(seconds * frames_per_second) - row["st_frame"]
        if 0 <= at < len(row["bbox"]):
            x, y, w, h = row["bbox"][at]
            box = (x / width, y / height, (x + w) / width, (y + h) / height)
            rows.append((seconds, *(round(side, 4) for side in box)))
    return tuple(rows)


TASK = Task(
    name="hc-stvg",
    layouts=(Layout("json", ("{split}v2.json|{split}_v2.json",), (frozenset(),), _read),),
    splits=("val", "test"),
    groups=(),
    question="Who is meant, in a few words? {question}",
    grounds="tube",
)
