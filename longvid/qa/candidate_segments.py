"""Candidates: the segments of a store that a question may be shown."""

from __future__ import annotations

import math
from collections.abc import Sequence

from longvid.config import Ask
from longvid.errors import QuestionError, StoreError
from longvid.qa.damage_note import damage_notes
from longvid.qa.moment_score import rescored
from longvid.qa.routing import Route
from longvid.select.frames import Uniform
from longvid.select.shots import shots_around
from longvid.store import Hit, Store, StoredVideo
from longvid.store.objects import DamagedObjectError
from longvid.types import Query, Segment


def stored_videos(store: Store) -> dict[str, StoredVideo]:
    """Return the videos of a store by id."""
    return {stored.video.video_id: stored for stored in store.videos()}


class CandidateSearch:
    """Finds what a question may be shown.

    Args:
        store: Where segments are searched and loaded.
        route: How many, and what around them.
    """

    def __init__(self, store: Store, route: Route) -> None:
        self._store = store
        self._ask = route.ask
        self._route = route
        #: A sentence for each damaged chunk whose segments could not be scored again.
        self.damage: list[str] = []

    @property
    def num_segments(self) -> int:
        """How many segments a question is shown; 0 for all."""
        return self._ask.num_segments

    def hits(self, query: Query, num_segments: int) -> list[Hit]:
        """Return the segments nearest to a question, best first; 0 ranks all of them.

        Raises:
            QuestionError: The store is empty, or its embeddings are of another model.
            StoreError: An embedding is not finite.
        """
        if query.embedding.shape[0] != self._store.embedding_width:
            raise QuestionError(
                f"The store holds embeddings of width {self._store.embedding_width}, the question "
                f"was embedded to {query.embedding.shape[0]}; ask with the store's own embedder."
            )
        if not bool(query.embedding.isfinite().all()):
            raise QuestionError(
                "The embedder gave the question numbers that are not finite, so nothing can be "
                "found; check its weights, or its dtype on this device."
            )
        videos = stored_videos(self._store)
        asked = query.question.video_ids or tuple(videos)
        # A video that was removed a moment ago is named by the search.
        total = sum(videos[video_id].num_segments for video_id in asked if video_id in videos)
        if not total and not query.question.video_ids:
            self._require_sound()
            raise QuestionError(
                f"The store {self._store.uri} holds no indexed video; run `longvid index` first."
            )
        span = query.question.span
        wanted = min(num_segments or total, total)
        # Segments are scored again from their chunks, so never more of them than is said.
        by_moment = (
            self._ask.scores_moments and num_segments > 0 and wanted <= self._ask.num_rescored
        )
        scored = min(self._ask.num_rescored, total) if by_moment else wanted
        hits = self._store.search(
            query.embedding,
            scored,
            query.question.video_ids,
            span=span,
            num_videos=self._ask.num_videos,
        )
        broken = next((hit for hit in hits if not math.isfinite(hit.score)), None)
        if broken is not None:
            raise StoreError(
                f"The store {self._store.uri} holds embeddings of {broken.video_id} that are not "
                "finite; remove that video and index it again."
            )
        if span is not None and not hits:
            start, end = span
            until = " s on" if end == math.inf else f" to {end:g} s"
            raise QuestionError(
                f"Nothing is indexed from {start:g}{until}; ask about another span."
            )
        if not hits:
            self._require_sound()
        if by_moment:
            hits = self._by_moment(query, hits)
        return hits[:wanted]

    def fitting_hits(self, query: Query, at_least: int = 0) -> list[Hit]:
        """Return the segments that a question is shown, best first.

        Args:
            query: The question.
            at_least: Segments, if more than `ask.num_segments`, unless that is all.

        Raises:
            QuestionError, StoreError: As `hits`.
        """
        num_segments = self._ask.num_segments and max(self._ask.num_segments, at_least)
        hits = self.hits(query, num_segments)
        if self._route.only_fitting:
            hits = [hit for hit in hits if hit.score >= self._ask.fitting] or hits[:1]
        return hits

    def _require_sound(self) -> None:
        """Where nothing can be found, say which videos are damaged.

        Raises:
            StoreError: Some are.
        """
        if damaged := damage_notes(self._store):
            raise StoreError(" ".join(damaged))

    def _by_moment(self, query: Query, hits: list[Hit]) -> list[Hit]:
        keys = [hit.key for hit in hits]
        try:
            segments: Sequence[Segment | None] = self._store.load(keys)
        except DamagedObjectError:
            segments = [self._sound(key) for key in keys]
        return rescored(hits, segments, query.embedding, self._ask)

    def _sound(self, key: tuple[str, int]) -> Segment | None:
        try:
            [segment] = self._store.load([key])
        except DamagedObjectError as error:
            # Its segment keeps its score and the others get new ones, so it may not be shown.
            if str(error) not in self.damage:
                self.damage.append(str(error))
            return None
        return segment

    def note(self, query: Query, hits: Sequence[Hit]) -> str:
        """Return a caveat where nothing fits a question, "" where something does.

        A question about one video may name no place in it; it is shown frames from all of it, and
        that is a caveat only where the question is known to name one.
        """
        if hits and not self._route.names_place and self.is_nothing(query, hits):
            return ""
        return nothing_fits([hit.score for hit in hits], self._ask)

    def load(
        self, query: Query, hits: list[Hit], budget: int, *, is_found: bool = False
    ) -> tuple[list[Hit], Sequence[Segment]]:
        """Load what was found, or frames from all over the one video where nothing was.

        Args:
            query: What was asked.
            hits: What was found, best first.
            budget: The most visual tokens shown.
            is_found: Whether something else than the pictures found them.

        Returns:
            The hits that count, and their segments.
        """
        ask = self._ask
        if not is_found and self.is_nothing(query, hits):
            return self._spread(query, budget)
        found = [hit.key for hit in hits]
        around = self._store.around(found, ask.context_segments)
        candidates: Sequence[Segment] = self._store.load(around)
        if query.question.span is not None:
            start, end = query.question.span
            candidates = [s for s in candidates if s.start_seconds < end and s.end_seconds > start]
        if ask.num_segments and ask.max_shot_frames:
            candidates = shots_around(query, candidates, found, ask)
        return hits, candidates

    def is_nothing(self, query: Query, hits: Sequence[Hit]) -> bool:
        """Tell whether the pictures of the one video that is asked about show no place of it."""
        best = max(hit.score for hit in hits)
        is_nowhere = self._route.spreads or best < self._ask.min_score
        return len(query.question.video_ids) == 1 and is_nowhere

    def _spread(self, query: Query, budget: int) -> tuple[list[Hit], Sequence[Segment]]:
        """Take frames from all over the one video that is asked about, whatever was found.

        Returns:
            Every segment as a hit, and as many whole frames as the budget holds.
        """
        [video_id] = query.question.video_ids
        hits = self.hits(query, 0)
        stored = sorted(hit.segment_index for hit in hits)
        [first] = self._store.load([(video_id, stored[0])])
        cost = max(1, len(first.tokens) // max(1, first.num_frames))  # tokens of a whole frame
        keys = [(video_id, stored[place]) for place in evenly(len(stored), budget // cost)]
        uniform = Uniform()
        return hits, uniform(query, self._store.load(keys), max(budget, cost))


def evenly(num_places: int, count: int) -> list[int]:
    """Spread a count over places, the first and the last among them; all where there are fewer.

    >>> evenly(10, 4)
    [0, 3, 6, 9]
    """
    if num_places <= max(2, count):
        return list(range(num_places))
    steps = max(2, count) - 1
    return [(2 * k * (num_places - 1) + steps) // (2 * steps) for k in range(steps + 1)]


def nothing_fits(scores: Sequence[float], ask: Ask) -> str:
    """Return a caveat where the best of some scores is below the least that fits, else "".

    >>> nothing_fits([-0.028, -0.1], Ask(fit_score=0.15))
    'Nothing was found that fits: the best score is -0.028, below 0.15 (ask.fit_score).'
    """
    if not scores or max(scores) >= ask.fitting:
        return ""
    name = "fit_score" if ask.fit_score >= ask.min_score else "min_score"
    return (
        f"Nothing was found that fits: the best score is {max(scores):.3f}, below "
        f"{ask.fitting:g} (ask.{name})."
    )
