"""VidSTG (Zhang et al. 2020): sentences and questions about one thing in a video, and its tube.

`{split}_annotations.json` has the sentences; boxes are those of VidOR, a JSON file a video,
anywhere below the same folder. Only the part `used_segment` of a video is asked about.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from benchmarks.harness.annotation_files import read_object, read_rows
from benchmarks.harness.errors import AnnotationError
from benchmarks.harness.grounding_scores import FRAMES_PER_SECOND
from benchmarks.harness.record import LeftOut, Record
from benchmarks.harness.task import Found, Layout, Task

_COLUMNS = frozenset({"vid", "fps", "used_segment", "temporal_gt", "captions", "questions"})
#: What is asked of a sentence that is no question.
_DECLARATIVE = "Who or what does this speak of first, in a word or two? {sentence}"
_NO_BOXES = "VidOR's boxes of its video are not beside the annotations"


def _read(found: Found) -> Iterator[Record | LeftOut]:
    (path,) = found.files[0]
    boxes = {one.stem: one for one in sorted(found.folder.rglob("*.json"))}
    video, film = "", None
    for number, row in enumerate(read_rows(path)):
        try:
            if str(row["vid"]) != video:  # rows of one video stand together
                video = str(row["vid"])
                film = _Film(read_object(boxes[video])) if video in boxes else None
            yield from _sentences(row, number, film)
        except (ArithmeticError, IndexError, KeyError, TypeError, ValueError) as error:
            raise AnnotationError(
                f"Row {number} of {path.name}, video {video}, is not as VidSTG or VidOR has it "
                f"({error!r})."
            ) from error


class _Film:
    """VidOR's annotation of one video: what things are called, and their boxes frame by frame."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self.size = float(document["width"]), float(document["height"])
        self.names = {thing["tid"]: thing["category"] for thing in document["subject/objects"]}
        self.frames = [
            {thing["tid"]: thing["bbox"] for thing in frame} for frame in document["trajectories"]
        ]

    def called(self, thing: int) -> tuple[str, ...]:
        """Return what a thing may be called: "ball/sports_ball" are two names."""
        return tuple(str(self.names[thing]).replace("_", " ").split("/"))

    def tube(self, thing: int, first: int, end: int, fps: float) -> tuple[tuple[float, ...], ...]:
        """Return seconds and box of every frame in [first, end) that is compared."""
        width, height = self.size
        rows = []
        for place in range(int(len(self.frames) / fps * FRAMES_PER_SECOND) + 1):
            seconds = place / FRAMES_PER_SECOND
            at = round(seconds * fps)
            if first <= at < end and at < len(self.frames) and thing in self.frames[at]:
                box = self.frames[at][thing]
                sides = (
                    *(box["xmin"] / width, box["ymin"] / height),
                    *(box["xmax"] / width, box["ymax"] / height),
                )
                rows.append((seconds, *(round(side, 4) for side in sides)))
        return tuple(rows)


def _sentences(
    row: Mapping[str, Any], number: int, film: _Film | None
) -> Iterator[Record | LeftOut]:
    fps, part, truth = float(row["fps"]), row["used_segment"], row["temporal_gt"]
    for form, key in (("interrogative", "questions"), ("declarative", "captions")):
        for place, sentence in enumerate(row[key]):
            name = f"{row['vid']}_{number}_{form[0]}{place}"
            if film is None:
                yield LeftOut(name, _NO_BOXES)
                continue
            thing, said = sentence["target_id"], str(sentence["description"])
            asked = form == "interrogative"
            yield Record(
                id=name,
                video=(str(row["vid"]),),
                question=said if asked else _DECLARATIVE.format(sentence=said),
                answers=film.called(thing) if asked else (),
                group={"form": form, "type": str(sentence["type"])},
                start_seconds=part["begin_fid"] / fps,
                end_seconds=part["end_fid"] / fps,
                tube=film.tube(thing, truth["begin_fid"], truth["end_fid"], fps),
            )


TASK = Task(
    name="vidstg",
    layouts=(Layout("json", ("{split}_annotations.json",), (_COLUMNS,), _read),),
    splits=("val", "test"),
    groups=("form", "type"),
    windows=True,
    grounds="tube",
)
