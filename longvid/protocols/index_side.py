"""The kinds of part left of the store: no question is known."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

from longvid.lazy_import import torch
from longvid.protocols.part import Part, WeightedPart
from longvid.types import (
    Audio,
    CheckpointRef,
    Chunk,
    EncoderMemory,
    Failure,
    FrameBatch,
    FrameSize,
    Segment,
    TextLine,
    Video,
)

#: Metadata of a field that was added when stores existed: at its default it changes no fingerprint.
ADDED_LATER: dict[str, Any] = {"fingerprint": "if changed"}


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


class ReducerPart(WeightedPart, Protocol):
    """A reducer's configuration."""

    def identity(self) -> str:
        """Name the weights that decide what is kept, "" when there are none."""

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


class EncoderPart(WeightedPart, Protocol):
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

    def memory(self, device: str, segment_frames: int) -> EncoderMemory:
        """State what it needs on a device for segments of that many frames, without loading it.

        Raises:
            ModelError: A checkpoint is missing or incomplete.
        """

    def setup(self, device: str = "cpu") -> Encoder:
        """Load the weights."""

    def setup_embedder(self, device: str = "cpu") -> TextEmbedder:
        """Load only what `embed_text` needs: a question never needs the vision tower."""


class Compressor(Protocol):
    """Shrinks the tokens of one segment, knowing no question. Never adds tokens."""

    def __call__(self, segment: Segment, /) -> Segment:
        """Return the segment with fewer or equally many tokens.

        Raises:
            OpError: A token is not finite, or the frames lack the grid that the rule needs.
        """


class CompressorPart(Part, Protocol):
    """A compressor's configuration.

    `conserves_size` states whether the sizes of the tokens returned add up to those given: True
    for merging and pooling, False where tokens are dropped. A part may have a field
    `num_segments` too: how many consecutive segments it sees together.
    """

    conserves_size: ClassVar[bool]

    def setup(self, device: str = "cpu") -> Compressor:
        """Load what it needs."""


@runtime_checkable
class LearnedCompressorPart(CompressorPart, Protocol):
    """A compressor with weights of its own, which makes tokens of another space and width."""

    def identity(self) -> str:
        """Name the weights, so that two checkpoints never share a store."""

    def space(self) -> str:
        """Name the space of the tokens that it makes, without loading weights."""

    def checkpoints(self) -> Sequence[CheckpointRef]:
        """Name the checkpoints that it loads."""

    def memory(self, encoder: EncoderMemory, device: str) -> EncoderMemory:
        """State what it and the encoder before it need together, and what is stored then."""

    def outline(self) -> Compressor:
        """Return a stand-in that makes as many tokens, of any width, without weights."""


def segments_together(compressor: Compressor | CompressorPart) -> int:
    """Return how many consecutive segments a compressor sees together, 1 for most."""
    return int(getattr(compressor, "num_segments", 1))


class Speech(Protocol):
    """Writes down what is said."""

    def __call__(self, audio: Iterable[Audio], /) -> Iterator[TextLine]:
        """Yield the lines of one video in time order, from the blocks of its sound track."""


class SpeechPart(WeightedPart, Protocol):
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

    def setup(self, device: str = "cpu") -> Speech:
        """Load the weights."""


class ScreenText(Protocol):
    """Reads what is written in frames."""

    def __call__(self, frames: Iterable[FrameBatch], /) -> Iterator[TextLine]:
        """Yield the lines of one video in time order, from its frames."""


class ScreenTextPart(WeightedPart, Protocol):
    """A text source that reads. It has frames of its own: text is not legible at an encoder's."""

    source: ClassVar[Literal["screen"]]

    @property
    def every_seconds(self) -> float:
        """Seconds between the frames that it wants."""

    def frame_size(self) -> FrameSize:
        """Return the size of frame that it wants."""

    def identity(self) -> str:
        """Name the weights and the version of the engine: the fingerprint of its lines."""

    def setup(self, device: str = "cpu") -> ScreenText:
        """Load the weights."""


TextSourcePart = SpeechPart | ScreenTextPart
