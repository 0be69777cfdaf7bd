"""How much a store holds, in all and of each video."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from longvid.store.catalog import StoredVideo
from longvid.store.layout import CATALOG, HEADER, HEADER_SEAL, VECTORS
from longvid.store.objects import Objects


@dataclass(frozen=True, slots=True)
class VideoStatus:
    """How much a store holds of one video.

    Args:
        path: Its name: of several, one that exists now.
        video_id: Hash of its content.
        aliases: Its other names, sorted.
        duration_seconds: From its first frame to the end of its last.
        num_segments, num_tokens: Counts.
        num_bytes: Of its chunks and manifest.
        num_gaps: Spans that could not be indexed.
        source_bytes: Size of the video file, None if it is not known.
        tags: Values that people gave it, by key.
    """

    path: str
    video_id: str
    aliases: tuple[str, ...]
    duration_seconds: float
    num_segments: int
    num_tokens: int
    num_bytes: int
    num_gaps: int
    source_bytes: int | None
    tags: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class StoreStatus:
    """How much a store holds.

    Args:
        num_videos, num_segments, num_tokens: Counts.
        num_bytes: Of everything stored of videos (chunks, manifests), and of what finds it again
            (header, catalog, search index).
        duration_seconds: Of the videos.
        num_failures: Entries of `Store.failures`.
        num_damaged: Entries of `damaged`.
        source_bytes: Size of the video files, None if any of them is not known.
        videos: Each video, in order of path.
        damaged: A sentence for each damaged video by its id, and for each damaged name or table of
            failures by its object.
    """

    num_videos: int
    num_segments: int
    num_tokens: int
    num_bytes: int
    duration_seconds: float
    num_failures: int
    num_damaged: int
    source_bytes: int | None
    videos: tuple[VideoStatus, ...]
    damaged: Mapping[str, str]


def summarise(
    objects: Objects, stored: Sequence[StoredVideo], damaged: Mapping[str, str], num_failures: int
) -> StoreStatus:
    """Add up videos, and what the videos of a store share."""
    videos = tuple(_video_status(one) for one in stored)
    known = [video.source_bytes for video in videos if video.source_bytes is not None]
    return StoreStatus(
        num_videos=len(videos),
        num_segments=sum(video.num_segments for video in videos),
        num_tokens=sum(video.num_tokens for video in videos),
        num_bytes=_shared_bytes(objects) + sum(video.num_bytes for video in videos),
        duration_seconds=sum(video.duration_seconds for video in videos),
        num_failures=num_failures,
        num_damaged=len(damaged),
        source_bytes=sum(known) if len(known) == len(videos) else None,
        videos=videos,
        damaged=dict(damaged),
    )


def _video_status(stored: StoredVideo) -> VideoStatus:
    video = stored.video
    return VideoStatus(
        path=video.path,
        video_id=video.video_id,
        aliases=tuple(path for path in stored.paths if path != video.path),
        duration_seconds=video.duration_seconds,
        num_segments=stored.num_segments,
        num_tokens=stored.num_tokens,
        num_bytes=stored.num_bytes,
        num_gaps=len(stored.gaps),
        source_bytes=_source_bytes(stored),
        tags=stored.tags,
    )


def _shared_bytes(objects: Objects) -> int:
    """Add up the objects that belong to no single video."""
    index = sum(info.num_bytes for info in objects.listing(VECTORS))
    return index + sum(objects.size(name) or 0 for name in (HEADER, HEADER_SEAL, CATALOG))


def _source_bytes(stored: StoredVideo) -> int | None:
    """Return the size of the video file as recorded, or of the file there now."""
    if stored.source_bytes:
        return stored.source_bytes
    for path in stored.paths:
        if os.path.isfile(path):
            return os.path.getsize(path)
    return None
