"""The head of a chunk object, and the byte ranges of what is read apart.

A chunk is a safetensors file: eight bytes of length, a JSON head, then tensors whose rows are
those of its segments, one segment after the other. The rows of one segment, the search vectors
and the head are each read and sealed apart.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from longvid.lazy_import import torch
from longvid.store.chunk_record import ChunkSeal, SegmentRecord
from longvid.store.objects import Objects
from longvid.store.seal import seal

#: The key of our metadata in the head.
METADATA = "longvid"

_DTYPES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "I32": "int32",
    "I8": "int8",
    "U8": "uint8",
    "BOOL": "bool",
}
_LENGTH_BYTES = 8
_FIRST_READ_BYTES = 8192
#: A head of a chunk of a thousand segments has 0.2 MB.
_MOST_HEAD_BYTES = 64 << 20
_PER_FRAME = (
    *("pts_seconds", "slow", "num_frame_tokens"),
    *("frame_embeddings", "frame_embeddings_scale"),
)
_OF_VECTORS = ("vectors", "vectors_scale")


@dataclass(frozen=True, slots=True)
class ChunkHead:
    """The head of a chunk object: where its tensors are, and what its segments are."""

    tensors: Mapping[str, Mapping[str, Any]]
    first_byte: int
    video_id: str
    space: str
    token_dtype: torch.dtype
    token_width: int | None  # None in chunks that do not record it: as much as they hold
    segments: tuple[SegmentRecord, ...]

    def byte_range(self, name: str, first: int, last: int) -> tuple[int, int]:
        """Return the bytes of the object that hold rows [first, last) of a tensor."""
        entry = self.tensors[name]
        row_bytes = _dtype(entry).itemsize * math.prod(entry["shape"][1:])
        start = self.first_byte + int(entry["data_offsets"][0])
        return start + first * row_bytes, start + last * row_bytes

    def tensor(self, name: str, data: bytearray, num_rows: int) -> torch.Tensor:
        """View the bytes of some rows of a tensor."""
        entry = self.tensors[name]
        dtype, shape = _dtype(entry), (num_rows, *entry["shape"][1:])
        if len(data) != dtype.itemsize * math.prod(shape):
            raise ValueError(f"{name} is cut off")
        # A buffer of no bytes is refused by frombuffer.
        return (
            torch.frombuffer(data, dtype=dtype).reshape(shape)
            if data
            else torch.empty(shape, dtype=dtype)
        )

    def vector_rows(self) -> dict[str, tuple[int, int]]:
        """Return first row and number of rows of the tensors that hold search vectors."""
        count = sum(segment.num_vectors for segment in self.segments)
        return {name: (0, count) for name in _OF_VECTORS if name in self.tensors}

    def segment_rows(self, position: int) -> dict[str, tuple[int, int]]:
        """Return first row and number of rows of every other tensor, for one segment."""
        frames = [0, *itertools.accumulate(s.num_frames for s in self.segments)]
        tokens = [0, *itertools.accumulate(s.num_tokens for s in self.segments)]
        record = self.segments[position]
        return {
            name: (frames[position], record.num_frames)
            if name in _PER_FRAME
            else (tokens[position], record.num_tokens)
            for name in self.tensors
            if name not in _OF_VECTORS
        }

    def byte_ranges(self, rows: Mapping[str, tuple[int, int]]) -> list[tuple[int, int]]:
        """Return the byte range of some rows of each tensor."""
        return [self.byte_range(name, first, first + n) for name, (first, n) in rows.items()]


def _dtype(entry: Mapping[str, Any]) -> torch.dtype:
    dtype: torch.dtype = getattr(torch, _DTYPES[entry["dtype"]])
    return dtype


def read_head(objects: Objects, name: str) -> tuple[ChunkHead, str]:
    """Read the head of a chunk, and return it with its seal.

    Raises:
        ValueError, KeyError, TypeError, AttributeError: It is malformed.
        FileNotFoundError: There is no such object.
    """
    [start] = objects.read_ranges(name, [(0, _FIRST_READ_BYTES)])
    first_byte = _first_byte(start)
    if first_byte > len(start):
        if first_byte > (objects.size(name) or 0):
            raise ValueError("its head is cut off")
        start += objects.read_ranges(name, [(len(start), first_byte)])[0]
    return parse_head(start), seal(memoryview(start)[:first_byte])


def parse_head(start: bytes | bytearray) -> ChunkHead:
    """Take the head of a chunk apart, given at least its bytes.

    Raises:
        ValueError, KeyError, TypeError, AttributeError: It is malformed.
    """
    first_byte = _first_byte(start)
    try:
        tensors = json.loads(start[_LENGTH_BYTES:first_byte])
        metadata = json.loads(tensors.pop("__metadata__")[METADATA])
    except RecursionError as error:
        raise ValueError("its head is nested too deeply") from error
    return ChunkHead(
        tensors=tensors,
        first_byte=first_byte,
        video_id=metadata["video_id"],
        space=metadata["space"],
        token_dtype=getattr(torch, metadata["token_dtype"]),
        token_width=metadata.get("token_width"),
        segments=tuple(SegmentRecord.from_dict(segment) for segment in metadata["segments"]),
    )


def _first_byte(start: bytes | bytearray) -> int:
    length = int.from_bytes(start[:_LENGTH_BYTES], "little")
    if len(start) < _LENGTH_BYTES or length > _MOST_HEAD_BYTES:
        raise ValueError("its head is cut off")
    return _LENGTH_BYTES + length


def seal_chunk(data: bytes) -> ChunkSeal:
    """Seal the pieces of a whole chunk object.

    Raises:
        ValueError, KeyError, TypeError, AttributeError: It is malformed.
    """
    head = parse_head(data)
    view = memoryview(data)

    def sealed(rows: Mapping[str, tuple[int, int]]) -> str:
        return seal(*(view[start:stop] for start, stop in head.byte_ranges(rows)))

    return ChunkSeal(
        head=seal(view[: head.first_byte]),
        vectors=sealed(head.vector_rows()),
        segments=tuple(sealed(head.segment_rows(i)) for i in range(len(head.segments))),
    )
