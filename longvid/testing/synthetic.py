"""Segments, questions and frames made from a seed, with the awkward shapes that parts must bear."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch

from longvid.errors import LongvidError
from longvid.types import FrameBatch, Query, Question, Segment, Tokens

WIDTH = 24
EMBEDDING_WIDTH = 12

Result = TypeVar("Result")


def outcome(call: Callable[[], Result]) -> Result | LongvidError:
    """Return what a call returns, or the named error that it raises; any other error passes."""
    try:
        return call()
    except LongvidError as error:
        return error


def unit_rows(num_rows: int, width: int, generator: torch.Generator) -> torch.Tensor:
    """Draw unit vectors, (num_rows, width)."""
    rows = torch.randn(num_rows, width, generator=generator)
    return torch.nn.functional.normalize(rows, dim=1)


def make_segment(
    num_frames: int = 6,
    height: int = 8,
    width: int = 8,
    *,
    seed: int = 0,
    video_id: str = "a",
    segment_index: int = 0,
    dtype: torch.dtype = torch.float32,
    slow_every: int = 3,
    keep: float = 1.0,
    repeated: bool = False,
) -> Segment:
    """Make one segment.

    Args:
        num_frames, height, width: Frames and their patch grid.
        seed: Of every number.
        video_id, segment_index: Identity.
        dtype: Of the tokens.
        slow_every: Every k-th frame is slow.
        keep: Share of the tokens left, so that frames hold different numbers.
        repeated: All frames show the same.
    """
    generator = torch.Generator().manual_seed(seed)
    grid = torch.randn(num_frames, height, width, WIDTH, generator=generator)
    embeddings = unit_rows(num_frames, EMBEDDING_WIDTH, generator)
    if repeated and num_frames:
        grid = grid[:1].expand_as(grid)
        embeddings = embeddings[:1].expand_as(embeddings).contiguous()
    tokens = Tokens.from_grid(grid.to(dtype))
    if keep < 1:
        tokens = tokens.keep(torch.rand(len(tokens), generator=generator) < keep)
    start = 100.0 * segment_index
    return Segment(
        video_id=video_id,
        segment_index=segment_index,
        start_seconds=start,
        end_seconds=start + num_frames,
        pts_seconds=start + torch.arange(num_frames, dtype=torch.float64),
        slow=torch.arange(num_frames) % slow_every == 0,
        frame_embeddings=embeddings,
        tokens=tokens,
        space="synthetic",
    )


def make_query(seed: int = 0, num_words: int = 5) -> Query:
    """Make one question, its words in the token space."""
    generator = torch.Generator().manual_seed(1000 + seed)
    return Query(
        question=Question("what?"),
        embedding=unit_rows(1, EMBEDDING_WIDTH, generator)[0],
        text_tokens=torch.randn(num_words, WIDTH, generator=generator),
    )


def make_frames(
    num_frames: int, *, height: int = 24, width: int = 40, seed: int = 0, repeated: bool = False
) -> FrameBatch:
    """Make decoded frames, one a second.

    Args:
        num_frames, height, width: How many, and their pixels.
        seed: Of every pixel.
        repeated: All frames show the same.
    """
    generator = torch.Generator().manual_seed(seed)
    data = torch.randint(
        0, 256, (num_frames, 3, height, width), generator=generator, dtype=torch.uint8
    )
    if repeated:
        data = data[:1].expand_as(data).contiguous()
    return FrameBatch(
        video_id="a",
        segment_index=0,
        start_seconds=0.0,
        end_seconds=float(num_frames),
        data=data,
        pts_seconds=torch.arange(num_frames, dtype=torch.float64),
        duration_seconds=torch.ones(num_frames, dtype=torch.float64),
        slow=torch.arange(num_frames) % 4 == 0,
    )


def fingerprint(segment: Segment) -> tuple[object, ...]:
    """Describe everything a segment holds, bit for bit."""
    tensors = (
        segment.pts_seconds,
        segment.slow,
        segment.frame_embeddings,
        segment.tokens.data.float(),
        segment.tokens.frame,
        segment.tokens.position,
        segment.tokens.size,
    )
    return (
        segment.key,
        segment.start_seconds,
        segment.end_seconds,
        segment.space,
        segment.tokens.data.dtype,
        *((tuple(tensor.shape), tensor.numpy().tobytes()) for tensor in tensors),
    )
