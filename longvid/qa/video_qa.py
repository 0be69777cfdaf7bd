"""The ask wing: a question in, an answer with evidence out. No video file is opened here, but
for boxes in full frames (`ask.ground_frames`).

embed the question → search the store → load candidates → select under the budget → language model

`candidate_segments.py` searches and loads, `evidence.py` chooses spans, `prompt_text.py` adds the
subtitles, `line_quotes.py` answers by lines.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from longvid.config import Config
from longvid.errors import LongvidError, QuestionError, UnknownWordsError
from longvid.laws import require_selected
from longvid.llm.line_in_place import asks_for_line, asks_text_alone
from longvid.llm.quote import NOTHING_FOUND, Quote
from longvid.models.transformers_logging import loading
from longvid.protocols import AnswerListener, Generation, LanguageModel
from longvid.qa import joined_questions as joined
from longvid.qa.answer_grounding import AnswerGrounding
from longvid.qa.arguments import (
    budget_share,
    require_question,
    require_questions,
    require_same_space,
)
from longvid.qa.box_lines import BoxLines
from longvid.qa.candidate_segments import CandidateSearch, stored_videos
from longvid.qa.damage_note import all_with_damage, with_damage
from longvid.qa.evidence import merge_spans, spans_of, supporting
from longvid.qa.expert_router import ExpertRouter
from longvid.qa.line_quotes import LineQuotes, quote_note, supporting_lines
from longvid.qa.moment_of_line import split_at_moment
from longvid.qa.prepared import Clock, Prepared, Renumbered, failed_question
from longvid.qa.retrieved_lines import RetrievedLines
from longvid.qa.routing import route_of
from longvid.qa.search_text import search_text
from longvid.qa.second_look import SecondLook
from longvid.qa.shown_pictures import shown_pictures
from longvid.qa.store_search import StoreSearch
from longvid.qa.text_search import fused
from longvid.qa.video_filter import chosen_ids
from longvid.store import Hit
from longvid.timed_text.words import asked_source
from longvid.types import Answer, Evidence, Failure, Query, Question, Segment, Selection


class VideoQA(StoreSearch):
    """Asks questions of one store; models are loaded once, at the first question that needs them.

    Several threads may ask one VideoQA. As a context manager it gives the models' memory back at
    the end of the block.

    Args:
        store: Folder or URI of a store.
        config: None takes the configuration that the store was made with. A preset, file or
            Config changes the ask side (selectors, llm, budget); the embedder must be the same.
        device: Where models run, "auto" for a GPU if there is one. None takes what `config` says;
            what the store was made on counts for nothing.
        allow_empty: Ask the language model also where the selectors show no frame, to measure what
            words alone give away; else that is an error.

    Raises:
        StoreError: There is no store, or it is of a newer format.
        ConfigError: There is no such device.
    """

    def __init__(
        self,
        store: str | Path,
        config: str | Path | Config | None = None,
        device: str | None = None,
        *,
        allow_empty: bool = False,
    ) -> None:
        super().__init__(store, config, device)
        self._llm: LanguageModel | None = None
        self._allow_empty = allow_empty
        self._lines = RetrievedLines(self._text, self.config.ask, self.config.llm)
        quote = self.config.llm if isinstance(self.config.llm, Quote) else Quote()
        self._quotes = LineQuotes(self.store, self._text, quote.min_score)
        self._boxes = BoxLines(self.store)
        self._router = ExpertRouter(self._text, self._boxes, self.config.ask)
        self._second_look = SecondLook.of(self.store, self.config, self.device)
        self._grounding = AnswerGrounding(self.config, self.store, self.device)
        self._selectors = [(part, part.setup(self.device)) for part in self.config.selectors]

    def __repr__(self) -> str:
        table = self.config.to_dict()["llm"]
        model = table.get("model") or table["name"]
        return f"VideoQA({self.store.uri!r}, model={model!r}, device={self.device!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        raise LongvidError(
            "A VideoQA holds loaded models and cannot be pickled or copied; send the store's name "
            f"and make VideoQA({self.store.uri!r}) in the other process."
        )

    def __enter__(self) -> VideoQA:
        self._require_open()
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the memory of the models back; nothing can be asked afterwards."""
        self._closed = True
        self._embedder = self._llm = None

    @property
    def llm(self) -> LanguageModel:
        """The language model, checked against the store's token space."""
        llm = self._llm
        if llm is None:
            with loading():
                self._require_open()
                llm = self._llm
                if llm is None:
                    require_same_space(self.config.llm, self.store)
                    self._grounding.require_checkpoints()
                    llm = self._llm = self.config.llm.setup(self.device)
        return llm

    @property
    def _only_quotes(self) -> bool:
        """Whether answers are lines of text, which need no picture."""
        return isinstance(self.config.llm, Quote)

    def ask(
        self,
        text: str,
        *,
        video: str | Path | None = None,
        choices: Sequence[str] = (),
        budget: int | None = None,
        span: tuple[float, float] | None = None,
        history: Sequence[tuple[str, str]] = (),
        paths: str = "",
        tags: Mapping[str, str] | None = None,
    ) -> Answer:
        """Answer one question from stored tokens.

        Args:
            text: The question.
            video: Path, name or id of one stored video; None asks the whole store.
            choices: For multiple choice; each is scored by the language model.
            budget: The most visual tokens shown; None takes the configuration's.
            span: Start and end in seconds that the question is about; None for all.
            history: Earlier turns of a conversation, (question, answer) each, oldest first.
            paths, tags: Ask these videos alone, as `search` has them.

        Returns:
            The answer with its evidence, token counts and seconds by step.

        Raises:
            QuestionError: The store is empty, or the model cannot read the question.
            StoreError: No such video.
            BudgetError: The budget cannot hold even one frame.
        """
        question = Question(text, choices=choices, span=span, history=history)  # type: ignore[arg-type]  # lists become tuples there
        ids = chosen_ids(self.store, video, paths, tags)
        parts = joined.parts_of(replace(question, video_ids=ids), self.config.ask)
        answers = [self._answered(self._prepare(part, budget, len(parts))) for part in parts]
        most = self.config.ask.num_evidence
        return with_damage(joined.answer_of(parts, answers, most), self.store)

    def ask_many(
        self,
        questions: Sequence[Question],
        budget: int | None = None,
        listener: AnswerListener | None = None,
    ) -> list[Answer | Failure]:
        """Answer many questions, several side by side; the error of one never stops the others.

        Questions about one video should stand together: what the language model has read of a
        selection serves the next question over it.

        Args:
            questions: On any videos of the store; `video_ids` may also hold paths or names.
            budget: The most visual tokens shown for each; None takes the configuration's.
            listener: Hears of each question, by its place, what was selected and the text so far.

        Returns:
            One entry a question, in order: the answer that `ask` gives, or why there is none.

        Raises:
            QuestionError: The language model reads another token space than the store's.
            ModelError: A checkpoint is missing.
        """
        require_questions(questions)
        _ = self.llm, self.embedder  # what concerns every question is said once
        parts = [joined.parts_of(question, self.config.ask) for question in questions]
        asked = [(n, part) for n, of_one in enumerate(parts) for part in of_one]
        owners, most = [owner for owner, _ in asked], self.config.ask.num_evidence
        heard = None if listener is None else joined.PartsListener(listener, owners, most)
        shares = [(part, len(parts[owner])) for owner, part in asked]
        answers = self._answer_parts(shares, budget, heard)
        return all_with_damage(joined.answers_of(asked, answers, most), self.store)

    def _answer_parts(
        self,
        parts: Sequence[tuple[Question, int]],
        budget: int | None,
        listener: AnswerListener | None,
    ) -> list[Answer | Failure]:
        """Answer parts, each with the number of parts that share its budget, side by side."""
        answers: list[Answer | Failure] = []
        for first in range(0, len(parts), self.config.ask.batch_questions):
            batch = parts[first : first + self.config.ask.batch_questions]
            prepared: list[Prepared | Failure] = []
            for index, (question, num_parts) in enumerate(batch, first):
                try:
                    ids = tuple(self.store.find(name) for name in question.video_ids)
                    one = self._prepare(replace(question, video_ids=ids), budget, num_parts)
                    if listener is not None:
                        listener.selected(index, one.selection)
                    prepared.append(one)
                except LongvidError as error:
                    prepared.append(failed_question(question, error))
            ready = [one for one in prepared if isinstance(one, Prepared)]
            places = [first + n for n, one in enumerate(prepared) if isinstance(one, Prepared)]
            heard = None if listener is None else Renumbered(listener, places)
            asked = [(one.question, one.selection) for one in ready]
            generations = iter(self.llm.answer_many(asked, heard))
            for (question, _), ready_or_failed in zip(batch, prepared, strict=True):
                if isinstance(ready_or_failed, Failure):
                    answers.append(ready_or_failed)
                    continue
                try:
                    answers.append(self._finished(ready_or_failed, next(generations)))
                except LongvidError as error:
                    answers.append(failed_question(question, error))
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
        require_question(question)
        ids = tuple(self.store.find(name) for name in question.video_ids)
        parts = joined.parts_of(replace(question, video_ids=ids), self.config.ask)
        selections = [self._prepare(part, budget, len(parts)).selection for part in parts]
        return joined.selection_of(selections, self.config.ask.num_evidence)

    def _prepare(self, question: Question, budget: int | None, num_parts: int = 1) -> Prepared:
        """Do everything but the language model's work; several parts share the budget."""
        budget = self.config.ask.budget if budget is None else budget
        budget = budget_share(budget, num_parts)
        clock = Clock()
        with clock("load_models"):
            llm, _ = self.llm, self.embedder
        with clock("embed"):
            text = search_text(question)
            words = llm.embed_words(text)
            query = Query(question, self._embedded(text), words)
            route = route_of(text, self.config.ask)
            search = CandidateSearch(self.store, route)
        with clock("search"):
            videos = stored_videos(self.store)
            experts = self._router.choose(question, videos, llm)
            lines = self._lines.find(question, videos, experts.sources, experts.most_lines)
            hits: list[Hit] = []
            unconfirmed, unseen, weight = "", True, self.config.ask.text_weight
            if experts.see_pictures or not lines:
                found, unconfirmed = self._second_look.find(search, query, text, llm)
                unseen = search.is_nothing(query, found)
                hits = fused(self.store, query, found, lines, videos, weight)
        with clock("load"):
            candidates: Sequence[Segment] = ()
            if hits:
                hits, candidates = search.load(query, hits, budget, is_found=bool(lines and weight))
        with clock("select"):
            selection = self._select(query, hits, candidates, budget)
            if not (selection.num_tokens or lines or self._allow_empty or self._only_quotes):
                raise QuestionError(
                    "Nothing was selected: 0 visual tokens would be shown, so no answer rests on "
                    "the video; choose other selectors, or index again with other compressors."
                )
            evidence = self._lines.evidence(lines, selection.evidence, videos)
            boxes: Sequence[str] = ()
            if "boxes" in experts.names and experts.things:
                boxes = self._boxes.lines(experts.things, selection.segments)
            shown = experts.shown(lines, boxes)
            selection = replace(selection, evidence=evidence, experts=shown)
            plain, selection = self._prompt_text.add(question, selection)
            written, text_tokens = self._lines.write(plain, lines, videos, llm, boxes)
            selection = replace(selection, text_tokens=text_tokens)
            if self.config.llm.reads_pictures:
                pictures = shown_pictures(self.store, selection)
                selection = replace(selection, pictures=pictures)
        note = "" if lines else unconfirmed or search.note(query, hits)
        note = " ".join(filter(None, (experts.note, note, *search.damage)))
        return Prepared(query, written, selection, clock, plain, unseen and bool(lines), note)

    def _answered(self, prepared: Prepared) -> Answer:
        with prepared.clock("llm"):
            try:
                generation = self.llm.answer(prepared.question, prepared.selection)
            except UnknownWordsError as error:
                return self._without_lines(prepared, error)
        return self._answer_or_quote(prepared, generation)

    def _finished(self, prepared: Prepared, generation: Generation | LongvidError) -> Answer:
        """Turn what the language model gave for one question of many into its answer."""
        if isinstance(generation, UnknownWordsError):
            return self._without_lines(prepared, generation)
        if isinstance(generation, LongvidError):
            raise generation
        return self._answer_or_quote(prepared, generation)

    def _answer_or_quote(self, prepared: Prepared, generation: Generation) -> Answer:
        """Prefer a line to an answer about footage that the model cannot know, which a question
        that asks for text alone is never given."""
        question = prepared.plain
        asks_text = asks_text_alone(question)
        by_line = asks_for_line(question, prepared.selection)
        if self._only_quotes or (generation.note and by_line):
            found = self._lines.quotable(question, stored_videos(self.store))
            quote = self._quotes.quote(found)
            if self._only_quotes or asks_text or quote.text != NOTHING_FOUND:
                return self._quoted(prepared, quote, found.lines)
        return self._answer(prepared, generation)

    def _without_lines(self, prepared: Prepared, error: UnknownWordsError) -> Answer:
        """Answer where the model cannot read the lines it was shown: from the pictures, if they
        show anything of the question; else by a line.

        Raises:
            UnknownWordsError: There is no line, and the question names no source of text.
        """
        at_moment = self._at_moment_of_line(prepared)
        if at_moment is not None:
            return at_moment
        plain, is_unseen = prepared.plain, prepared.is_unseen
        found = self._lines.quotable(plain, stored_videos(self.store))
        alone = prepared.question == plain  # no line and no box was written to it
        if alone and not any(span.text for span in prepared.selection.evidence):
            # Subtitles are not shown to this model unless it is told to; quoting needs no model.
            if not found.lines and (plain.choices or not asked_source(plain.text)):
                raise error
            is_unseen = True
        if not is_unseen:
            try:
                generation = self.llm.answer(plain, prepared.selection)
                return self._answer_or_quote(prepared, generation)
            except UnknownWordsError:
                pass  # not even the question
        return self._quoted(prepared, self._quotes.quote(found), found.lines)

    def _at_moment_of_line(self, prepared: Prepared) -> Answer | None:
        """Answer "what color is it when X is mentioned?" from the pictures beside the line on X."""
        asked = split_at_moment(prepared.plain.text)
        found = asked and self._lines.on(asked[1], prepared.plain, stored_videos(self.store))
        if not asked or not found:
            return None
        first, last = prepared.plain.span or (0, found.end_seconds)
        span = (max(first, found.start_seconds), min(last, found.end_seconds))
        question = replace(prepared.plain, text=asked[0], video_ids=(found.video_id,), span=span)
        try:
            beside = self._prepare(question, prepared.selection.budget)
            answer = self._answered(replace(beside, note=""))  # the line found it, not the pictures
        except QuestionError:
            return None
        if answer.note:  # pictures that the model cannot know
            return None
        return replace(answer, evidence=(found, *answer.evidence)[: self.config.ask.num_evidence])

    def _quoted(self, prepared: Prepared, quote: Generation, lines: Sequence[Evidence]) -> Answer:
        """Return an answer by a line: only lines support it, and none where nothing was found."""
        note = quote_note(quote, in_place=not self._only_quotes)
        evidence = supporting_lines(quote, lines)
        return replace(self._answer(prepared, quote), evidence=evidence, note=note)

    def _answer(self, prepared: Prepared, generation: Generation) -> Answer:
        answer = prepared.answer(generation, self.llm.note)
        return self._grounding.add(prepared.plain, answer, prepared.selection, self.llm)

    def _select(
        self, query: Query, hits: Sequence[Hit], candidates: Sequence[Segment], budget: int
    ) -> Selection:
        chosen: Sequence[Segment] = candidates
        for part, select in self._selectors if candidates else ():
            chosen = require_selected(part, chosen, select(query, chosen, budget), budget)
        shown = {segment.key for segment in chosen if len(segment.tokens)}
        seen = [hit for hit in hits if hit.key in shown]
        evidence = merge_spans(spans_of(supporting(seen), stored_videos(self.store)))
        return Selection(tuple(chosen), tuple(evidence[: self.config.ask.num_evidence]), budget)
