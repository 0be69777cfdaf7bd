"""Which experts a question is shown: pictures, speech, screen text, boxes, or several of them.

A store holds what several experts made of one video. Showing a question all of it costs tokens and
misleads; the router chooses, by rules that compare the question with the lines of each text, or by
asking the answering model.

Source: MoVA's coarse routing (Zong et al. 2024), a language model that reads one-line descriptions
of experts and names at most three by their letters.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from longvid.config import Ask
from longvid.errors import QuestionError
from longvid.protocols import LanguageModel
from longvid.qa.box_lines import BoxLines
from longvid.qa.moment_of_line import split_at_moment
from longvid.qa.text_search import TextHit, TextSearch
from longvid.question_form import QuestionKind, kind_of, places_of
from longvid.store import StoredVideo
from longvid.systems.mova.expert_routing import chosen_experts
from longvid.timed_text.words import asked_source, coverage, sources_asked
from longvid.types import EXPERTS, TEXT_SOURCES, Question, Selection

_DESCRIPTIONS = {
    "pictures": "the pictures: what can be seen, its color, place, size and movement",
    "speech": "the speech: what somebody says, tells or explains",
    "screen": "the text on the screen: signs, titles, labels",
    "boxes": "the places in the picture, as numbers, of: {things}",
}
_SOURCES = {"speech": ("speech", "subtitle"), "screen": ("screen",)}
#: A line that holds this share of a question's words answers it, and one with less than the other
#: may be about something else.
_STRONG, _WEAK = 0.65, 0.4
#: Texts whose best lines fit a question about as well are both shown.
_TIE = 0.1
_LINES = 8
#: Lines that are shown where the best of them holds most of a question's words.
_SURE_LINES = 4
_PLACED = re.compile(
    r"\b(where|which side|how (many|far)|left|right|top|bottom|middle|corner|position|moves?)\b",
    re.IGNORECASE,
)
_SEEN = re.compile(
    r"\bwhat (colou?r|shape|size)\b|\bhow (big|small|large|tall|fast)\b|\b(big or|small or)\b"
    r"|\b(look like|wear|wears|wearing|in front of|next to|behind)\b"
    r"|\b(move|moves|moving|visible|be seen|you see)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Experts:
    """What a question is shown.

    Args:
        names: Of `EXPERTS`, at least one.
        things: Whose boxes are shown.
        most_lines: The most lines of text that are shown, 0 for as many as `ask.text_lines`.
        note: A caveat about the choice, "" for none.
        is_choice: Whether anything was chosen; else all is shown.
    """

    names: tuple[str, ...] = EXPERTS
    things: tuple[str, ...] = ()
    most_lines: int = 0
    note: str = ""
    is_choice: bool = True

    @property
    def see_pictures(self) -> bool:
        """Whether frames are shown."""
        return "pictures" in self.names

    def shown(self, lines: Sequence[TextHit], boxes: Sequence[str]) -> tuple[str, ...]:
        """Return those chosen of which something is shown, pictures where no line was found.

        Empty where all were shown without a choice.
        """
        if not self.is_choice:
            return ()
        sources = {hit.line.source for hit in lines}
        there = {name for name, of in _SOURCES.items() if not sources.isdisjoint(of)}
        there |= {"pictures"} | ({"boxes"} if boxes else set())
        return tuple(name for name in self.names if name in there) or ("pictures",)

    @property
    def sources(self) -> tuple[str, ...]:
        """Sources of timed text that are shown."""
        wanted = [source for name in self.names for source in _SOURCES.get(name, ())]
        return tuple(source for source in TEXT_SOURCES if source in wanted)


@dataclass(frozen=True, slots=True)
class ExpertRouter:
    """Chooses experts for questions.

    Args:
        search: Over the timed text of the store.
        boxes: Of the store.
        ask: `experts` says who chooses.
    """

    search: TextSearch
    boxes: BoxLines
    ask: Ask

    def choose(
        self, question: Question, videos: Mapping[str, StoredVideo], llm: LanguageModel
    ) -> Experts:
        """Return the experts that a question is shown; all where `ask.experts` is "all".

        Of experts that a video has nothing of, none is chosen but the pictures. Boxes are chosen
        from alone where something is chosen, and only those of what the question names.

        Args:
            question: Its video ids are looked at, all where it has none.
            videos: By id.
            llm: Asked where `ask.experts` is "model".
        """
        ids = question.video_ids or tuple(videos)
        if self.ask.experts == "all" or self.ask.text == "none":
            return Experts(is_choice=False)
        things = self.boxes.named(question.text, ids)
        held = self._held(ids, things)
        if held == ("pictures",):
            return Experts(held)
        if self.ask.experts == "model":
            return self._by_model(question, ids, held, things, llm)
        return self._by_rules(question, ids, held, things)

    def _held(self, ids: Sequence[str], things: Sequence[str]) -> tuple[str, ...]:
        sources = self.search.sources(ids)
        held = {name for name, of in _SOURCES.items() if not sources.isdisjoint(of)}
        held |= {"pictures"} | ({"boxes"} if things else set())
        return tuple(name for name in EXPERTS if name in held)

    def _by_rules(
        self, question: Question, ids: Sequence[str], held: tuple[str, ...], things: tuple[str, ...]
    ) -> Experts:
        """Return experts by the words of a question and of the lines that are nearest to it.

        What is asked at a moment of speech or of a sign needs the pictures and the text of that
        moment. A question that names a source needs it if a line of it is about the question; one
        that asks for what can only be seen needs pictures; every other needs the texts whose best
        lines hold its words. Where lines are about half of it, pictures are shown too, and where
        they hold most of it, a few of them do. Boxes are shown beside pictures to a question about
        places.
        """
        chosen: set[str] = set()
        are_sure = True
        for part in places_of(question.text):
            moment = split_at_moment(part)
            if moment is not None:
                asked, clause = moment
                texts, is_sure = self._texts(replace(question, text=clause), ids, held)
                chosen |= {"pictures", *texts}
                are_sure &= is_sure
                part = asked
            if kind_of(part) is QuestionKind.GLOBAL and not asked_source(part):
                return Experts(held, things)
            texts, is_sure = self._texts(replace(question, text=part), ids, held)
            is_seen = _SEEN.search(part) is not None and not asked_source(part)
            if not texts or is_seen or not is_sure:
                chosen.add("pictures")
            if texts and not is_seen:
                chosen |= set(texts)
                are_sure &= is_sure
        if "pictures" in chosen and _PLACED.search(question.text):
            chosen.add("boxes")
        names = tuple(name for name in held if name in chosen)
        return Experts(names, things, _SURE_LINES if are_sure else 0)

    def _texts(
        self, question: Question, ids: Sequence[str], held: Sequence[str]
    ) -> tuple[tuple[str, ...], bool]:
        """Return the texts that hold a question's words, and whether they hold most of them."""
        asked = sources_asked(question.text, TEXT_SOURCES)
        shares = {
            name: self._share(question, ids, name)
            for name, sources in _SOURCES.items()
            if name in held and not asked.isdisjoint(sources)
        }
        best = max(shares.values(), default=0.0)
        if best < _WEAK:
            return (), False
        near = tuple(name for name, share in shares.items() if share >= best - _TIE)
        return near, best >= _STRONG

    def _share(self, question: Question, ids: Sequence[str], name: str) -> float:
        """Return the greatest share of a question's words that one line of a text holds."""
        return max(
            (
                coverage(question.text, hit.line.text, hit.line.source)
                for hit in self.search.search(
                    question.text, ids, _LINES, _SOURCES[name], question.span
                )
            ),
            default=0.0,
        )

    def _by_model(
        self,
        question: Question,
        ids: Sequence[str],
        held: tuple[str, ...],
        things: tuple[str, ...],
        llm: LanguageModel,
    ) -> Experts:
        """Ask the answering model for letters; by rules where its reply has none."""
        letters = "ABCD"[: len(held)]
        pool = "\n".join(
            f"{letter}: {_DESCRIPTIONS[name].format(things=', '.join(things))}"
            for letter, name in zip(letters, held, strict=True)
        )
        prompt = (
            "Which of these are needed to answer the question about a video?\n"
            f"{pool}\nQuestion: {question.text}\nAnswer with letters alone, such as {letters[0]}."
        )
        try:
            reply = llm.answer(Question(prompt), Selection((), (), 0)).text
        except QuestionError as error:
            reply, why = "", f"cannot be asked ({error})"
        else:
            why = f"named none ({reply[:60]!r})"
        flags = chosen_experts(reply, letters)
        if any(flags):
            named = tuple(name for name, on in zip(held, flags, strict=True) if on)
            return Experts(named, things)
        note = f"Experts were chosen by rules: the language model {why}."
        return replace(self._by_rules(question, ids, held, things), note=note)
