"""The nine kinds of part, as protocols: what each must do, in the order of the path.

A part is a frozen dataclass whose fields are its configuration. `setup(device)` loads what it
needs and returns a worker that does the work; a part that needs nothing returns itself. A
configuration can therefore be compared, hashed, printed and sent to another process, and the
weights never travel with it.

    decoder ─ reducer ─ encoder ─ compressor ║ reranker ─ selector ─ llm ─ grounder
            └ text source (speech, screen)   ║

`KindPart` is the configuration, `Kind` the worker.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

from longvid.errors import LongvidError
from longvid.lazy_import import torch
from longvid.types import (
    Answer,
    Audio,
    Candidate,
    CheckpointRef,
    Chunk,
    EncoderMemory,
    Failure,
    FrameBatch,
    FrameSize,
    LanguageModelMemory,
    Picture,
    Query,
    Question,
    Segment,
    Selection,
    TextLine,
    Track,
    Video,
)

__all__ = [
    "ADDED_LATER",
    "PROTOCOLS",
    "RUN_ONLY",
    "AnswerListener",
    "Compressor",
    "CompressorPart",
    "Decoder",
    "DecoderPart",
    "Encoder",
    "EncoderPart",
    "Generation",
    "Grounder",
    "GrounderPart",
    "LanguageModel",
    "LanguageModelPart",
    "Part",
    "Reducer",
    "ReducerPart",
    "Reranker",
    "RerankerPart",
    "ScreenText",
    "ScreenTextPart",
    "Selector",
    "SelectorPart",
    "Speech",
    "SpeechPart",
    "TextEmbedder",
    "TextSourcePart",
    "members",
]

#: Metadata of a field that changes how a part runs but not what it returns (a deadline, a batch
#: size): `field(default=8, metadata=RUN_ONLY)` keeps it out of a store's fingerprint.
RUN_ONLY: dict[str, Any] = {"fingerprint": False}

#: Metadata of a field that was added when stores existed: at its default it changes no fingerprint.
ADDED_LATER: dict[str, Any] = {"fingerprint": "if changed"}


@runtime_checkable
class Part(Protocol):
    """A configuration that can be made to work: a frozen dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    def setup(self, device: str = "cpu") -> object:
        """Load what the part needs onto `device` and return the worker."""


class Decoder(Protocol):
    """Turns a chunk into frames. Never raises for a video that is broken while being decoded."""

    def probe(self, path: str, video_id: str | None = None) -> Video:
        """Read what a file says of itself.

        Args:
            path: A local file.
            video_id: Its `inputs.content_id`, if the caller has it already.

        Raises:
            VideoError: The file cannot be opened as a video.
        """

    def read_text(self, path: str) -> tuple[TextLine, ...]:
        """Read a subtitle file, or the text stream of a container; () where there is none.

        Args:
            path: A local file.

        Raises:
            VideoError: There is text and it cannot be read; the stage is "text".
        """

    def decode(self, chunk: Chunk) -> Iterator[FrameBatch | Failure]:
        """Yield one batch a segment in order, or a failure for a gap."""

    def close(self) -> None:
        """Stop every process that belongs to the decoder."""


class DecoderPart(Part, Protocol):
    """A decoder's configuration. The encoder decides `size`, the store `pictures`."""

    @property
    def size(self) -> FrameSize:
        """The size at which frames leave."""

    @property
    def pictures(self) -> str:
        """Which frames also leave as small JPEG pictures: "none", one a "segment" or a "frame"."""

    def setup(self, device: str = "cpu") -> Decoder:
        """Return a decoder with its processes ready to start."""


class Reducer(Protocol):
    """Drops frames that show nothing new. Keeps at least one."""

    def __call__(self, batch: FrameBatch, /) -> FrameBatch:
        """Return the batch with fewer or equally many frames."""


