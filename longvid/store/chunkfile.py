"""One chunk's segments as one safetensors object, and back, reading only what is asked.

The segments of a chunk lie end to end in each tensor, so a segment is one byte range a tensor:

    pts_seconds       (sum T,)     float64      tokens    (sum N, D)  as StoreOptions.tokens says
    slow              (sum T,)     bool         scale     (sum N, .)  int8 and int4 tokens only
    num_frame_tokens  (sum T,)     int32        position  (sum N, 2)  float32
    frame_embeddings  (sum T, E)   as           size      (sum N,)    float32
    vectors           (sum V, E)   StoreOptions.embeddings says
    frame_embeddings_scale, vectors_scale       (sum T,), (sum V,)    float32, int8 embeddings only

The table of segments is in the object's own metadata, so that a chunk is read right even while
its manifest is being replaced. This module knows bytes, not where they are kept.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from longvid.errors import LongvidError, StoreError
from longvid.lazy_import import torch
from longvid.store.annotations import AnnotationPart
from longvid.store.header import Header
from longvid.store.layout import checksum, chunk_name
from longvid.store.objects import Objects
from longvid.store.quantization import dequantise, quantise
from longvid.types import Segment, Tokens

__all__ = [
    "ChunkRecord",
    "SegmentRecord",
    "encode_chunk",
    "load_segments",
    "load_vectors",
    "segment_vectors",
]

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
_METADATA = "longvid"
_LENGTH_BYTES = 8
_FIRST_READ_BYTES = 8192
_PER_FRAME = (
    *("pts_seconds", "slow", "num_frame_tokens"),
    *("frame_embeddings", "frame_embeddings_scale"),
)
_OF_VECTORS = ("vectors", "vectors_scale")


@dataclass(frozen=True, slots=True)
class SegmentRecord:
    """What a manifest says of one segment.

    `num_vectors` counts its search vectors; the grid is 0 x 0 in chunks that do not say it.
    """

    index: int
    start_seconds: float
    end_seconds: float
    num_frames: int
    num_tokens: int
    num_vectors: int
    grid_height: int = 0
    grid_width: int = 0


@dataclass(frozen=True, slots=True)
class ChunkRecord:
    """What a manifest says of one chunk.

    Args:
        file: Its name below the video's folder.
        num_bytes: Of the object.
        checksum: BLAKE2b-128 of the object, 32 hexadecimal digits.
        segments: In order of index.
        pictures: Pictures of the segments, until they are published; not part of a manifest.
    """

    file: str
    num_bytes: int
    checksum: str
    segments: tuple[SegmentRecord, ...]
    pictures: AnnotationPart | None = None

    @property
    def num_tokens(self) -> int:
        """Tokens in all segments."""
        return sum(segment.num_tokens for segment in self.segments)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types."""
        return {name: value for name, value in asdict(self).items() if name != "pictures"}

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> ChunkRecord:
        """Undo `to_dict`."""
        segments = tuple(SegmentRecord(**segment) for segment in document["segments"])
        return cls(**{**document, "segments": segments})


