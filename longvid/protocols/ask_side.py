"""The kinds of part right of the store: no video file is opened."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

from longvid.errors import LongvidError
from longvid.lazy_import import torch
from longvid.protocols.part import Part, WeightedPart
from longvid.types import (
    Answer,
    Candidate,
    EncoderMemory,
    LanguageModelMemory,
    Picture,
    Query,
    Question,
    Segment,
    Selection,
    Track,
)


class Reranker(Protocol):
    """Scores what a search found once more, more slowly and better."""

    def __call__(self, question: Question, candidates: Sequence[Candidate], /) -> Sequence[float]:
        """Return one finite score a candidate; higher is better."""


class RerankerPart(WeightedPart, Protocol):
    """A reranker's configuration."""

    def setup(self, device: str = "cpu") -> Reranker:
        """Load the weights."""


class Selector(Protocol):
    """Chooses what a question is shown. Never returns more tokens than the budget."""

    def __call__(
        self, query: Query, segments: Sequence[Segment], budget: int, /
    ) -> Sequence[Segment]:
        """Return segments in time order whose tokens fit the budget, none without a token.

        `longvid.select.candidate_frames` lists frames and cuts segments down to some of them.
        """


class SelectorPart(Part, Protocol):
    """A selector's configuration."""

    def setup(self, device: str = "cpu") -> Selector:
        """Load what it needs."""


@dataclass(frozen=True, slots=True)
class Generation:
    """What a language model gave back.

    Args:
        text: The answer, or the chosen option.
        prompt_tokens: Everything in front of the answer, visual tokens included.
        output_tokens: Tokens generated, or scored for multiple choice.
        choice, choice_scores: For multiple choice, the option chosen and the mean log-likelihood
            of each.
        seconds: Wall time by step ("prefill", "decode").
        visual_tokens: Visual tokens shown, where the model makes others of those selected (the
            published systems do); None where they are those.
        note: What makes this answer doubtful (footage that the model cannot know), "" for nothing.
        cut: What ended the answer before the model did, "" where nothing did.
    """

    text: str
    prompt_tokens: int
    output_tokens: int
    seconds: dict[str, float]
    choice: int | None = None
    choice_scores: tuple[float, ...] = ()
    visual_tokens: int | None = None
    note: str = ""
    cut: str = ""

    @property
    def caveats(self) -> str:
        """The note, and what cut the answer short, in one line."""
        return " ".join(filter(None, (self.note, self.cut)))


class AnswerListener(Protocol):
    """Hears what becomes of questions while they are answered, and may stop them."""

    def selected(self, index: int, selection: Selection) -> None:
        """Take note of what a question's model will be shown."""

    def text(self, index: int, text: str) -> None:
        """Take note of an answer's text so far."""

    def stopped(self, index: int) -> bool:
        """Return whether nobody waits for an answer any more; it then ends as it is."""


class LanguageModel(Protocol):
    """Reads selected tokens and answers."""

    space: str
    note: str

    def embed_words(self, text: str) -> torch.Tensor:
        """Return the input embeddings of a text, (L, D) float32."""

    def answer(self, question: Question, selection: Selection) -> Generation:
        """Answer an open question greedily, or score the choices of a closed one.

        Raises:
            QuestionError: The model cannot read the question, or the prompt exceeds its context.
            ModelError: The selection's tokens are of another space.
        """

    def answer_many(
        self, asked: Sequence[tuple[Question, Selection]], listener: AnswerListener | None = None
    ) -> list[Generation | LongvidError]:
        """Answer several questions; one entry each, in order, an error in place of its answer.

        The listener hears of each by its place in `asked`.
        """


class LanguageModelPart(WeightedPart, Protocol):
    """A language model's configuration.

    One that states `reads_pictures` as True is shown stored pictures (`Selection.pictures`) in
    place of tokens; it names no space.
    """

    reads_pictures: ClassVar[bool]

    def spaces(self) -> tuple[str, ...]:
        """Name the token spaces that it can be shown, without loading weights."""

    def memory(self, encoder: EncoderMemory, device: str) -> LanguageModelMemory:
        """State what it needs for the tokens of an encoder, without loading it.

        Raises:
            ConfigError: It does not read tokens of that encoder.
            ModelError: A checkpoint is missing or incomplete.
        """

    def setup(self, device: str = "cpu") -> LanguageModel:
        """Load the weights."""


class Grounder(Protocol):
    """Finds in pictures what an answer speaks of."""

    def __call__(
        self, question: Question, answer: Answer, pictures: Sequence[Picture], /
    ) -> Sequence[Track]:
        """Return one track a thing found; their boxes are in the pictures given."""


class GrounderPart(WeightedPart, Protocol):
    """A grounder's configuration."""

    def setup(self, device: str = "cpu") -> Grounder:
        """Load the weights."""
