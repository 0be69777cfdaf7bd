"""Find lines of timed text for a question, and let them vote for segments.

Speech, text on the screen and subtitles are searched together, by their words, their time and
their source. Segments found by their pictures and those whose time a line touches are ranked
together by reciprocal rank fusion.

Source: Cormack et al. 2009, Reciprocal Rank Fusion, with their constant of 60.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from longvid.config import Ask
from longvid.store import Hit, Store, StoredVideo
from longvid.store.timed_text import RECOGNISED, read_recognised, recognised_videos
from longvid.timed_text.lexical_search import (
    LexicalIndex,
    asked_source,
    content_words,
    indexed_text,
)
from longvid.types import Evidence, Query, TextLine

__all__ = ["TextHit", "TextSearch", "fused", "line_evidence"]

_VIDEOS_KEPT = 64
_RANK_CONSTANT = 60
#: A line of the source that a question names counts as one whose score is so much higher.
_PREFERENCE = 1.5
_Key = tuple[tuple[str, ...], tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class TextHit:
    """A line that was found, with its BM25 score."""

    video_id: str
    line: TextLine
    score: float


class TextSearch:
    """Searches the timed text of a store.

    Args:
        store: Where recognised text is kept.
        subtitles: Gives the subtitles of a video.
        ask: Which sources are searched, and how many lines are wanted.
    """

    def __init__(
        self, store: Store, subtitles: Callable[[str], Sequence[TextLine]], ask: Ask
    ) -> None:
        self._store, self._subtitles, self._ask = store, subtitles, ask
        self._recognised = lru_cache(_VIDEOS_KEPT)(self._read_recognised)
        self._with_text: frozenset[str] | None = None
        self._key: _Key | None = None
        self._lines: list[tuple[str, TextLine]] = []
        self._index = LexicalIndex.build([])

    def has_recognised(self, video_ids: Sequence[str]) -> bool:
        """Tell whether speech or screen text is kept of any of these videos; none means all."""
        if self._with_text is None:
            self._with_text = recognised_videos(self._store)
        return bool(self._with_text.intersection(video_ids) if video_ids else self._with_text)

    def lines(self, video_id: str) -> tuple[TextLine, ...]:
        """Return the text of a video, of the sources that are searched."""
        wanted = self._ask.text_sources
        found = [*self._subtitles(video_id)] if "subtitle" in wanted else []
        if self.has_recognised((video_id,)):
            found += [line for line in self._recognised(video_id) if line.source in wanted]
        return tuple(found)

    def search(
        self, text: str, video_ids: Sequence[str], top_k: int, source: str = ""
    ) -> list[TextHit]:
        """Find lines by their words, best first.

        Args:
            text: Words to look for; one that names a source, such as "sign", prefers it.
            video_ids: Videos that are searched, at least one.
            top_k: Most lines returned.
            source: Only lines of this source; "" for any.
        """
        self._build(tuple(video_ids))
        preferred = asked_source(text)
        most = 4 * top_k if preferred or source else top_k
        found = self._index.search(content_words(text), most)
        hits = []
        for score, place in found:
            video_id, line = self._lines[place]
            if not source or line.source == source:
                fits = preferred and (line.source == "screen") == (preferred == "screen")
                hits.append(TextHit(video_id, line, score * _PREFERENCE if fits else score))
        return sorted(hits, key=lambda hit: -hit.score)[:top_k]

    def _build(self, video_ids: tuple[str, ...]) -> None:
        lines = {video_id: self.lines(video_id) for video_id in video_ids}
        key = (video_ids, tuple(len(of_video) for of_video in lines.values()))
        if key != self._key:
            self._lines = [(video_id, line) for video_id, of in lines.items() for line in of]
            self._index = LexicalIndex.build(indexed_text(line) for _, line in self._lines)
            self._key = key

    def _read_recognised(self, video_id: str) -> tuple[TextLine, ...]:
        found = [
            line for source in RECOGNISED for line in read_recognised(self._store, video_id, source)
        ]
        return tuple(sorted(found, key=lambda line: (line.start_seconds, line.end_seconds)))


def fused(
    store: Store,
    query: Query,
    hits: Sequence[Hit],
    text_hits: Sequence[TextHit],
    videos: Mapping[str, StoredVideo],
    weight: float,
) -> list[Hit]:
    """Rank the segments that pictures found and those that lines touch together, best first.

    Args:
        store: Gives the segments of the lines' videos.
        query: What both searches looked for.
        hits: By their pictures, best first.
        text_hits: Lines, best first.
        videos: By id.
        weight: Of the lines; 0 returns the hits as they are.

    Returns:
        As many as there are hits.
    """
    if not weight or not text_hits:
        return list(hits)
    known: dict[tuple[str, int], Hit] = {_key(hit): hit for hit in hits}
    scores = {_key(hit): 1 / (_RANK_CONSTANT + rank) for rank, hit in enumerate(hits, start=1)}
    segments = {
        video_id: store.search(query.embedding, videos[video_id].num_segments, (video_id,))
        for video_id in dict.fromkeys(hit.video_id for hit in text_hits)
    }
    voted: set[tuple[str, int]] = set()
    for rank, text_hit in enumerate(text_hits, start=1):
        line = text_hit.line
        for hit in segments[text_hit.video_id]:
            touches = hit.start_seconds < line.end_seconds and hit.end_seconds > line.start_seconds
            if touches and _key(hit) not in voted:
                voted.add(_key(hit))
                known.setdefault(_key(hit), hit)
                scores[_key(hit)] = scores.get(_key(hit), 0.0) + weight / (_RANK_CONSTANT + rank)
    order = sorted(known, key=lambda key: (-scores[key], -known[key].score, key))
    return [known[key] for key in order[: len(hits)]]


def line_evidence(hit: TextHit, videos: Mapping[str, StoredVideo]) -> Evidence:
    """Return the span of a line that was found, with its text and source."""
    return Evidence(
        video_id=hit.video_id,
        path=videos[hit.video_id].video.path,
        start_seconds=hit.line.start_seconds,
        end_seconds=hit.line.end_seconds,
        score=hit.score,
        text=hit.line.text,
        source=hit.line.source,
    )


def _key(hit: Hit) -> tuple[str, int]:
    return hit.video_id, hit.segment_index
