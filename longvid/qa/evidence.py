"""Evidence: the spans that support an answer, chosen and joined from the segments found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from longvid.store import Hit, StoredVideo
from longvid.types import Evidence


@dataclass(frozen=True)
class Found:
    """What a search found, best first.

    Args:
        spans: What is shown of it.
        scores: Of those that were scored as the first was.
        keys: Video and index of each segment.
        damage: A sentence for each chunk that could not be read.
    """

    spans: list[Evidence]
    scores: list[float]
    keys: list[tuple[str, int]]
    damage: list[str]


def evidence_of(hit: Hit, videos: Mapping[str, StoredVideo]) -> Evidence:
    """Return the span of a segment that the search found."""
    return Evidence(
        video_id=hit.video_id,
        path=videos[hit.video_id].video.path,
        start_seconds=hit.start_seconds,
        end_seconds=hit.end_seconds,
        score=hit.score,
    )


def spans_of(hits: Sequence[Hit], videos: Mapping[str, StoredVideo]) -> list[Evidence]:
    """Return the spans of hits, less those of videos that have been removed since."""
    return [evidence_of(hit, videos) for hit in hits if hit.video_id in videos]


def supporting(hits: Sequence[Hit]) -> list[Hit]:
    """Keep the hits in the upper half of the range of scores: what stands out from the rest.

    All that was shown would be poor evidence: for a short video that is the whole of it.

    Args:
        hits: Segments that were shown.
    """
    if not hits:
        return []
    scores = [hit.score for hit in hits]
    middle = (max(scores) + min(scores)) / 2
    return [hit for hit in hits if hit.score >= middle]


def merge_spans(spans: Sequence[Evidence]) -> list[Evidence]:
    """Join spans of one video that touch; a joined span has the best score among its parts.

    Args:
        spans: In any order.

    Returns:
        Disjoint spans, best score first, then earliest.
    """
    joined: list[Evidence] = []
    for span in sorted(spans, key=lambda span: (span.video_id, span.start_seconds)):
        last = joined[-1] if joined else None
        if (
            last is not None
            and last.video_id == span.video_id
            and span.start_seconds <= last.end_seconds
        ):
            joined[-1] = replace(
                last,
                end_seconds=max(last.end_seconds, span.end_seconds),
                score=max(last.score, span.score),
            )
        else:
            joined.append(span)
    return sorted(joined, key=lambda span: (-span.score, span.video_id, span.start_seconds))
