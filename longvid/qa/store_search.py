"""Searching a store: by pictures, and by the words of its text; no language model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from longvid.config import Config, load_config, torch_device
from longvid.errors import QuestionError, UnknownWordsError
from longvid.lazy_import import torch
from longvid.models.transformers_logging import loading
from longvid.protocols import TextEmbedder
from longvid.qa.arguments import require_top_k, store_name
from longvid.qa.candidate_segments import CandidateSearch, nothing_fits, stored_videos
from longvid.qa.damage_note import damage_notes
from longvid.qa.evidence import Found, spans_of
from longvid.qa.footage_note import LOOKED_AT, footage_notes, segments_at
from longvid.qa.moment_score import query_embedding
from longvid.qa.object_search import ObjectEvidence, search_objects
from longvid.qa.prompt_text import PromptText
from longvid.qa.routing import Route
from longvid.qa.subtitle_search import search_subtitles
from longvid.qa.text_search import TextSearch, line_evidence, line_notes
from longvid.qa.video_filter import chosen_ids
from longvid.question_form import search_forms
from longvid.store import Hit, Store
from longvid.store.same_weights import require_same_weights
from longvid.types import TEXT_SOURCES, Evidence, Query, Question, TextLine


class StoreSearch:
    """Finds segments and lines of one store; the embedder is loaded at the first search.

    Args: as of `longvid.qa.video_qa.VideoQA`.
    """

    def __init__(
        self, store: str | Path, config: str | Path | Config | None, device: str | None
    ) -> None:
        self.store = Store.open(store_name(store))
        if config is None:
            config = Config.from_dict({**self.store.config, "run": {}})
        elif not isinstance(config, Config):
            config = load_config(config)
        self.config = config
        self.device = torch_device(config.run.device if device is None else device)
        self._embedder: TextEmbedder | None = None
        self._closed = False
        self._prompt_text = PromptText(self.store, config.ask.subtitles)
        self._text = TextSearch(self.store, self._prompt_text.replaced, config.ask, self.device)

    def _require_open(self) -> None:
        if self._closed:
            raise QuestionError(
                f"This VideoQA of {self.store.uri} was closed; make another one to ask again."
            )

    @property
    def subtitles(self) -> dict[str, Sequence[TextLine]]:
        """Subtitles by video id, in order of their start, in place of those in the store."""
        return self._prompt_text.replaced

    @property
    def embedder(self) -> TextEmbedder:
        """The text side of the encoder that the store was made with."""
        embedder = self._embedder
        if embedder is None:
            with loading():
                self._require_open()
                embedder = self._embedder
                if embedder is None:
                    self._require_same_instruction()
                    require_same_weights(self.store, self.config)
                    embedder = self.config.encoder.setup_embedder(self.device)
                    self._embedder = embedder
        return embedder

    def _require_same_instruction(self) -> None:
        encoders = self.store.config.get("encoder"), self.config.to_dict().get("encoder")
        stored, given = (
            one.get("document_instruction", "") if isinstance(one, dict) else "" for one in encoders
        )
        if stored != given:
            raise QuestionError(
                f"The store {self.store.uri} was embedded with encoder.document_instruction "
                f"{stored!r}, and this configuration has {given!r}; ask with the store's own."
            )

    def _embedded(self, text: str) -> torch.Tensor:
        """Return the embedding by which a text is searched for, (E,) float32, unit norm."""
        forms = search_forms(text, self.config.ask.query_forms)
        return query_embedding(self.embedder.embed_text(forms))

    def search(
        self,
        text: str,
        *,
        video: str | Path | None = None,
        top_k: int = 5,
        paths: str = "",
        span: tuple[float, float] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> list[Evidence]:
        """Find the segments nearest to a text, without a language model.

        Args:
            text: What to look for.
            video: Path, name or id of one stored video; None searches the whole store.
            top_k: How many segments.
            paths: Only videos with a path that fits this pattern, in which * stands for any
                characters; "" for all.
            span: Only segments that overlap this start and end in seconds of their video.
            tags: Only videos with these values, by key.

        Returns:
            Spans with their similarity, best first; neighbours are not merged. Where moments are
            scored again, what follows the first `ask.num_rescored` has the search's own scores.

        Raises:
            QuestionError: The text or top_k is none, the store is empty, or nothing is left of it.
            StoreError: No such video.
        """
        require_top_k(top_k)
        ids = chosen_ids(self.store, video, paths, tags)
        return self._search(text, top_k, ids, span).spans

    def search_noted(
        self,
        text: str,
        *,
        video: str | Path | None = None,
        top_k: int = 5,
        paths: str = "",
        span: tuple[float, float] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> tuple[list[Evidence], list[str]]:
        """Find the segments nearest to a text, with the caveats that a person must see.

        Arguments and errors as of `search`.
        """
        require_top_k(top_k)
        found = self._search(text, top_k, chosen_ids(self.store, video, paths, tags), span)
        return found.spans, self._notes(found.scores, found.keys, found.damage)

    def _notes(
        self,
        scores: Sequence[float],
        keys: Sequence[tuple[str, int]],
        damage: Sequence[str] = (),
    ) -> list[str]:
        """Return the caveats about what was found in some segments, best first, and of damage."""
        notes = (
            self.embedder.note,
            nothing_fits(scores, self.config.ask),
            *footage_notes(self.store, self.config.llm, keys),
            *damage,
            *damage_notes(self.store),
        )
        return list(dict.fromkeys(note for note in notes if note))

    def _search(
        self,
        text: str,
        top_k: int,
        ids: tuple[str, ...],
        span: tuple[float, float] | None,
    ) -> Found:
        query, ask = self._query(text, ids, span), self.config.ask
        search = CandidateSearch(self.store, Route(ask))
        most = ask.num_rescored if ask.scores_moments else top_k
        first = search.hits(query, min(top_k, most))
        rest: list[Hit] = []
        if top_k > most == len(first):
            # A longer search begins with what a shorter one finds.
            keys = {hit.key for hit in first}
            rest = [hit for hit in search.hits(query, top_k) if hit.key not in keys]
        videos = stored_videos(self.store)  # one that was removed since is no longer found
        scores = [hit.score for hit in first if hit.video_id in videos]
        hits = [hit for hit in [*first, *rest][:top_k] if hit.video_id in videos]
        return Found(spans_of(hits, videos), scores, [hit.key for hit in hits], search.damage)

    def _query(
        self, text: str, ids: tuple[str, ...], span: tuple[float, float] | None = None
    ) -> Query:
        question = replace(Question(text, span=span), video_ids=ids)
        try:
            self.embedder.require_known_words(text)
        except UnknownWordsError as error:
            if not self._text.sources(ids):
                raise
            hint = "The store also holds lines of text: --text, or search_text, searches them."
            raise UnknownWordsError(f"{error} {hint}") from error
        return Query(question, self._embedded(text), torch.empty(0, 0))

    def relevance(self, text: str, *, video: str | Path) -> list[Evidence]:
        """Score a text against every segment of a video, all by their search vectors.

        Args:
            text: What is looked for.
            video: Path, name or id of one stored video.

        Returns:
            Its segments with their similarity, in order of time.

        Raises:
            QuestionError, StoreError: As `search`.
        """
        query = self._query(text, chosen_ids(self.store, video))
        hits = CandidateSearch(self.store, Route(self.config.ask)).hits(query, 0)
        spans = spans_of(hits, stored_videos(self.store))
        return sorted(spans, key=lambda span: span.start_seconds)

    def search_objects(
        self,
        text: str,
        *,
        video: str | Path | None = None,
        top_k: int = 5,
        tags: Mapping[str, str] | None = None,
    ) -> list[ObjectEvidence]:
        """Find the frames with an object, and where it is in them.

        Args:
            text: What to look for.
            video: Path, name or id of one stored video; None searches the whole store.
            top_k: How many frames.
            tags: Only videos with these values, by key.

        Returns:
            Boxes with their similarity, best first, one a frame.

        Raises:
            QuestionError: The text or top_k is none, or no box of the store has a vector.
            StoreError: No such video, or its boxes are damaged.
        """
        require_top_k(top_k)
        ids = chosen_ids(self.store, video, tags=tags) or tuple(stored_videos(self.store))
        self.embedder.require_known_words(Question(text).text)
        return search_objects(self.store, self._embedded(text), ids, top_k)

    def search_objects_noted(
        self,
        text: str,
        *,
        video: str | Path | None = None,
        top_k: int = 5,
        tags: Mapping[str, str] | None = None,
    ) -> tuple[list[ObjectEvidence], list[str]]:
        """Find the frames with an object, with the caveats that a person must see.

        Arguments and errors as of `search_objects`.
        """
        found = self.search_objects(text, video=video, top_k=top_k, tags=tags)
        keys = segments_at(self.store, [(one.video_id, one.seconds) for one in found[:LOOKED_AT]])
        return found, self._notes([one.score for one in found], keys)

    def search_subtitles(
        self,
        text: str,
        *,
        video: str | Path | None = None,
        top_k: int = 5,
        tags: Mapping[str, str] | None = None,
    ) -> list[Evidence]:
        """Find what is said by its words, without a model.

        Args:
            text: Words to look for.
            video: Path, name or id of one stored video; None searches the whole store.
            top_k: How many lines.
            tags: Only videos with these values, by key.

        Returns:
            Lines that share words with the text, best first, each with its span and what is said.

        Raises:
            StoreError: No such video.
        """
        require_top_k(top_k)
        ids = chosen_ids(self.store, video, tags=tags) or tuple(stored_videos(self.store))
        return search_subtitles(self._prompt_text, self.store, Question(text).text, ids, top_k)

    def search_all(
        self,
        text: str,
        *,
        video: str | Path | None = None,
        top_k: int = 5,
        tags: Mapping[str, str] | None = None,
    ) -> list[Evidence]:
        """Find lines of timed text and moments of pictures: lines first, each best first.

        Their scores are of different scales. Words that the search model does not know find lines
        alone.

        Args:
            text: What to look for.
            video: Path, name or id of one stored video; None searches the whole store.
            top_k: How many lines, and how many moments.
            tags: Only videos with these values, by key.

        Raises:
            QuestionError: The text or top_k is none, or the model knows no word and no line fits.
            StoreError: No such video, or its text is damaged.
        """
        return self.search_all_noted(text, video=video, top_k=top_k, tags=tags)[0]

    def search_all_noted(
        self,
        text: str,
        *,
        video: str | Path | None = None,
        top_k: int = 5,
        span: tuple[float, float] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> tuple[list[Evidence], list[str]]:
        """Find lines and moments as `search_all` does, with the caveats a person must see.

        Arguments and errors as of `search_all`; `span` as of `search`.
        """
        lines, of_lines = self.search_text_noted(
            text, video=video, top_k=top_k, span=span, tags=tags
        )
        try:
            found = self._search(text, top_k, chosen_ids(self.store, video, tags=tags), span)
        except UnknownWordsError:
            if not lines:
                raise
            return lines, [*of_lines, *damage_notes(self.store)]
        # Where a line has the words, something fits.
        has_words = bool(lines) and not of_lines
        notes = self._notes([] if has_words else found.scores, found.keys, found.damage)
        return [*lines, *found.spans], [*of_lines, *notes]

    def search_text(
        self,
        text: str,
        *,
        video: str | Path | None = None,
        top_k: int = 5,
        source: str = "",
        paths: str = "",
        span: tuple[float, float] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> list[Evidence]:
        """Find lines of speech, screen text and subtitles by their words, without a model; by their
        meaning too where `ask.text_embedder` names one.

        Args:
            text: Words to look for; one that names a source, such as "sign", prefers it.
            video: Path, name or id of one stored video; None searches the whole store.
            top_k: How many lines.
            source: Only "subtitle", "speech" or "screen"; "" for all that `ask.text_sources` holds.
            paths: Only videos with a path like this pattern, as of `search`.
            span: Only lines that overlap this start and end in seconds of their video.
            tags: Only videos with these values, by key.

        Returns:
            Lines, best first, each with its span and source. Searched by words alone, they share
            words with the text.

        Raises:
            QuestionError: The text or top_k is none, or there is no such source.
            StoreError: No such video, or its text is damaged.
        """
        return self.search_text_noted(
            text, video=video, top_k=top_k, source=source, paths=paths, span=span, tags=tags
        )[0]

    def search_text_noted(
        self,
        text: str,
        *,
        video: str | Path | None = None,
        top_k: int = 5,
        source: str = "",
        paths: str = "",
        span: tuple[float, float] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> tuple[list[Evidence], list[str]]:
        """Find lines of timed text, with the caveats that a person must see.

        Arguments and errors as of `search_text`.
        """
        require_top_k(top_k)
        if source not in ("", *TEXT_SOURCES):
            raise QuestionError(f"No source is named {source!r}; use {', '.join(TEXT_SOURCES)}.")
        videos = stored_videos(self.store)
        ids = chosen_ids(self.store, video, paths, tags) or tuple(videos)
        sources = (source,) if source else ()
        question = Question(text, span=span)
        hits = self._text.search(question.text, ids, top_k, sources, question.span)
        return [line_evidence(hit, videos) for hit in hits], line_notes(hits)
