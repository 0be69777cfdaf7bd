"""How much a store holds."""

from __future__ import annotations

import os
from dataclasses import dataclass

from longvid.store.catalog import Catalog, StoredVideo
from longvid.store.layout import CATALOG, HEADER, VECTORS
from longvid.store.objects import Objects

__all__ = ["StoreStatus", "summarise"]


@dataclass(frozen=True, slots=True)
class StoreStatus:
    """How much a store holds.

    Args:
        num_videos, num_segments, num_tokens: Counts.
        num_bytes: Of all that is kept of videos (chunks, manifests), and of what finds it again
            (header, catalog, search index).
        duration_seconds: Of the videos.
        num_failures: Entries of `Store.failures`.
        num_damaged: Videos whose manifest is not whole; indexing again mends them.
        source_bytes: Size of the video files, None if any of them is not known.
    """

    num_videos: int
    num_segments: int
    num_tokens: int
    num_bytes: int
    duration_seconds: float
    num_failures: int
    num_damaged: int
    source_bytes: int | None


def summarise(objects: Objects, catalog: Catalog, *, num_failures: int) -> StoreStatus:
    """Add up what a catalog lists, and what the videos of a store share."""
    videos = [entry.stored for entry in catalog.entries.values()]
    sources = [_source_bytes(stored) for stored in videos]
    known = [source for source in sources if source is not None]
    return StoreStatus(
        num_videos=len(videos),
        num_segments=sum(stored.num_segments for stored in videos),
        num_tokens=sum(stored.num_tokens for stored in videos),
        num_bytes=_shared_bytes(objects) + sum(stored.num_bytes for stored in videos),
        duration_seconds=sum(stored.video.duration_seconds for stored in videos),
        num_failures=num_failures,
        num_damaged=len(catalog.damaged),
        source_bytes=sum(known) if len(known) == len(videos) else None,
    )


def _shared_bytes(objects: Objects) -> int:
    """Add up the objects that are of no single video."""
    index = sum(info.num_bytes for info in objects.listing(VECTORS))
    return index + sum(objects.size(name) or 0 for name in (HEADER, CATALOG))


def _source_bytes(stored: StoredVideo) -> int | None:
    """Return the size of the video file as recorded, or as it lies there, if it does."""
    if stored.source_bytes:
        return stored.source_bytes
    for path in stored.paths:
        if os.path.isfile(path):
            return os.path.getsize(path)
    return None