class ReducerPart(Part, Protocol):
    """A reducer's configuration."""

    def identity(self) -> str:
        """Name the weights that decide what is kept, "" when there are none."""

    def checkpoints(self) -> Sequence[CheckpointRef]:
        """Name the checkpoints that it loads, none where it has no weights."""

    def weight_bytes(self, device: str) -> int:
        """Return the bytes of its weights on a device, without loading them."""

    def setup(self, device: str = "cpu") -> Reducer:
        """Load what it needs."""


class TextEmbedder(Protocol):
    """The side of an encoder that a question needs."""

    note: str

    def embed_text(self, texts: Sequence[str]) -> torch.Tensor:
        """Embed texts in the space of the frame embeddings, (B, E) float32, unit norm."""

    def require_known_words(self, text: str) -> None:
        """Refuse a text with words that a closed vocabulary does not have.

        Raises:
            QuestionError: The sentence names them.
        """


class Encoder(TextEmbedder, Protocol):
    """Turns frames into tokens and embeddings."""

    space: str
    embedding_width: int

    def __call__(self, batch: FrameBatch, /) -> Segment:
        """Encode the frames of one segment with their full patch grid."""


class EncoderPart(Part, Protocol):
    """An encoder's configuration."""

    def frame_size(self) -> FrameSize:
        """Return the size of frame the encoder wants, without loading its weights."""

    def identity(self) -> str:
        """Name the weights, so that two checkpoints never share a store."""

    def space(self) -> str:
        """Name the token space, without loading weights."""

    def embedding_width(self) -> int:
        """Return E, without loading weights."""

    def note(self) -> str:
        """Return what a person must know of the weights, or ""."""

    def checkpoints(self) -> Sequence[CheckpointRef]:
        """Name the checkpoints that it loads, none where it has no weights."""

    def memory(self, device: str, segment_frames: int) -> EncoderMemory:
        """State what it needs on a device for segments of that many frames, without loading it."""

    def setup(self, device: str = "cpu") -> Encoder:
        """Load the weights."""

    def setup_embedder(self, device: str = "cpu") -> TextEmbedder:
        """Load only what `embed_text` needs: a question never needs the vision tower."""


class Compressor(Protocol):
    """Shrinks the tokens of one segment, knowing no question. Never adds tokens."""

    def __call__(self, segment: Segment, /) -> Segment:
        """Return the segment with fewer or equally many tokens."""


class CompressorPart(Part, Protocol):
    """A compressor's configuration.

    `conserves_size` states whether the sizes of the tokens returned add up to those given: True
    for merging and pooling, False where tokens are dropped.
    """

    conserves_size: ClassVar[bool]

    def setup(self, device: str = "cpu") -> Compressor:
        """Load what it needs."""


class Speech(Protocol):
    """Writes down what is said."""

    def __call__(self, audio: Iterable[Audio], /) -> Iterator[TextLine]:
        """Yield the lines of one video in time order, from the blocks of its sound track."""


class SpeechPart(Part, Protocol):
    """A text source that hears. The sound reaches it as mono of `sample_rate`."""

    source: ClassVar[Literal["speech"]]

    @property
    def sample_rate(self) -> int:
        """Samples per second that it wants."""

    @property
    def language(self) -> str:
        """The language spoken, which chooses among sound tracks; "" for whichever it is."""

    def identity(self) -> str:
        """Name the weights and the version of the engine: the fingerprint of its lines."""

    def checkpoints(self) -> Sequence[CheckpointRef]:
        """Name the checkpoints that it loads, none where it has no weights."""

    def setup(self, device: str = "cpu") -> Speech:
        """Load the weights."""


class ScreenText(Protocol):
    """Reads what is written in frames."""

    def __call__(self, frames: Iterable[FrameBatch], /) -> Iterator[TextLine]:
        """Yield the lines of one video in time order, from its frames."""


class ScreenTextPart(Part, Protocol):
    """A text source that reads. It has frames of its own: text is not legible at an encoder's."""

    source: ClassVar[Literal["screen"]]

    @property
    def every_seconds(self) -> float:
        """Seconds between the frames that it wants."""

    def frame_size(self) -> FrameSize:
        """Return the size of frame that it wants."""

    def identity(self) -> str:
        """Name the weights and the version of the engine: the fingerprint of its lines."""

    def checkpoints(self) -> Sequence[CheckpointRef]:
        """Name the checkpoints that it loads, none where it has no weights."""

    def setup(self, device: str = "cpu") -> ScreenText:
        """Load the weights."""


