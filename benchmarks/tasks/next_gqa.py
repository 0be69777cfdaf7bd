"""NExT-GQA (Xiao et al. 2024): NExT-QA's questions of why and when, with the spans that answer."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.harness.annotation_files import read_object, read_rows
from benchmarks.harness.errors import AnnotationError
from benchmarks.harness.open_ended_layouts import text
from benchmarks.harness.record import LeftOut, Record
from benchmarks.harness.task import Found, Layout, Task

_KINDS = {"C": "causal", "T": "temporal"}
_OPTIONS = ("a0", "a1", "a2", "a3", "a4")
_COLUMNS = frozenset({"video_id", "question", "answer", "qid", "type", *_OPTIONS})


def _read(found: Found) -> Iterator[Record | LeftOut]:
    (rows,), (located,) = found.files
    spans = read_object(located)
    mapped = found.beside("map_vid_vidorID.json")
    folders = read_object(mapped) if mapped else {}
    for row in read_rows(rows):
        video, kind, qid = text(row, "video_id"), text(row, "type"), text(row, "qid")
        name = f"{video}_{qid}"  # a qid is unique within its video only
        try:
            true = spans.get(video, {}).get("location", {}).get(qid, ())
            evidence = tuple((float(start), float(end)) for start, end in true)
        except (AttributeError, TypeError, ValueError) as error:
            raise AnnotationError(
                f"{located.name} does not hold spans of question {qid} of video {video} ({error})."
            ) from error
        if not evidence:
            yield LeftOut(name, f"{located.name} has no span of it")
            continue
        # The right option stands here as its text, not as its number.
        options, answer = tuple(text(row, option) for option in _OPTIONS), text(row, "answer")
        yield Record(
            id=name,
            video=tuple(filter(None, [video, str(folders.get(video, ""))])),
            question=text(row, "question"),
            options=options,
            answer_index=options.index(answer) if answer in options else None,
            group={"type": kind, "kind": _KINDS.get(kind[:1], "unknown")},
            evidence=evidence,
        )


TASK = Task(
    name="next-gqa",
    layouts=(Layout("csv", ("{split}.csv", "gsub_{split}.json"), (_COLUMNS, frozenset()), _read),),
    splits=("val", "test"),
    groups=("kind", "type"),
    grounds="span",
)
