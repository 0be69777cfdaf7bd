"""What a manifest records of the chunks and segments of a video."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from longvid.store.annotations import AnnotationPart
from longvid.store.fields import real, text, whole

_FILE = re.compile(r"segments-[0-9]{6,10}-[0-9a-f]{16}\.safetensors")
_CHECKSUM = re.compile(r"[0-9a-f]{32}")
_SEAL = re.compile(r"[0-9a-f]{16}")


@dataclass(frozen=True, slots=True)
class SegmentRecord:
    """What a manifest records of one segment.

    `num_vectors` counts its search vectors; the grid is 0 x 0 in chunks that do not record it.
    """

    index: int
    start_seconds: float
    end_seconds: float
    num_frames: int
    num_tokens: int
    num_vectors: int
    grid_height: int = 0
    grid_width: int = 0

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> SegmentRecord:
        """Read plain JSON types.

        Raises:
            ValueError: A value is missing, of a wrong type or out of range.
        """
        start = real(document["start_seconds"], "start_seconds")
        end = real(document["end_seconds"], "end_seconds")
        if end < start:
            raise ValueError("a segment ends before it starts")
        return cls(
            index=whole(document["index"], "index"),
            start_seconds=start,
            end_seconds=end,
            num_frames=whole(document["num_frames"], "num_frames"),
            num_tokens=whole(document["num_tokens"], "num_tokens"),
            num_vectors=whole(document["num_vectors"], "num_vectors"),
            grid_height=whole(document.get("grid_height", 0), "grid_height"),
            grid_width=whole(document.get("grid_width", 0), "grid_width"),
        )


@dataclass(frozen=True, slots=True)
class ChunkSeal:
    """Seals of the pieces of a chunk object that are read apart.

    Args:
        head: Of the bytes before the first tensor.
        vectors: Of the search vectors of all segments.
        segments: Of all other rows of each segment, in order.
    """

    head: str
    vectors: str
    segments: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> ChunkSeal:
        """Undo `to_dict`.

        Raises:
            ValueError: It is not what `to_dict` returns.
        """
        segments = tuple(text(seal, "seal", _SEAL) for seal in document["segments"])
        head, vectors = (text(document[name], name, _SEAL) for name in ("head", "vectors"))
        return cls(head, vectors, segments)


@dataclass(frozen=True, slots=True)
class ChunkRecord:
    """What a manifest records of one chunk.

    Args:
        file: Its name below the video's folder.
        num_bytes: Of the object.
        checksum: BLAKE2b-128 of the object, 32 hexadecimal digits.
        segments: In order of index.
        seal: Of the object's pieces; no part of the manifest. None where it is not known: then
            the whole object is compared with `checksum` before any of it is used.
        pictures: Pictures of the segments, until they are published; no part of the manifest.
    """

    file: str
    num_bytes: int
    checksum: str
    segments: tuple[SegmentRecord, ...]
    seal: ChunkSeal | None = field(default=None, compare=False)
    pictures: AnnotationPart | None = None

    @property
    def num_tokens(self) -> int:
        return sum(segment.num_tokens for segment in self.segments)

    def to_dict(self) -> dict[str, Any]:
        apart = ("seal", "pictures")
        return {name: value for name, value in asdict(self).items() if name not in apart}

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> ChunkRecord:
        """Undo `to_dict`.

        Raises:
            ValueError: A value is missing, of a wrong type or out of range.
        """
        segments = tuple(SegmentRecord.from_dict(segment) for segment in document["segments"])
        indices = [segment.index for segment in segments]
        if not indices or sorted(set(indices)) != indices:
            raise ValueError("the segments of a chunk are not in order")
        return cls(
            file=text(document["file"], "file", _FILE),
            num_bytes=whole(document["num_bytes"], "num_bytes", most=1 << 53),
            checksum=text(document["checksum"], "checksum", _CHECKSUM),
            segments=segments,
        )