TextSourcePart = SpeechPart | ScreenTextPart


class Reranker(Protocol):
    """Scores what a search found once more, more slowly and better."""

    def __call__(self, question: Question, candidates: Sequence[Candidate], /) -> Sequence[float]:
        """Return one finite score a candidate; higher is better."""


class RerankerPart(Part, Protocol):
    """A reranker's configuration."""

    def checkpoints(self) -> Sequence[CheckpointRef]:
        """Name the checkpoints that it loads, none where it has no weights."""

    def setup(self, device: str = "cpu") -> Reranker:
        """Load the weights."""


class Selector(Protocol):
    """Chooses what a question is shown. Never returns more tokens than the budget."""

    def __call__(
        self, query: Query, segments: Sequence[Segment], budget: int, /
    ) -> Sequence[Segment]:
        """Return segments in time order whose tokens fit the budget."""


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
        note: A caveat about this answer, "" for none.
    """

    text: str
    prompt_tokens: int
    output_tokens: int
    seconds: dict[str, float]
    choice: int | None = None
    choice_scores: tuple[float, ...] = ()
    visual_tokens: int | None = None
    note: str = ""


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
        self,
        asked: Sequence[tuple[Question, Selection]],
        listener: AnswerListener | None = None,
    ) -> list[Generation | LongvidError]:
        """Answer several questions; one entry each, in order, an error in place of its answer.

        The listener hears of each by its place in `asked`.
        """


class LanguageModelPart(Part, Protocol):
    """A language model's configuration.

    One that states `reads_pictures` as True is shown stored pictures (`Selection.pictures`) in
    place of tokens; it names no space.
    """

    reads_pictures: ClassVar[bool]

    def spaces(self) -> tuple[str, ...]:
        """Name the token spaces that it can be shown, without loading weights."""

    def checkpoints(self) -> Sequence[CheckpointRef]:
        """Name the checkpoints that it loads, none where it has no weights."""

    def memory(self, encoder: EncoderMemory, device: str) -> LanguageModelMemory:
        """State what it needs for the tokens of an encoder, without loading it.

        Raises:
            ConfigError: It does not read tokens of that encoder.
        """

    def setup(self, device: str = "cpu") -> LanguageModel:
        """Load the weights."""


class Grounder(Protocol):
    """Finds in pictures what an answer speaks of."""

    def __call__(
        self, question: Question, answer: Answer, pictures: Sequence[Picture], /
    ) -> Sequence[Track]:
        """Return one track a thing found; their boxes are in the pictures given."""


class GrounderPart(Part, Protocol):
    """A grounder's configuration."""

    def checkpoints(self) -> Sequence[CheckpointRef]:
        """Name the checkpoints that it loads, none where it has no weights."""

    def setup(self, device: str = "cpu") -> Grounder:
        """Load the weights."""


#: The protocol of each kind of part, in the order of the path; a text source fits one of two.
PROTOCOLS: dict[str, tuple[type, ...]] = {
    "decoder": (DecoderPart,),
    "reducer": (ReducerPart,),
    "encoder": (EncoderPart,),
    "compressor": (CompressorPart,),
    "text_source": (SpeechPart, ScreenTextPart),
    "reranker": (RerankerPart,),
    "selector": (SelectorPart,),
    "llm": (LanguageModelPart,),
    "grounder": (GrounderPart,),
}


def members(protocol: type) -> tuple[str, ...]:
    """Name what a protocol asks for, in the order of its definition."""
    names = [
        name
        for base in reversed(protocol.__mro__)
        if base not in (Protocol, object) and base.__module__ == __name__
        for name in (*inspect.get_annotations(base), *vars(base))
        if not name.startswith("_")
    ]
    return tuple(dict.fromkeys(names))
