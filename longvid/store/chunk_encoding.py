"""Segments to the bytes of one chunk object, equal segments to equal bytes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict

from longvid.errors import StoreError
from longvid.lazy_import import torch
from longvid.store.chunk_head import METADATA, seal_chunk
from longvid.store.chunk_record import ChunkRecord, SegmentRecord
from longvid.store.header import Header
from longvid.store.layout import checksum, chunk_name
from longvid.store.quantization import quantise
from longvid.types import Segment


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
        **_quantised("tokens", "scale", [s.tokens.data for s in segments], options.tokens),
        **_quantised(
            "frame_embeddings",
            "frame_embeddings_scale",
            [s.frame_embeddings for s in segments],
            options.embeddings,
        ),
        **_quantised("vectors", "vectors_scale", vectors, options.embeddings),
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
        metadata={METADATA: json.dumps(metadata, sort_keys=True)},
    )
    digest = checksum(data)
    name = chunk_name(video_id, records[0].index, digest)
    file = name.rpartition("/")[2]
    return name, data, ChunkRecord(file, len(data), digest, records, seal_chunk(data))


def _quantised(
    name: str, scale: str, values: Sequence[torch.Tensor], kind: str
) -> dict[str, torch.Tensor]:
    """Return the stored form of the rows of all segments, and the scales they need."""
    stored, steps = quantise(torch.cat(list(values)), kind)
    return {name: stored} if steps is None else {name: stored, scale: steps}