def segment_vectors(frame_embeddings: torch.Tensor, num_vectors: int) -> torch.Tensor:
    """Average equal consecutive groups of frame embeddings, then restore unit norm.

    Frame i of T belongs to the group k with k*T//V <= i < (k+1)*T//V. A group whose embeddings
    cancel out is represented by its first frame.

    Args:
        frame_embeddings: (T, E) float32, unit norm.
        num_vectors: Groups wanted; no more than one a frame is made.

    Returns:
        (min(T, num_vectors), E) float32, unit norm.
    """
    num_frames = frame_embeddings.shape[0]
    groups = min(num_frames, num_vectors)
    vectors = frame_embeddings.new_empty((groups, frame_embeddings.shape[1]))
    for k in range(groups):
        group = frame_embeddings[k * num_frames // groups : (k + 1) * num_frames // groups]
        mean = group.double().mean(dim=0)
        norm = mean.norm()
        vectors[k] = (mean / norm).float() if float(norm) > 1e-6 else group[0]
    return vectors


def _check(video_id: str, segments: Sequence[Segment], header: Header) -> None:
    """Refuse what could not be found or read again later."""
    if not segments:
        raise StoreError(f"A chunk of video {video_id} has no segment; record a failure instead.")
    indices = [segment.segment_index for segment in segments]
    if sorted(set(indices)) != indices:
        raise StoreError(f"Segments of a chunk must be in order of their index, got {indices}.")
    for segment in segments:
        name = f"Segment {segment.segment_index} of video {segment.video_id}"
        if segment.video_id != video_id:
            raise StoreError(f"{name} was given to be written as one of video {video_id}.")
        if segment.space != header.space:
            raise StoreError(
                f"{name} has tokens of {segment.space!r} and the store holds {header.space!r}; "
                "index into another folder, or with the store's own configuration."
            )
        if segment.frame_embeddings.shape[1] != header.embedding_width:
            raise StoreError(
                f"{name} has embeddings of width {segment.frame_embeddings.shape[1]} and the "
                f"store holds {header.embedding_width}; index into another folder, or with the "
                "store's own configuration."
            )
        if not bool(torch.isfinite(segment.frame_embeddings).all()):
            raise StoreError(f"{name} has embeddings that are not finite; check its encoder.")


def encode_chunk(
    video_id: str, segments: Sequence[Segment], header: Header
) -> tuple[str, bytes, ChunkRecord]:
    """Serialise the segments of one chunk, equal input to equal bytes.

    Args:
        video_id: Of every segment.
        segments: In order of their index, at least one.
        header: Of the store: options, space and width.

    Returns:
        The object's name, its bytes, and its record for the manifest.

    Raises:
        StoreError: The segments are not of this video or store, or hold what is not finite.
    """
    _check(video_id, segments, header)
    options = header.options
    vectors = [segment_vectors(s.frame_embeddings, options.vectors_per_segment) for s in segments]
    dtypes = {segment.tokens.data.dtype for segment in segments}
    widths = {segment.tokens.data.shape[1] for segment in segments}
    if len(dtypes) > 1 or len(widths) > 1:
        raise StoreError(
            f"Tokens of one chunk must be of one dtype and width, got {sorted(map(str, dtypes))} "
            f"and {sorted(widths)}."
        )
    tensors = {
        "pts_seconds": torch.cat([s.pts_seconds.double() for s in segments]),
        "slow": torch.cat([s.slow.bool() for s in segments]),
        "num_frame_tokens": torch.cat([s.tokens.counts(s.num_frames).int() for s in segments]),
        "position": torch.cat([s.tokens.position.float() for s in segments]),
        "size": torch.cat([s.tokens.size.float() for s in segments]),
        **_kept("tokens", "scale", [s.tokens.data for s in segments], options.tokens),
        **_kept(
            "frame_embeddings",
            "frame_embeddings_scale",
            [s.frame_embeddings for s in segments],
            options.embeddings,
        ),
        **_kept("vectors", "vectors_scale", vectors, options.embeddings),
    }
    records = tuple(
        SegmentRecord(
            index=s.segment_index,
            start_seconds=float(s.start_seconds),
            end_seconds=float(s.end_seconds),
            num_frames=s.num_frames,
            num_tokens=len(s.tokens),
            num_vectors=v.shape[0],
            grid_height=s.grid[0],
            grid_width=s.grid[1],
        )
        for s, v in zip(segments, vectors, strict=True)
    )
    from safetensors.torch import save

    metadata = {
        "video_id": video_id,
        "space": header.space,
        "token_dtype": str(dtypes.pop()).removeprefix("torch."),
        "token_width": widths.pop(),
        "segments": [asdict(record) for record in records],
    }
    # One entry: safetensors does not promise an order for several.
    data = save(
        {name: tensor.contiguous() for name, tensor in tensors.items()},
        metadata={_METADATA: json.dumps(metadata, sort_keys=True)},
    )
    digest = checksum(data)
    name = chunk_name(video_id, records[0].index, digest)
    return name, data, ChunkRecord(name.rpartition("/")[2], len(data), digest, records)


def _kept(
    name: str, scale: str, values: Sequence[torch.Tensor], kind: str
) -> dict[str, torch.Tensor]:
    """Return what is kept of the rows of all segments, and the scales they need."""
    stored, steps = quantise(torch.cat(list(values)), kind)
    return {name: stored} if steps is None else {name: stored, scale: steps}


def _embeddings(found: Mapping[str, torch.Tensor], name: str) -> torch.Tensor:
    """Return stored embeddings as (K, E) float32; what was rounded gets its unit norm back."""
    stored = found[name]
    if stored.dtype == torch.float32:
        return stored
    values = dequantise(stored, found.get(f"{name}_scale"), torch.float32).float()
    return torch.nn.functional.normalize(values, dim=1)


@dataclass(frozen=True, slots=True)
class _Contents:
    """The head of a chunk object: which tensors lie where, and what its segments are."""

    tensors: Mapping[str, Mapping[str, Any]]
    first_byte: int
    video_id: str
    space: str
    token_dtype: torch.dtype
    token_width: int | None  # None in chunks that do not say it, which is as much as they hold
    segments: tuple[SegmentRecord, ...]

    def byte_range(self, name: str, first: int, last: int) -> tuple[int, int]:
        """Return where rows [first, last) of a tensor lie in the object."""
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


def _dtype(entry: Mapping[str, Any]) -> torch.dtype:
    dtype: torch.dtype = getattr(torch, _DTYPES[entry["dtype"]])
    return dtype


def _read_contents(objects: Objects, name: str) -> _Contents:
    [start] = objects.read_ranges(name, [(0, _FIRST_READ_BYTES)])
    length = int.from_bytes(start[:_LENGTH_BYTES], "little")
    first_byte = _LENGTH_BYTES + length
    if first_byte > len(start):
        known = objects.size(name) or 0
        if first_byte > known:
            raise ValueError("its head is cut off")
        start += objects.read_ranges(name, [(len(start), first_byte)])[0]
    tensors = json.loads(start[_LENGTH_BYTES:first_byte])
    metadata = json.loads(tensors.pop("__metadata__")[_METADATA])
    return _Contents(
        tensors=tensors,
        first_byte=first_byte,
        video_id=metadata["video_id"],
        space=metadata["space"],
        token_dtype=getattr(torch, metadata["token_dtype"]),
        token_width=metadata.get("token_width"),
        segments=tuple(SegmentRecord(**segment) for segment in metadata["segments"]),
    )


def _damaged(objects: Objects, name: str, error: Exception) -> StoreError:
    return StoreError(
        f"{name} of the store {objects.uri} is damaged ({error}); remove that video from the "
        "store and index it again."
    )


#: What malformed bytes raise while they are taken apart.
_MALFORMED = (ValueError, KeyError, TypeError, AttributeError, RuntimeError, LongvidError)


def load_vectors(objects: Objects, name: str) -> torch.Tensor:
    """Read the search vectors of a chunk, (sum V, E) float32, in order of its segments.

    Raises:
        StoreError: The object is damaged.
        FileNotFoundError: There is no such object.
    """
    try:
        contents = _read_contents(objects, name)
        count = sum(segment.num_vectors for segment in contents.segments)
        names = [tensor for tensor in _OF_VECTORS if tensor in contents.tensors]
        ranges = [contents.byte_range(tensor, 0, count) for tensor in names]
        data = objects.read_ranges(name, ranges)
        found = {
            tensor: contents.tensor(tensor, buffer, count)
            for tensor, buffer in zip(names, data, strict=True)
        }
        return _embeddings(found, "vectors")
    except StoreError:
        raise
    except _MALFORMED as error:
        raise _damaged(objects, name, error) from error


def load_segments(objects: Objects, name: str, wanted: Iterable[int]) -> dict[int, Segment]:
    """Read some segments of a chunk, and no byte of the others.

    Args:
        objects: Where the chunk is kept.
        name: Of the chunk object.
        wanted: Segment indices; those the chunk does not hold are left out of the result.

    Raises:
        StoreError: The object is damaged.
        FileNotFoundError: There is no such object.
    """
    try:
        contents = _read_contents(objects, name)
        frames = [0, *itertools.accumulate(s.num_frames for s in contents.segments)]
        tokens = [0, *itertools.accumulate(s.num_tokens for s in contents.segments)]
        keep = set(wanted)
        return {
            record.index: _load_segment(
                objects, name, contents, record, first_frame=frames[i], first_token=tokens[i]
            )
            for i, record in enumerate(contents.segments)
            if record.index in keep
        }
    except StoreError:
        raise
    except _MALFORMED as error:
        raise _damaged(objects, name, error) from error


def _load_segment(
    objects: Objects,
    name: str,
    contents: _Contents,
    record: SegmentRecord,
    *,
    first_frame: int,
    first_token: int,
) -> Segment:
    rows = {
        tensor: (first_frame, record.num_frames)
        if tensor in _PER_FRAME
        else (first_token, record.num_tokens)
        for tensor in contents.tensors
        if tensor not in _OF_VECTORS
    }
    ranges = [
        contents.byte_range(tensor, first, first + count) for tensor, (first, count) in rows.items()
    ]
    buffers = objects.read_ranges(name, ranges)
    found = {
        tensor: contents.tensor(tensor, buffer, count)
        for (tensor, (_, count)), buffer in zip(rows.items(), buffers, strict=True)
    }
    frame = torch.arange(record.num_frames, dtype=torch.int32)
    data = dequantise(
        found["tokens"], found.get("scale"), contents.token_dtype, contents.token_width
    )
    return Segment(
        video_id=contents.video_id,
        segment_index=record.index,
        start_seconds=record.start_seconds,
        end_seconds=record.end_seconds,
        pts_seconds=found["pts_seconds"],
        slow=found["slow"],
        frame_embeddings=_embeddings(found, "frame_embeddings"),
        tokens=Tokens(
            data=data,
            frame=frame.repeat_interleave(found["num_frame_tokens"].long()),
            position=found["position"],
            size=found["size"],
        ),
        space=contents.space,
        grid=(record.grid_height, record.grid_width),
    )
