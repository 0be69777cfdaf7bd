"""The six kinds of part, as protocols: what each must do, in the order of the path.

A part is a frozen dataclass whose fields are its configuration. `setup(device)` loads what it
needs and returns a worker that does the work; a part that needs nothing returns itself. A
configuration can therefore be compared, hashed, printed and sent to another process, and the
weights never travel with it.

    decoder ─ reducer ─ encoder ─ compressor ║ selector ─ llm
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from longvid.errors import LongvidError
from longvid.lazy_import import torch
from longvid.types import (
    Chunk,
    Failure,
    FrameBatch,
    FrameSize,
    Query,
    Question,
    Segment,
    Selection,
    Video,
)

__all__ = [
    "RUN_ONLY",
    "Compressor",
    "Decoder",
    "DecoderPart",
    "Encoder",
    "EncoderPart",
    "Generation",
    "LanguageModel",
    "LanguageModelPart",
    "Part",
    "Reducer",
    "ReducerPart",
    "Selector",
]

#: Metadata of a field that changes how a part runs but not what it returns (a deadline, a batch
#: size): `field(default=8, metadata=RUN_ONLY)` keeps it out of a store's fingerprint.
RUN_ONLY: dict[str, Any] = {"fingerprint": False}


@runtime_checkable
class Part(Protocol):
    """A configuration that can be made to work."""

    def setup(self, device: str = "cpu") -> Any:
        """Load what the part needs onto `device` and return the worker."""


class Decoder(Protocol):
    """Turns a chunk into frames. Never raises for a video that is broken while being decoded."""

    def probe(self, path: str, video_id: str | None = None) -> Video:
        """Read what a file says of itself.

        Args:
            path: A local file.
            video_id: Its `listing.content_id`, if the caller has it already.

        Raises:
            VideoError: The file cannot be opened as a video.
        """

    def decode(self, chunk: Chunk) -> Iterator[FrameBatch | Failure]:
        """Yield one batch a segment in order, or a failure for a gap."""

    def close(self) -> None:
        """Stop every process that belongs to the decoder."""


class DecoderPart(Protocol):
    """A decoder's configuration. `size` is set by the encoder that the frames are for."""

    @property
    def size(self) -> FrameSize:
        """The size at which frames leave."""

    def setup(self, device: str = "cpu") -> Decoder:
        """Return a decoder with its processes ready to start."""


class Reducer(Protocol):
    """Drops frames that show nothing new. Keeps at least one."""

    def __call__(self, batch: FrameBatch) -> FrameBatch:
        """Return the batch with fewer or equally many frames."""


class ReducerPart(Protocol):
    """A reducer's configuration."""

    def identity(self) -> str:
        """Name the weights that decide what is kept, "" when there are none."""

    def setup(self, device: str = "cpu") -> Reducer:
        """Load what it needs."""


class Encoder(Protocol):
    """Turns frames into tokens and embeddings."""

    space: str
    embedding_width: int
    note: str

    def __call__(self, batch: FrameBatch) -> Segment:
        """Encode the frames of one segment with their full patch grid."""

    def embed_text(self, texts: Sequence[str]) -> torch.Tensor:
        """Embed texts in the space of the frame embeddings, (B, E) float32, unit norm."""


class EncoderPart(Protocol):
    """An encoder's configuration."""

    def frame_size(self) -> FrameSize:
        """Say the size of frame the encoder wants, without loading its weights."""

    def identity(self) -> str:
        """Name the weights, so that two checkpoints never share a store."""

    def space(self) -> str:
        """Name the token space, without loading weights."""

    def embedding_width(self) -> int:
        """Return E, without loading weights."""

    def note(self) -> str:
        """Return what a person must know of the weights, or ""."""

    def setup(self, device: str = "cpu") -> Encoder:
        """Load the weights."""

    def setup_embedder(self, device: str = "cpu") -> Encoder:
        """Load only what `embed_text` needs: a question never needs the vision tower."""


class Compressor(Protocol):
    """Shrinks the tokens of one segment, knowing no question. Never adds tokens."""

    def __call__(self, segment: Segment) -> Segment:
        """Return the segment with fewer or equally many tokens."""


class Selector(Protocol):
    """Chooses what a question is shown. Never returns more tokens than the budget."""

    def __call__(self, query: Query, segments: Sequence[Segment], budget: int) -> Sequence[Segment]:
        """Return segments in time order whose tokens fit the budget."""


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
    """

    text: str
    prompt_tokens: int
    output_tokens: int
    seconds: dict[str, float]
    choice: int | None = None
    choice_scores: tuple[float, ...] = ()
    visual_tokens: int | None = None


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
        self, asked: Sequence[tuple[Question, Selection]]
    ) -> list[Generation | LongvidError]:
        """Answer several questions; one entry each, in order, an error in place of its answer."""


class LanguageModelPart(Protocol):
    """A language model's configuration."""

    def spaces(self) -> tuple[str, ...]:
        """Name the token spaces that it can be shown, without loading weights."""

    def setup(self, device: str = "cpu") -> LanguageModel:
        """Load the weights."""
