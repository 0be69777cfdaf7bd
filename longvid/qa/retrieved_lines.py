"""The lines of timed text that a question is shown: found, cut to their budget, in time order."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from longvid.config import Ask
from longvid.llm.quote import Quote
from longvid.llm.retrieved_text import line_text, with_lines
from longvid.protocols import LanguageModel, LanguageModelPart
from longvid.qa.moment_of_line import FoundLines, split_beside
from longvid.qa.text_search import TextHit, TextSearch, line_evidence
from longvid.store import StoredVideo
from longvid.timed_text.words import coverage, names_source_alone
from longvid.types import Evidence, Question

#: A line that a clause is about holds at least this share of its words.
_LEAST_COVERAGE = 0.5


@dataclass(frozen=True, slots=True)
class RetrievedLines:
    """Finds lines for questions and writes them into prompts.

    Args:
        search: Over the timed text of the store.
        ask: How many lines, and whether any.
        llm: The language model, which may need none of this.
    """

    search: TextSearch
    ask: Ask
    llm: LanguageModelPart

    def find(
        self,
        question: Question,
        videos: Mapping[str, StoredVideo],
        sources: Sequence[str],
        most: int = 0,
    ) -> list[TextHit]:
        """Return the best lines for a question, best first; none where no text is retrieved.

        Args:
            question: What is asked.
            videos: By id.
            sources: Only lines of these.
            most: At most so many, if fewer than `ask.text_lines`; 0 for those.
        """
        wanted = [source for source in sources if source in self.ask.text_sources]
        if not wanted or not self._is_wanted(question):
            return []
        ids = question.video_ids or tuple(videos)
        most = min(most or self.ask.text_lines, self.ask.text_lines)
        return self.search.search(question.text, ids, most, wanted, question.span)

    def write(
        self,
        question: Question,
        hits: Sequence[TextHit],
        videos: Mapping[str, StoredVideo],
        llm: LanguageModel,
        boxes: Sequence[str] = (),
    ) -> tuple[Question, int]:
        """Put the best lines that fit their token budget in front of a question, in time order.

        Args:
            question: What is asked.
            hits: Best first.
            videos: By id.
            llm: Counts tokens; one that is not here counts none, then words are counted.
            boxes: Lines that come behind those, while the budget lasts.

        Returns:
            The question, and the tokens of its lines.
        """
        if not (hits or boxes) or isinstance(self.llm, Quote):
            return question, 0
        several = len({hit.video_id for hit in hits}) > 1
        kept: list[tuple[str, float, str]] = []
        shown = 0
        for hit in hits:
            name = os.path.basename(videos[hit.video_id].video.path) if several else ""
            text = line_text(hit.line, name)
            cost = _num_tokens(text, llm)
            if shown + cost > self.ask.text_tokens:
                break
            shown += cost
            kept.append((hit.video_id, hit.line.start_seconds, text))
        lines = [text for _, _, text in sorted(kept)]
        for text in boxes:
            cost = _num_tokens(text, llm)
            if shown + cost > self.ask.text_tokens:
                break
            shown += cost
            lines.append(text)
        if not lines:
            return question, 0
        return replace(question, text=with_lines(question.text, lines)), shown

    def evidence(
        self,
        hits: Sequence[TextHit],
        spans: Sequence[Evidence],
        videos: Mapping[str, StoredVideo],
    ) -> tuple[Evidence, ...]:
        """Return lines and spans of pictures as evidence: half of it lines, best first."""
        if not hits:
            return tuple(spans)
        most = self.ask.num_evidence
        num_lines = max((most + 1) // 2, most - len(spans))
        lines = [line_evidence(hit, videos) for hit in hits[:num_lines]]
        return (*lines, *spans[: most - len(lines)])

    def quotable(self, question: Question, videos: Mapping[str, StoredVideo]) -> FoundLines:
        """Return the best lines of any source as evidence, for an answer that quotes.

        As many as evidence holds; all that are found where a source is listed. Of a question about
        the text before or after a line, those are found, and what they answer comes with them: of
        that line's video alone.
        """
        ids = question.video_ids or tuple(videos)
        beside = split_beside(question.text)
        line = beside and self.on(beside[2], question, videos)
        if beside and line:
            asked, is_after, _ = beside
            near = self.search.beside(asked, line, is_after, self.ask.num_evidence, question.span)
            lines = tuple(line_evidence(hit, videos) for hit in near)
            question = replace(question, text=asked, video_ids=(line.video_id,))
            return FoundLines(question, lines, line, is_after)
        hits = self.search.search(question.text, ids, self.ask.text_lines, span=question.span)
        most = None if names_source_alone(question.text) else self.ask.num_evidence
        return FoundLines(question, tuple(line_evidence(hit, videos) for hit in hits[:most]))

    def on(
        self, clause: str, question: Question, videos: Mapping[str, StoredVideo]
    ) -> Evidence | None:
        """Return the line that a clause such as "she mentions krill" is about, None without one.

        Args:
            clause: Words of the line.
            question: The clause is of it; only its videos and its span are searched.
            videos: By id.
        """
        ids = question.video_ids or tuple(videos)
        for hit in self.search.search(clause, ids, 1, span=question.span):
            if coverage(clause, hit.line.text, hit.line.source) >= _LEAST_COVERAGE:
                return line_evidence(hit, videos)
        return None

    def _is_wanted(self, question: Question) -> bool:
        if self.ask.text != "auto":
            return self.ask.text == "retrieved"
        if isinstance(self.llm, Quote):
            return True
        return self.ask.subtitles == "none" and self.search.has_recognised(question.video_ids)


def _num_tokens(text: str, llm: LanguageModel) -> int:
    return len(llm.embed_words(text)) or len(text.split())
