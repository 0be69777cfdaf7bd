"""Compress several segments of a video at once, as methods were published that rank a whole video.

A part that states `num_segments` sees that many consecutive segments together while a video is
indexed: all of it, where they hold the whole video. Other parts see one after the other.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

from longvid.errors import OpError
from longvid.lazy_import import torch
from longvid.protocols import Compressor
from longvid.types import Segment, Tokens


def groups_of(segments: Sequence[Segment], num_segments: int) -> Iterator[list[Segment]]:
    """Group consecutive segments of one video.

    Args:
        segments: In time order; some may be missing.
        num_segments: In a group, counted from the start of the video, so that the groups are the
            same whoever indexes which part of it.
    """
    for _, group in itertools.groupby(segments, lambda one: one.segment_index // num_segments):
        yield list(group)


def compress_video(compressor: Compressor, segments: Sequence[Segment]) -> list[Segment]:
    """Compress the segments of one video as if they were a single one.

    Args:
        compressor: A compressor at work.
        segments: All segments of a video in time order, not yet compressed.

    Returns:
        The segments in the same order, with fewer or equally many tokens.

    Raises:
        OpError: The segments are of several videos or token spaces, or not in time order.
    """
    if not segments:
        return []
    first = segments[0]
    keys = [segment.key for segment in segments]
    if keys != sorted(set(keys)) or keys[0][0] != keys[-1][0]:
        raise OpError("compress_video takes the segments of one video in time order.")
    if {segment.space for segment in segments} != {first.space}:
        raise OpError("compress_video takes segments of one token space.")
    starts = [0]
    for segment in segments:
        starts.append(starts[-1] + segment.num_frames)
    joined = Segment(
        video_id=first.video_id,
        segment_index=first.segment_index,
        start_seconds=first.start_seconds,
        end_seconds=segments[-1].end_seconds,
        pts_seconds=torch.cat([segment.pts_seconds for segment in segments]),
        slow=torch.cat([segment.slow for segment in segments]),
        frame_embeddings=torch.cat([segment.frame_embeddings for segment in segments]),
        tokens=_joined(segments, starts),
        space=first.space,
        grid=first.grid,
    )
    tokens = compressor(joined).tokens
    edges = torch.searchsorted(tokens.frame, torch.tensor(starts, dtype=torch.int32)).tolist()
    return [
        segment.with_tokens(_cut(tokens, edges[i], edges[i + 1], starts[i]))
        for i, segment in enumerate(segments)
    ]


def _joined(segments: Sequence[Segment], starts: Sequence[int]) -> Tokens:
    pieces = [segment.tokens for segment in segments]
    return Tokens(
        data=torch.cat([piece.data for piece in pieces]),
        frame=torch.cat([p.frame + start for p, start in zip(pieces, starts[:-1], strict=True)]),
        position=torch.cat([piece.position for piece in pieces]),
        size=torch.cat([piece.size for piece in pieces]),
    )


def _cut(tokens: Tokens, first: int, last: int, start: int) -> Tokens:
    rows = slice(first, last)
    return Tokens(
        data=tokens.data[rows].clone(),
        frame=tokens.frame[rows] - start,
        position=tokens.position[rows].clone(),
        size=tokens.size[rows].clone(),
    )
