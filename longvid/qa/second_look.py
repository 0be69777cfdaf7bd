"""Look again at what a search found: rerankers, then the language model itself.

Both are slow and see more than an embedding does, so they are shown the best hits alone:
`ask.rerank_segments` go to each reranker, `ask.confirm_segments` to the language model.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from longvid import registry
from longvid.config import Ask, Config
from longvid.errors import ModelError
from longvid.protocols import LanguageModel, Reranker
from longvid.qa.candidate_segments import CandidateSearch
from longvid.qa.confirmation import confirm
from longvid.question_form import caption_of
from longvid.store import Hit, Store
from longvid.store.player_time import stored_picture_times, stored_pictures
from longvid.types import Candidate, Picture, Query, Question


@dataclass(frozen=True, slots=True)
class SecondLook:
    """Ranks the best hits of a search once more.

    Args:
        store: Which holds their tokens and pictures.
        ask: How many are looked at.
        rerankers: Names and workers, applied in this order.
    """

    store: Store
    ask: Ask
    rerankers: Sequence[tuple[str, Reranker]] = ()

    @classmethod
    def of(cls, store: Store, config: Config, device: str) -> SecondLook:
        """Load the rerankers of a configuration."""
        parts = config.rerankers
        workers = [(registry.name_of("reranker", part), part.setup(device)) for part in parts]
        return cls(store, config.ask, workers)

    def find(
        self, search: CandidateSearch, query: Query, text: str, llm: LanguageModel
    ) -> tuple[list[Hit], str]:
        """Search for a question, and rank what was found again.

        Args:
            search: Of the store.
            query: The question.
            text: What is searched for.
            llm: Asked by `ask.confirm_segments`.

        Returns:
            As many hits as the search was to find, best first, and a caveat where the language
            model sees none of what is asked for.

        Raises:
            QuestionError, StoreError: As `CandidateSearch.hits`, or pictures are damaged.
            ModelError: A reranker or the language model gave scores that are no numbers.
        """
        reranked = self.ask.rerank_segments if self.rerankers else 0
        hits = search.fitting_hits(query, max(reranked, self.ask.confirm_segments))
        for name, reranker in self.rerankers:
            hits = self._reranked(query.question, hits, name, reranker)
        hits, note = self._confirmed(text, hits, llm)
        return hits[: search.num_segments or None], note

    def _confirmed(self, text: str, hits: list[Hit], llm: LanguageModel) -> tuple[list[Hit], str]:
        caption = caption_of(text)
        if not self.ask.confirm_segments or not caption:
            return hits, ""
        asked = hits[: self.ask.confirm_segments]
        segments = self.store.load([hit.key for hit in asked])
        prompt = self.ask.confirm_prompt.format(caption=caption)
        found = confirm(llm, prompt, hits, segments, self.ask.batch_questions)
        if found.is_shown:
            return found.hits, ""
        return hits, (
            f"Nothing was found that fits: the language model sees no {caption!r} in the "
            f"{len(asked)} best segments (ask.confirm_segments)."
        )

    def _reranked(
        self, question: Question, hits: list[Hit], name: str, reranker: Reranker
    ) -> list[Hit]:
        best, rest = hits[: self.ask.rerank_segments], hits[self.ask.rerank_segments :]
        scores = list(reranker(question, [self._candidate(hit) for hit in best]))
        if len(scores) != len(best) or not all(map(math.isfinite, scores)):
            raise ModelError(
                f"The reranker {name} scored {len(best)} candidates as {scores[:8]}; one finite "
                "number each is needed: check its weights, or leave it out of rerankers."
            )
        order = sorted(range(len(best)), key=lambda place: (-scores[place], place))
        return [*(best[place] for place in order), *rest]

    def _candidate(self, hit: Hit) -> Candidate:
        pictures: tuple[Picture, ...] = ()
        times = stored_picture_times(self.store, hit.video_id)
        inside = [time for time in times if hit.start_seconds <= time < hit.end_seconds]
        if inside:
            pictures = tuple(stored_pictures(self.store, hit.video_id, inside))
        return Candidate(
            video_id=hit.video_id,
            segment_index=hit.segment_index,
            start_seconds=hit.start_seconds,
            end_seconds=hit.end_seconds,
            score=hit.score,
            pictures=pictures,
        )
