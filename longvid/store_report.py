"""A store as one HTML page that needs nothing else, or as CSV tables.

The page shows every video with pictures along its time, what could not be indexed, and, for
questions that are given, the answers with their evidence on the videos' time lines. Pictures come
from the store; no video file is opened.
"""

from __future__ import annotations

import base64
import csv
import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING, Any

import jinja2

from longvid.errors import StoreError, counted
from longvid.store import Store, StoredVideo, stored_picture_times, stored_pictures
from longvid.types import Evidence, Failure

if TYPE_CHECKING:
    from longvid.qa.video_qa import VideoQA

_MOST_PICTURES = 8


@dataclass(frozen=True, slots=True)
class AskedQuestion:
    """A question with its answer, for the page.

    Args:
        text, answer: As asked, as answered; the error where there is none.
        note: A caveat of the model.
        evidence: Spans that support the answer.
    """

    text: str
    answer: str
    note: str
    evidence: tuple[Evidence, ...]


def ask_questions(qa: VideoQA, texts: Sequence[str]) -> list[AskedQuestion]:
    """Ask a store some questions; an error stands in place of an answer."""
    from longvid.types import Question

    asked = []
    for text, answer in zip(texts, qa.ask_many([Question(text) for text in texts]), strict=True):
        if isinstance(answer, Failure):
            asked.append(AskedQuestion(text, answer.error, "", ()))
        else:
            asked.append(AskedQuestion(text, answer.text, answer.note, answer.evidence))
    return asked


def store_page(store: Store, questions: Sequence[AskedQuestion] = ()) -> str:
    """Return the page.

    Raises:
        StoreError: The store cannot be read.
    """
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    environment.filters["clock"] = _clock
    environment.filters["counted"] = counted
    source = resources.files("longvid").joinpath("assets/store_report.html").read_text()
    videos = store.videos()
    return environment.from_string(source).render(
        status=store.status(),
        uri=store.uri,
        videos=[_summary(store, stored, questions) for stored in videos],
        failures=store.failures(),
        questions=[
            {"asked": one, "cards": [_card(store, span) for span in one.evidence]}
            for one in questions
        ],
    )


def _summary(
    store: Store, stored: StoredVideo, questions: Sequence[AskedQuestion]
) -> dict[str, Any]:
    video = stored.video
    start, end = (
        video.player_seconds(seconds) for seconds in (video.start_seconds, video.end_seconds)
    )
    spans = [
        {
            "number": number,
            "left": _percent(span.start_seconds, start, end),
            "width": max(0.5, 100 * (span.end_seconds - span.start_seconds) / (end or 1)),
        }
        for number, question in enumerate(questions, 1)
        for span in question.evidence
        if span.video_id == video.video_id
    ]
    return {
        "name": os.path.basename(stored.paths[0]) if stored.paths else video.video_id,
        "stored": stored,
        "pictures": _pictures(store, video.video_id),
        "spans": spans,
    }


def _pictures(store: Store, video_id: str) -> list[dict[str, Any]]:
    """Return some pictures spread over a video; none where the store keeps none."""
    times = stored_picture_times(store, video_id)
    count = min(_MOST_PICTURES, len(times))
    chosen = [times[place * len(times) // count] for place in range(count)]
    if not chosen:
        return []
    return [
        {"seconds": picture.pts_seconds, "data": base64.b64encode(picture.jpeg).decode()}
        for picture in stored_pictures(store, video_id, chosen)
    ]


def _card(store: Store, span: Evidence) -> dict[str, Any]:
    middle = (span.start_seconds + span.end_seconds) / 2
    try:
        [picture] = stored_pictures(store, span.video_id, [middle])
        shown = span.start_seconds <= picture.pts_seconds <= span.end_seconds
        data = base64.b64encode(picture.jpeg).decode() if shown else ""
    except StoreError:  # the store keeps no pictures, or they are damaged: the span stands alone
        data = ""
    return {"span": span, "name": os.path.basename(span.path), "data": data}


def _percent(seconds: float, start: float, end: float) -> float:
    return 100 * (seconds - start) / ((end - start) or 1)


def _clock(seconds: float) -> str:
    whole = int(max(0.0, seconds))
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02d}:{whole % 60:02d}" if hours else f"{minutes}:{whole % 60:02d}"


def store_tables(store: Store) -> dict[str, str]:
    """Return the tables "videos" and "failures" as CSV."""
    videos = [
        (
            *(stored.video.video_id, stored.paths[0] if stored.paths else ""),
            *(stored.video.duration_seconds, stored.num_segments, stored.num_tokens),
            *(stored.num_bytes, stored.source_bytes, len(stored.gaps)),
        )
        for stored in store.videos()
    ]
    failures = [
        (
            *(failure.video_id, failure.path, failure.stage, failure.kind, failure.attempts),
            *(failure.start_seconds, failure.end_seconds, failure.error),
        )
        for failure in store.failures()
    ]
    return {
        "videos": _csv(
            (
                *("video_id", "path", "duration_seconds", "num_segments", "num_tokens"),
                *("num_bytes", "source_bytes", "num_gaps"),
            ),
            videos,
        ),
        "failures": _csv(
            (
                *("video_id", "path", "stage", "kind", "attempts"),
                *("start_seconds", "end_seconds", "error"),
            ),
            failures,
        ),
    }


def _csv(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return file.getvalue()
