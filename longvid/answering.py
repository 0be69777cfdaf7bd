"""The ask wing: a question in, an answer with evidence out. No video file is opened here.

embed the question → search the store → load candidates → select under the budget → language model
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from longvid.config import Config, load_config, torch_device
from longvid.errors import QuestionError
from longvid.parts import Encoder, LanguageModel
from longvid.store import Hit, Store, StoredVideo
from longvid.types import Answer, Evidence, Query, Question, Segment, Selection

__all__ = ["VideoQA", "merge_spans", "supporting"]


class VideoQA:
    """Asks questions of one store; models are loaded once, at the first question that needs them.

    Args:
        store: Folder or URI of a store.
        config: None takes the configuration that the store was made with. A preset, file or
            Config changes the ask side (selectors, llm, budget); the embedder must be the same.
        device: Where models run, "auto" for a GPU if there is one.

    Raises:
        StoreError: There is no store, or it is of a newer format.
    """

    def __init__(
        self,
        store: str | Path,
        config: str | Path | Config | None = None,
        device: str = "auto",
    ) -> None:
        self.store = Store.open(str(store))
        if config is None:
            config = Config.from_dict(self.store.config)
        elif not isinstance(config, Config):
            config = load_config(config)
        self.config = config
        self.device = torch_device(device)
        self._embedder: Encoder | None = None
        self._llm: LanguageModel | None = None
        self._selectors = [part.setup(self.device) for part in config.selectors]

    @property
    def embedder(self) -> Encoder:
        """The text side of the encoder that the store was made with."""
        if self._embedder is None:
            self._embedder = self.config.encoder.setup_embedder(self.device)
        return self._embedder

    @property
    def llm(self) -> LanguageModel:
        """The language model, checked against the store's token space."""
        if self._llm is None:
            llm: LanguageModel = self.config.llm.setup(self.device)
            if llm.space != self.store.space:
                raise QuestionError(
                    f"The store's tokens are of {self.store.space}, but the language model reads "
                    f"{llm.space}; index again with --config of that model, or ask with the "
                    "store's own."
                )
            self._llm = llm
        return self._llm

    def ask(
        self,
        text: str,
        *,
        video: str | None = None,
        choices: Sequence[str] = (),
        budget: int | None = None,
    ) -> Answer:
        """Answer one question from stored tokens.

        Args:
            text: The question.
            video: Path, name or id of one stored video; None asks the whole store.
            choices: For multiple choice; each is scored by the language model.
            budget: The most visual tokens shown; None takes the configuration's.

        Returns:
            The answer with its evidence, token counts and seconds by step.

        Raises:
            QuestionError: The store is empty, or the model cannot read the question.
            StoreError: No such video.
            BudgetError: The budget cannot hold even one frame.
        """
        clock = _Clock()
        ids = (self.store.find(video),) if video is not None else ()
        question = Question(text, video_ids=ids, choices=tuple(choices))
        with clock("load_models"):
            llm, embedder = self.llm, self.embedder
        with clock("embed"):
            query = Query(question, embedder.embed_text([text])[0], llm.embed_words(text))
        with clock("search"):
            hits = self._hits(query, self.config.ask.num_segments)
        with clock("load"):
            candidates = self.store.load(sorted((hit.video_id, hit.segment_index) for hit in hits))
        with clock("select"):
            selection = self._select(
                query, hits, candidates, self.config.ask.budget if budget is None else budget
            )
        with clock("llm"):
            generation = llm.answer(question, selection)
        return Answer(
            text=generation.text,
            evidence=selection.evidence,
            visual_tokens=selection.num_tokens,
            prompt_tokens=generation.prompt_tokens,
            output_tokens=generation.output_tokens,
            seconds={**clock.seconds, **generation.seconds},
            choice=generation.choice,
            choice_scores=generation.choice_scores,
            note=llm.note,
        )

    def search(self, text: str, *, video: str | None = None, top_k: int = 5) -> list[Evidence]:
        """Find the segments nearest to a text, without a language model.

        Args:
            text: What to look for.
            video: Path, name or id of one stored video; None searches the whole store.
            top_k: How many segments.

        Returns:
            Spans with their similarity, best first; neighbours are not merged.
        """
        ids = (self.store.find(video),) if video is not None else ()
        query = Query(
            Question(text, video_ids=ids), self.embedder.embed_text([text])[0], torch.empty(0, 0)
        )
        return [self._evidence(hit, self._videos()) for hit in self._hits(query, top_k)]

    def _hits(self, query: Query, num_segments: int) -> list[Hit]:
        if query.embedding.shape[0] != self.store.embedding_width:
            raise QuestionError(
                f"The store holds embeddings of width {self.store.embedding_width}, the question "
                f"was embedded to {query.embedding.shape[0]}; ask with the store's own embedder."
            )
        videos = self._videos()
        asked = query.question.video_ids or tuple(videos)
        total = sum(videos[video_id].num_segments for video_id in asked)
        if not total:
            raise QuestionError(
                f"The store {self.store.uri} holds no indexed video yet; run `longvid index` first."
            )
        return self.store.search(
            query.embedding, min(num_segments or total, total), query.question.video_ids
        )

    def _select(
        self, query: Query, hits: Sequence[Hit], candidates: Sequence[Segment], budget: int
    ) -> Selection:
        chosen: Sequence[Segment] = candidates
        for select in self._selectors:
            chosen = select(query, chosen, budget)
        shown = {segment.key for segment in chosen if len(segment.tokens)}
        seen = [hit for hit in hits if (hit.video_id, hit.segment_index) in shown]
        videos = self._videos()
        evidence = merge_spans([self._evidence(hit, videos) for hit in supporting(seen)])
        return Selection(tuple(chosen), tuple(evidence[: self.config.ask.num_evidence]), budget)

    def _videos(self) -> dict[str, StoredVideo]:
        return {stored.video.video_id: stored for stored in self.store.videos()}

    def _evidence(self, hit: Hit, videos: dict[str, StoredVideo]) -> Evidence:
        return Evidence(
            video_id=hit.video_id,
            path=videos[hit.video_id].video.path,
            start_seconds=hit.start_seconds,
            end_seconds=hit.end_seconds,
            score=hit.score,
        )


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


@dataclass(slots=True)
class _Clock:
    """Wall time by step."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def __call__(self, step: str) -> Iterator[Any]:
        started = time.perf_counter()
        yield
        self.seconds[step] = time.perf_counter() - started
