"""The ask wing: a question in, an answer with evidence out. No video file is opened here.

embed the question → search the store → load candidates → select under the budget → language model
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from longvid import registry
from longvid.config import Config, load_config, torch_device
from longvid.errors import LongvidError, ModelError, QuestionError, StoreError
from longvid.protocols import Encoder, Generation, LanguageModel
from longvid.select.shots import shots_around
from longvid.store import Hit, Store, StoredVideo, read_subtitles
from longvid.timed_text.alignment import listed, spoken_after, spoken_over
from longvid.timed_text.lexical_search import rank
from longvid.types import Answer, Evidence, Failure, Query, Question, Segment, Selection, TextLine

__all__ = ["VideoQA", "evenly", "merge_spans", "supporting"]

#: Videos whose subtitles are kept at hand.
_VIDEOS_KEPT = 64


class VideoQA:
    """Asks questions of one store; models are loaded once, at the first question that needs them.

    Args:
        store: Folder or URI of a store.
        config: None takes the configuration that the store was made with. A preset, file or
            Config changes the ask side (selectors, llm, budget); the embedder must be the same.
        device: Where models run, "auto" for a GPU if there is one. None takes what `config` says;
            what the store was made on counts for nothing.

    Raises:
        StoreError: There is no store, or it is of a newer format.
        ConfigError: There is no such device.
    """

    def __init__(
        self,
        store: str | Path,
        config: str | Path | Config | None = None,
        device: str | None = None,
    ) -> None:
        self.store = Store.open(str(store))
        if config is None:
            config = Config.from_dict({**self.store.config, "run": {}})
        elif not isinstance(config, Config):
            config = load_config(config)
        self.config = config
        self.device = torch_device(config.run.device if device is None else device)
        self._embedder: Encoder | None = None
        self._llm: LanguageModel | None = None
        self._spoken: dict[str, tuple[TextLine, ...]] = {}
        #: Subtitles, in order of their start, in place of those that the store knows of a video.
        self.subtitles: dict[str, Sequence[TextLine]] = {}
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
            spaces = self.config.llm.spaces()
            if self.store.space not in spaces:  # said before the weights are read
                raise QuestionError(
                    f"The store's tokens are of {self.store.space}, but the language model reads "
                    f"{' or '.join(spaces)}; index again with --config of that model, or ask with "
                    "the store's own."
                )
            self._llm = self.config.llm.setup(self.device)
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
        ids = (self.store.find(video),) if video is not None else ()
        return self._answered(
            self._prepare(Question(text, video_ids=ids, choices=tuple(choices)), budget)
        )

    def ask_many(
        self, questions: Sequence[Question], budget: int | None = None
    ) -> list[Answer | Failure]:
        """Answer many questions, several side by side; the error of one never stops the others.

        Questions about one video should stand together: what the language model has read of a
        selection serves the next question over it.

        Args:
            questions: On any videos of the store; `video_ids` may also hold paths or names.
            budget: The most visual tokens shown for each; None takes the configuration's.

        Returns:
            One entry a question, in order: the answer that `ask` gives, or why there is none.

        Raises:
            QuestionError: The language model reads another token space than the store's.
            ModelError: A checkpoint is missing.
        """
        llm, _ = self.llm, self.embedder  # what concerns every question is said once
        answers: list[Answer | Failure] = []
        for first in range(0, len(questions), self.config.ask.batch_questions):
            batch = questions[first : first + self.config.ask.batch_questions]
            prepared: list[_Prepared | Failure] = []
            for question in batch:
                try:
                    ids = tuple(self.store.find(name) for name in question.video_ids)
                    prepared.append(self._prepare(replace(question, video_ids=ids), budget))
                except LongvidError as error:
                    prepared.append(_failure(question, error))
            ready = [one for one in prepared if isinstance(one, _Prepared)]
            generations = iter(llm.answer_many([(one.question, one.selection) for one in ready]))
            for question, one in zip(batch, prepared, strict=True):
                if isinstance(one, Failure):
                    answers.append(one)
                    continue
                generation = next(generations)
                if isinstance(generation, LongvidError):
                    answers.append(_failure(question, generation))
                else:
                    answers.append(self._answer(one, generation))
        return answers

    def select(self, question: Question, budget: int | None = None) -> Selection:
        """Return what the language model would be shown for a question, without asking it.

        Args:
            question: Its `video_ids` may also hold paths or names.
            budget: The most visual tokens shown; None takes the configuration's.

        Raises:
            QuestionError: The store is empty.
            StoreError: No such video.
        """
        ids = tuple(self.store.find(name) for name in question.video_ids)
        return self._prepare(replace(question, video_ids=ids), budget).selection

    def _prepare(self, question: Question, budget: int | None) -> _Prepared:
        """Do everything but the language model's work."""
        clock = _Clock()
        with clock("load_models"):
            llm, embedder = self.llm, self.embedder
        with clock("embed"):
            text = question.text
            query = Query(question, embedder.embed_text([text])[0], llm.embed_words(text))
        with clock("search"):
            hits = self._hits(query, self.config.ask.num_segments)
        budget = self.config.ask.budget if budget is None else budget
        with clock("load"):
            if len(question.video_ids) == 1 and hits[0].score < self.config.ask.least_score:
                hits, candidates = self._spread(query, budget)
            else:
                found = [(hit.video_id, hit.segment_index) for hit in hits]
                candidates = self.store.load(self.store.around(found, self.config.ask.neighbours))
                if self.config.ask.num_segments and self.config.ask.shot_frames:
                    candidates = shots_around(query, candidates, found, self.config.ask)
        with clock("select"):
            selection = self._select(query, hits, candidates, budget)
            if self.config.ask.subtitles != "none":
                question, selection = self._with_subtitles(question, selection)
        return _Prepared(query, question, selection, clock)

    def _spread(self, query: Query, budget: int) -> tuple[list[Hit], Sequence[Segment]]:
        """Take frames from all over the one video that is asked about, whatever was found.

        Returns:
            Every segment as a hit, and as many whole frames as the budget holds.
        """
        [video_id] = query.question.video_ids
        hits = self._hits(query, 0)
        stored = sorted(hit.segment_index for hit in hits)
        [first] = self.store.load([(video_id, stored[0])])
        cost = max(1, len(first.tokens) // max(1, first.num_frames))  # tokens of a whole frame
        keys = [(video_id, stored[place]) for place in evenly(len(stored), budget // cost)]
        uniform = registry.find("selector", "uniform")()
        return hits, uniform(query, self.store.load(keys), max(budget, cost))

    def _with_subtitles(
        self, question: Question, selection: Selection
    ) -> tuple[Question, Selection]:
        """Add what is said in the shown segments, listed before the question or between frames."""
        by_video = itertools.groupby(selection.segments, lambda segment: segment.video_id)
        spoken: list[tuple[str, ...]] = []
        lines: list[str] = []
        for _, group in by_video:
            segments = list(group)
            said = self._said(segments)
            shown = torch.cat([s.tokens.counts(s.num_frames) > 0 for s in segments])
            pts_seconds = torch.cat([segment.pts_seconds for segment in segments])[shown]
            if self.config.ask.subtitles == "listed":
                lines += listed(said, pts_seconds.tolist())
                continue
            place = spoken_after if self.config.ask.subtitles == "interleaved" else spoken_over
            after = iter(place(said, pts_seconds.tolist()))
            texts = [next(after) if seen else "" for seen in shown.tolist()]
            for segment in segments:
                spoken.append(tuple(texts[: segment.num_frames]))
                del texts[: segment.num_frames]
        if lines:
            text = "\n".join(dict.fromkeys(lines))
            heading = "This video's subtitles are listed below:"
            question = replace(question, text=f"{heading}\n{text}\n{question.text}")
        return question, replace(selection, spoken=tuple(spoken))

    def _said(self, segments: Sequence[Segment]) -> tuple[TextLine, ...]:
        """Return the subtitles of the shown segments of one video, each once."""
        return tuple(
            line
            for line in self._subtitles(segments[0].video_id)
            if any(
                line.start_seconds < segment.end_seconds
                and line.end_seconds > segment.start_seconds
                for segment in segments
                if len(segment.tokens)
            )
        )

    def _subtitles(self, video_id: str) -> Sequence[TextLine]:
        if video_id in self.subtitles:
            return self.subtitles[video_id]
        if video_id not in self._spoken:
            while len(self._spoken) >= _VIDEOS_KEPT:
                del self._spoken[next(iter(self._spoken))]
            self._spoken[video_id] = read_subtitles(self.store, video_id)
        return self._spoken[video_id]

    def _answered(self, prepared: _Prepared) -> Answer:
        with prepared.clock("llm"):
            generation = self.llm.answer(prepared.question, prepared.selection)
        return self._answer(prepared, generation)

    def _answer(self, prepared: _Prepared, generation: Generation) -> Answer:
        selection, seconds = prepared.selection, prepared.clock.seconds
        seconds.setdefault("llm", sum(generation.seconds.values()))
        return Answer(
            text=generation.text,
            evidence=selection.evidence,
            visual_tokens=selection.num_tokens
            if generation.visual_tokens is None
            else generation.visual_tokens,
            prompt_tokens=generation.prompt_tokens,
            output_tokens=generation.output_tokens,
            seconds={**seconds, **generation.seconds},
            choice=generation.choice,
            choice_scores=generation.choice_scores,
            note=self.llm.note,
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

    def search_subtitles(
        self, text: str, *, video: str | None = None, top_k: int = 5
    ) -> list[Evidence]:
        """Find what is said by its words, without a model.

        Args:
            text: Words to look for.
            video: Path, name or id of one stored video; None searches the whole store.
            top_k: How many lines.

        Returns:
            Lines that share words with the text, best first, each with its span and what is said.

        Raises:
            StoreError: No such video.
        """
        ids = (self.store.find(video),) if video is not None else tuple(self._videos())
        lines = [(video_id, line) for video_id in ids for line in self._subtitles(video_id)]
        videos = self._videos()
        return [
            Evidence(
                video_id=lines[index][0],
                path=videos[lines[index][0]].video.path,
                start_seconds=lines[index][1].start_seconds,
                end_seconds=lines[index][1].end_seconds,
                score=score,
                text=lines[index][1].text,
            )
            for score, index in rank([line.text for _, line in lines], text)[:top_k]
        ]

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


def evenly(num_places: int, count: int) -> list[int]:
    """Spread a count over places, the first and the last among them; all where there are fewer.

    >>> evenly(10, 4)
    [0, 3, 6, 9]
    """
    if num_places <= max(2, count):
        return list(range(num_places))
    steps = max(2, count) - 1
    return [(2 * k * (num_places - 1) + steps) // (2 * steps) for k in range(steps + 1)]


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


def _failure(question: Question, error: LongvidError) -> Failure:
    """Say as data why a question has no answer."""
    kind = "question"
    if isinstance(error, StoreError):
        kind = "store"
    elif isinstance(error, ModelError):
        short = isinstance(error.__cause__, torch.OutOfMemoryError)
        kind = "out-of-memory" if short else "model"
    path = question.video_ids[0] if question.video_ids else ""
    return Failure(video_id="", path=path, stage="ask", kind=kind, error=str(error))


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A question with what the language model will be shown."""

    query: Query
    question: Question
    selection: Selection
    clock: _Clock


@dataclass(slots=True)
class _Clock:
    """Wall time by step."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def __call__(self, step: str) -> Iterator[Any]:
        started = time.perf_counter()
        yield
        self.seconds[step] = time.perf_counter() - started
