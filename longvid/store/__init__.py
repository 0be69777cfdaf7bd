"""Where indexed videos live between indexing and asking."""

from __future__ import annotations

from longvid.config import StoreOptions
from longvid.store.annotations import AnnotationKey, AnnotationPart, Annotations
from longvid.store.catalog import StoredVideo
from longvid.store.chunk_record import ChunkRecord, SegmentRecord
from longvid.store.player_time import stored_picture_times, stored_pictures, stored_subtitles
from longvid.store.status import StoreStatus, VideoStatus
from longvid.store.store import Store
from longvid.store.subtitles import read_subtitles, subtitles_beside, write_subtitles
from longvid.store.vectors import Hit
from longvid.store.verify import Finding

__all__ = [
    "AnnotationKey",
    "AnnotationPart",
    "Annotations",
    "ChunkRecord",
    "Finding",
    "Hit",
    "SegmentRecord",
    "Store",
    "StoreOptions",
    "StoreStatus",
    "StoredVideo",
    "VideoStatus",
    "read_subtitles",
    "stored_picture_times",
    "stored_pictures",
    "stored_subtitles",
    "subtitles_beside",
    "write_subtitles",
]
