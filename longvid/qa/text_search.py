"""Find lines of timed text for a question, and let them vote for segments.

Speech, text on the screen and subtitles are searched together, by their words, their time and
their source. Segments found by their pictures and those whose time a line touches are ranked
together by reciprocal rank fusion.

Source: Cormack et al. 2009, Reciprocal Rank Fusion, with their constant of 60.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from longvid.config import Ask
from longvid.errors import StoreError
from longvid.qa.sentence_search import RANK_CONSTANT, SentenceSearch, reciprocal_ranks
from longvid.store import Hit, Store, StoredVideo
from longvid.store.text_index import TextIndex
from longvid.timed_text.words import (
    asked_source,
    asked_spans,
    content_words,
    coverage,
    names_source_alone,
    sources_asked,
    words_of,
)
from longvid.types import TEXT_SOURCES, Evidence, Query, TextLine

#: A line of the source that a question names comes before all others, if it holds this share of
#: the question's words.
_LEAST_COVERAGE = 0.3
#: Of more lines of a source than these, the first are looked at to list some.
_MOST_LISTED = 10_000
_RECOGNISED = ("speech", "screen")
#: A line that begins so much before another one ends comes after it.
_TOUCHING_SECONDS = 0.25
#: Lines of each search that are ranked together.
_FUSED = 50
NEAREST_BY_MEANING = (
    "No line has any of these words; these lines are the nearest by meaning (ask.text_embedder), "
    "however far that is."
)


@dataclass(frozen=True, slots=True)
class TextHit:
    """A line that was found, with its BM25 score, or that of both searches.

    The score is 0 where a question names a source of text, and no line of it has any word of the
    thing that it asks about: then lines of that source are listed in time order, whatever they say.
    `by_meaning` says that no line was found by its words or its time, so this one is near at most.
    """

    video_id: str
    line: TextLine
    score: float
    by_meaning: bool = False


class TextSearch:
    """Searches the timed text of a store.

    Args:
        store: Whose text it is.
        replaced: Subtitles by video id in place of those in the store; may change at any time.
        ask: Which sources are searched, how many lines are wanted, and a sentence embedder.
        device: Where the sentence embedder runs.
    """

    def __init__(
        self,
        store: Store,
        replaced: Mapping[str, Sequence[TextLine]],
        ask: Ask,
        device: str = "cpu",
    ) -> None:
        self._store, self._replaced, self._ask = store, replaced, ask
        self._device = device
        self._sentences: SentenceSearch | None = None
        self._loading = threading.Lock()
        self._with_replaced: tuple[object, TextIndex] | None = None

    def has_recognised(self, video_ids: Sequence[str]) -> bool:
        """Tell whether speech or screen text is kept of any of these videos; none means all."""
        index = self._index()
        lines = index.allowed(video_ids or index.video_ids, _RECOGNISED)
        return bool(index.lines) if lines is None else bool(lines.any())

    def sources(self, video_ids: Sequence[str]) -> frozenset[str]:
        """Return the searched sources with lines of any of these videos; no ids mean all."""
        index = self._index()
        ids = video_ids or index.video_ids
        return _held(index, index.allowed(ids, self._ask.text_sources))

    def search(
        self,
        text: str,
        video_ids: Sequence[str],
        top_k: int,
        sources: Sequence[str] = (),
        span: tuple[float, float] | None = None,
    ) -> list[TextHit]:
        """Find lines by their words, and by their meaning where an embedder is named, best first.

        Args:
            text: Words to look for; one that names a source, such as "sign", prefers it.
            video_ids: Videos that are searched, at least one.
            top_k: Most lines returned.
            sources: Only lines of these; none for all that `ask.text_sources` holds.
            span: Only lines that overlap this start and end in seconds.

        Raises:
            StoreError: The text of one of the videos is damaged.
            ModelError: The sentence embedder cannot be loaded.
        """
        index = self._index()
        for video_id in index.damaged:
            if video_id in video_ids:
                raise StoreError(index.damaged[video_id])
        names_source = bool(asked_source(text))
        sentences = self._sentences_searched()
        most = top_k if sentences is None else max(top_k, _FUSED)
        allowed = index.allowed(video_ids, sources or self._ask.text_sources, span)
        own = sources_asked(text, _held(index, allowed))
        times = asked_spans(text)
        if names_source and names_source_alone(text):
            found = [] if times else _listed(index, own, most, allowed)
        else:
            found = index.words.search(
                content_words(text), 4 * most if names_source else most, allowed
            )
            if names_source:
                found = _of_source(index, text, own, found, most, allowed)
        if times:
            found = _at_times(index, times, allowed, found, own)
        by_meaning = not found
        if sentences is not None:
            nearest = sentences.search(index, text, most, allowed)
            weight = self._ask.text_embedder_weight
            found = reciprocal_ranks(found[:most], nearest, weight)
        return [
            TextHit(index.video_of(place), index.lines[place], score, by_meaning)
            for score, place in found[:top_k]
        ]

    def beside(
        self,
        text: str,
        line: Evidence,
        is_after: bool,
        most: int,
        span: tuple[float, float] | None = None,
    ) -> list[TextHit]:
        """Return the lines that come next to one, in time order, with score 0.

        Args:
            text: Names the sources of the lines wanted; all if it names none.
            line: Of one video.
            is_after: Those after it, else those before it.
            most: At most so many, the nearest.
            span: Only lines that overlap this start and end in seconds.
        """
        index = self._index()
        allowed = index.allowed((line.video_id,), self._ask.text_sources, span)
        places = range(len(index.lines)) if allowed is None else np.flatnonzero(allowed).tolist()
        lines = [index.lines[place] for place in places]
        own = sources_asked(text, {one.source for one in lines})
        near = [
            one
            for one in lines
            if one.source in own
            and (
                one.start_seconds >= line.end_seconds - _TOUCHING_SECONDS
                if is_after
                else one.end_seconds <= line.start_seconds + _TOUCHING_SECONDS
            )
        ]
        kept = near[:most] if is_after else near[-most:]
        return [TextHit(line.video_id, one, 0.0) for one in kept]

    def _sentences_searched(self) -> SentenceSearch | None:
        """Return the search by meaning, where one is asked for; its weights are loaded once."""
        if not (self._ask.text_embedder and self._ask.text_embedder_weight):
            return None
        with self._loading:
            if self._sentences is None:
                self._sentences = SentenceSearch(self._ask.text_embedder, self._device)
            return self._sentences

    def _index(self) -> TextIndex:
        index = self._store.texts.current()
        if not self._replaced:
            return index
        replaced = {video_id: tuple(lines) for video_id, lines in self._replaced.items()}
        key = (index.generation, replaced)
        if self._with_replaced is None or self._with_replaced[0] != key:
            lines = {video_id: index.lines_of(video_id) for video_id in index.video_ids}
            for video_id, subtitles in replaced.items():
                others = lines.get(video_id, ())
                kept = [line for line in others if line.source != "subtitle"]
                lines[video_id] = (*subtitles, *kept)
            made = TextIndex.of(lines, index.stamps, index.damaged)
            self._with_replaced = (key, made)
        return self._with_replaced[1]


def _held(index: TextIndex, allowed: npt.NDArray[np.bool_] | None) -> frozenset[str]:
    """Return the sources of the lines that may be found."""
    places = np.unique(index.sources if allowed is None else index.sources[allowed])
    return frozenset(TEXT_SOURCES[place] for place in places.tolist())


def _of_source(
    index: TextIndex,
    text: str,
    own: Collection[str],
    found: Sequence[tuple[float, int]],
    most: int,
    allowed: npt.NDArray[np.bool_] | None,
) -> list[tuple[float, int]]:
    """Put the lines of the sources that a question names first; list some if none has its words.

    What is written on a thing need not name it: "what is written on the keys?" may be answered by
    lines of the screen that have none of its words.
    """
    shares = {place: coverage(text, index.lines[place].text) for _, place in found}
    ours = {place for place in shares if index.lines[place].source in own}
    # A label may begin with "Label"; what is said holds "say" by chance.
    words = set(words_of(content_words(text))) if own == {"screen"} else set[str]()
    named = {place for place in ours if not words.isdisjoint(words_of(index.lines[place].text))}
    found = [hit for hit in found if shares[hit[1]] or hit[1] in named]
    first = {place for place in ours if shares[place] >= _LEAST_COVERAGE}
    found = sorted(found, key=lambda hit: hit[1] not in first)
    if any(place in ours for _, place in found):
        return found
    return [*found, *_listed(index, own, most, allowed)]


def _listed(
    index: TextIndex, own: Collection[str], most: int, allowed: npt.NDArray[np.bool_] | None
) -> list[tuple[float, int]]:
    """Return lines of some sources in time order, with score 0.

    Of speech they are the first. Of many lines on the screen they are the longest: marks and pieces
    that are read by mistake are short.
    """
    is_own = np.isin(index.sources, [TEXT_SOURCES.index(source) for source in own])
    places = np.flatnonzero(is_own if allowed is None else is_own & allowed)[:_MOST_LISTED].tolist()
    if own == {"screen"}:
        places = sorted(sorted(places, key=lambda place: -len(index.lines[place].text))[:most])
    return [(0.0, place) for place in places[:most]]


def _at_times(
    index: TextIndex,
    times: Sequence[tuple[float, float]],
    allowed: npt.NDArray[np.bool_] | None,
    found: list[tuple[float, int]],
    own: Collection[str],
) -> list[tuple[float, int]]:
    """Put the lines said or shown at some times first, those of some sources before all."""
    covering = np.zeros(len(index.lines), np.bool_)
    for start, end in times:
        covering |= (index.spans[:, 0] < end) & (index.spans[:, 1] > start)
    places = np.flatnonzero(covering if allowed is None else covering & allowed).tolist()
    places.sort(key=lambda at: index.lines[at].source not in own)
    best = max((score for score, _ in found), default=0.0)
    others = [hit for hit in found if hit[1] not in set(places)]
    return [*((best + 1.0, place) for place in places), *others]


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
    known: dict[tuple[str, int], Hit] = {hit.key: hit for hit in hits}
    scores = {hit.key: 1 / (RANK_CONSTANT + rank) for rank, hit in enumerate(hits, start=1)}
    segments = {
        video_id: store.search(query.embedding, videos[video_id].num_segments, (video_id,))
        for video_id in dict.fromkeys(hit.video_id for hit in text_hits)
    }
    voted: set[tuple[str, int]] = set()
    for rank, text_hit in enumerate(text_hits, start=1):
        line = text_hit.line
        for hit in segments[text_hit.video_id]:
            touches = hit.start_seconds < line.end_seconds and hit.end_seconds > line.start_seconds
            if touches and hit.key not in voted:
                voted.add(hit.key)
                known.setdefault(hit.key, hit)
                scores[hit.key] = scores.get(hit.key, 0.0) + weight / (RANK_CONSTANT + rank)
    order = sorted(known, key=lambda key: (-scores[key], -known[key].score, key))
    return [known[key] for key in order[: len(hits)]]


def line_notes(hits: Sequence[TextHit]) -> list[str]:
    """Return the caveats about lines that were found."""
    return [NEAREST_BY_MEANING] if any(hit.by_meaning for hit in hits) else []


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
