"""Reads segments and search vectors from chunk objects, comparing every byte with its seal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from longvid.errors import LongvidError, StoreError
from longvid.lazy_import import torch
from longvid.store.chunk_head import ChunkHead, read_head, seal_chunk
from longvid.store.chunk_record import ChunkRecord, ChunkSeal, SegmentRecord
from longvid.store.layout import checksum
from longvid.store.objects import DamagedObjectError, Objects
from longvid.store.quantization import dequantise
from longvid.store.seal import seal
from longvid.types import Segment, Tokens

#: What malformed bytes raise while they are taken apart.
_MALFORMED = (
    *(ValueError, KeyError, IndexError, TypeError, AttributeError, OverflowError),
    *(RuntimeError, LongvidError),
)


def load_vectors(objects: Objects, name: str, record: ChunkRecord) -> torch.Tensor:
    """Read the search vectors of a chunk, (sum V, E) float32, in order of its segments.

    Args:
        objects: Where the chunk is kept.
        name: Of the chunk object.
        record: What the manifest records of it.

    Raises:
        StoreError: The object is damaged.
        FileNotFoundError: There is no such object.
    """
    try:
        sealed, head = _checked_head(objects, name, record)
        found = _read_rows(objects, name, head, head.vector_rows(), sealed.vectors)
        vectors = _embeddings(found, "vectors")
        if not bool(torch.isfinite(vectors).all()):
            raise ValueError("its search vectors are not finite")
        return vectors
    except StoreError:
        raise
    except _MALFORMED as error:
        raise _damaged(objects, name, error) from error


def load_segments(
    objects: Objects, name: str, record: ChunkRecord, wanted: Iterable[int]
) -> dict[int, Segment]:
    """Read some segments of a chunk, and no byte of the others.

    Args:
        objects: Where the chunk is kept.
        name: Of the chunk object.
        record: What the manifest records of it.
        wanted: Segment indices; those the chunk does not hold are left out of the result.

    Raises:
        StoreError: The object is damaged.
        FileNotFoundError: There is no such object.
    """
    try:
        sealed, head = _checked_head(objects, name, record)
        keep = set(wanted)
        found = {}
        for position, segment in enumerate(head.segments):
            if segment.index in keep:
                rows = head.segment_rows(position)
                tensors = _read_rows(objects, name, head, rows, sealed.segments[position])
                found[segment.index] = _segment(head, segment, tensors)
        return found
    except StoreError:
        raise
    except _MALFORMED as error:
        raise _damaged(objects, name, error) from error


def read_seal(objects: Objects, name: str, record: ChunkRecord) -> ChunkSeal:
    """Seal a chunk that was written without one, once all of it equals its manifest's checksum.

    Raises:
        StoreError: The object is damaged.
        FileNotFoundError: There is no such object.
    """
    try:
        if objects.size(name) not in (None, record.num_bytes):
            raise ValueError("it has not the size that its manifest records")
        data = objects.read(name, max_bytes=record.num_bytes)
        if data is None:
            raise FileNotFoundError(name)
        if checksum(data) != record.checksum:
            raise ValueError("it does not fit its checksum")
        return seal_chunk(data)
    except StoreError:
        raise
    except _MALFORMED as error:
        raise _damaged(objects, name, error) from error


def verify_chunk(objects: Objects, name: str, record: ChunkRecord) -> None:
    """Compare all of a chunk with its manifest's checksum, and with its seal if it has one.

    Raises:
        DamagedObjectError: It differs.
        FileNotFoundError: There is no such object.
    """
    fresh = read_seal(objects, name, record)
    try:
        if record.seal not in (None, fresh):
            raise ValueError("it does not fit its seals")
        _checked_head(objects, name, replace(record, seal=fresh))
    except _MALFORMED as error:
        raise _damaged(objects, name, error) from error


def _checked_head(objects: Objects, name: str, record: ChunkRecord) -> tuple[ChunkSeal, ChunkHead]:
    sealed = record.seal or read_seal(objects, name, record)
    head, head_seal = read_head(objects, name)
    if head_seal != sealed.head:
        raise ValueError("its head does not fit its checksum")
    if head.segments != record.segments or len(sealed.segments) != len(head.segments):
        raise ValueError("its segments are not those of its manifest")
    return sealed, head


def _read_rows(
    objects: Objects,
    name: str,
    head: ChunkHead,
    rows: Mapping[str, tuple[int, int]],
    expected_seal: str,
) -> dict[str, torch.Tensor]:
    buffers = objects.read_ranges(name, head.byte_ranges(rows))
    if seal(*buffers) != expected_seal:
        raise ValueError("its content does not fit its checksum")
    return {
        tensor: head.tensor(tensor, buffer, count)
        for (tensor, (_, count)), buffer in zip(rows.items(), buffers, strict=True)
    }


def _damaged(objects: Objects, name: str, error: Exception) -> StoreError:
    return DamagedObjectError(
        f"{name} of the store {objects.uri} is damaged ({error}); remove that video from the "
        "store and index it again."
    )


def _embeddings(found: Mapping[str, torch.Tensor], name: str) -> torch.Tensor:
    """Return stored embeddings as (K, E) float32; what was rounded gets its unit norm back."""
    stored = found[name]
    if stored.dtype == torch.float32:
        return stored
    values = dequantise(stored, found.get(f"{name}_scale"), torch.float32).float()
    return torch.nn.functional.normalize(values, dim=1)


def _segment(head: ChunkHead, record: SegmentRecord, found: Mapping[str, torch.Tensor]) -> Segment:
    frame = torch.arange(record.num_frames, dtype=torch.int32)
    data = dequantise(found["tokens"], found.get("scale"), head.token_dtype, head.token_width)
    return Segment(
        video_id=head.video_id,
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
        space=head.space,
        grid=(record.grid_height, record.grid_width),
    )
