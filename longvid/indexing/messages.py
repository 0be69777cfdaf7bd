"""What passes between probing, decoding, encoding and the ledger of a run."""

from __future__ import annotations

from dataclasses import dataclass

from longvid.remote_files import FileState
from longvid.store import ChunkRecord
from longvid.types import Chunk, Failure, FrameBatch, TextLine, Video

#: Kinds of failure that need not be the video's doing: anybody may have killed the decoder.
DECODER_DIED = ("decoder-crash", "out-of-memory")

StageSums = dict[str, float]
"""Figures of one stage for one item: busy_seconds, and any of frames, tokens and bytes."""


@dataclass(frozen=True, slots=True)
class VideoText:
    """The timed text that belongs to one name of a video.

    Args:
        beside: Lines of a subtitle file beside it, in the time of a player.
        inside: Lines of a text stream inside it, in the time of the stream; read only where there
            are none beside it.
        failures: Files and streams that could not be read, of stage "text".
    """

    beside: tuple[TextLine, ...] = ()
    inside: tuple[TextLine, ...] = ()
    failures: tuple[Failure, ...] = ()


@dataclass(frozen=True, slots=True)
class Opened:
    """A file was probed.

    Args:
        path: As it was named.
        found: The video, or why there is none.
        state: Of the file before it was read, None where that could not be had.
        text: Its timed text.
        busy_seconds: Time that this took.
    """

    path: str
    found: Video | Failure
    state: FileState | None = None
    text: VideoText = VideoText()
    busy_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class DecodedItem:
    """One segment of a chunk was decoded, or is a gap."""

    chunk: Chunk
    item: FrameBatch | Failure


@dataclass(frozen=True, slots=True)
class ChunkDone:
    """A chunk has no more segments.

    Args:
        chunk: Of which every `DecodedItem` came before.
        busy_seconds: Time that decoding it took, without waiting for the encoder.
    """

    chunk: Chunk
    busy_seconds: float


@dataclass(frozen=True, slots=True)
class Written:
    """A chunk is in the store.

    Args:
        video_id: Of the chunk's video.
        record: Of the object in the store, None if nothing of the chunk could be read.
        gaps: What could not be decoded or encoded.
        sums: By stage.
    """

    video_id: str
    record: ChunkRecord | None
    gaps: tuple[Failure, ...]
    sums: dict[str, StageSums]
