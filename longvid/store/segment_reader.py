"""Reads segments by key, through the manifests, while videos come, change and go.

Their times are those of a player.
"""

from __future__ import annotations

import contextlib
from bisect import bisect
from collections import OrderedDict
from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import lru_cache

from longvid.errors import StoreError
from longvid.store.chunk_reader import load_segments, read_seal
from longvid.store.chunk_record import ChunkRecord
from longvid.store.manifest import Manifest
from longvid.store.objects import DamagedObjectError, Objects
from longvid.store.player_time import in_player_time
from longvid.store.sealed_manifest import read_manifest
from longvid.types import Segment

_MANIFESTS_KEPT = 1024
_SEALS_KEPT = 4096


class SegmentReader:
    """Keeps the manifests that were used last, and the seals of chunks that were written without.

    Any number of threads may use it: each step on a cache is one operation.
    """

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._manifests: OrderedDict[str, Manifest] = OrderedDict()
        self._sealed = lru_cache(_SEALS_KEPT)(self._seal)

    def load(self, keys: Sequence[tuple[str, int]]) -> list[Segment]:
        """Return one segment a key, in the order given.

        Args:
            keys: (video id, segment index) each.

        Raises:
            StoreError: A segment is not in the store, or its object is damaged.
        """
        wanted: dict[str, set[int]] = {}
        for video_id, segment_index in keys:
            wanted.setdefault(video_id, set()).add(segment_index)
        found: dict[tuple[str, int], Segment] = {}
        for video_id, indices in wanted.items():
            try:
                segments = self._load(video_id, indices)
            except FileNotFoundError:
                segments = []
            if len(segments) < len(indices):
                # The video may have been replaced since its manifest was read.
                self._manifests.pop(video_id, None)
                segments = self._load_again(video_id, indices)
            found.update((segment.key, segment) for segment in segments)
        for video_id, segment_index in keys:
            if (video_id, segment_index) not in found:
                raise StoreError(
                    f"Segment {segment_index} of video {video_id} is not in the store "
                    f"{self._objects.uri}; it may have been removed since it was found: search "
                    "again."
                )
        return [found[key] for key in keys]

    def around(self, keys: Collection[tuple[str, int]], reach: int) -> list[tuple[str, int]]:
        """Return the keys with those of stored segments at most `reach` before or after, sorted.

        Args:
            keys: (video id, segment index) each.
            reach: In segments; 0 returns the keys alone.
        """
        found = set(keys)
        wanted: dict[str, list[int]] = {}
        for video_id, segment_index in sorted(keys) if reach else ():
            wanted.setdefault(video_id, []).append(segment_index)
        for video_id, indices in wanted.items():
            manifest = self._manifest(video_id)
            for chunk in () if manifest is None else manifest.chunks:
                stored = (segment.index for segment in chunk.segments)
                found.update((video_id, one) for one in stored if _is_near(one, indices, reach))
        return sorted(found)

    def _load(self, video_id: str, indices: set[int]) -> list[Segment]:
        manifest = self._manifest(video_id)
        if manifest is None:
            return []
        found: dict[int, Segment] = {}
        for chunk in manifest.chunks:
            if inside := indices & {segment.index for segment in chunk.segments}:
                name = manifest.chunk_path(chunk)
                record = chunk if chunk.seal else self._sealed(name, chunk)
                found.update(load_segments(self._objects, name, record, inside))
        clock_start = manifest.video.clock_start_seconds
        return [in_player_time(segment, clock_start) for segment in found.values()]

    def _load_again(self, video_id: str, indices: set[int]) -> list[Segment]:
        try:
            return self._load(video_id, indices)
        except FileNotFoundError as error:
            raise DamagedObjectError(
                f"A chunk of video {video_id} is missing from the store {self._objects.uri}; "
                "remove the video from the store and index it again."
            ) from error

    def _seal(self, name: str, record: ChunkRecord) -> ChunkRecord:
        return replace(record, seal=read_seal(self._objects, name, record))

    def _manifest(self, video_id: str) -> Manifest | None:
        known = self._manifests.pop(video_id, None)
        manifest = known or read_manifest(self._objects, video_id)
        if manifest is not None:
            self._manifests[video_id] = manifest  # the last is the one used last
            while len(self._manifests) > _MANIFESTS_KEPT:
                with contextlib.suppress(KeyError):  # another thread took it meanwhile
                    self._manifests.popitem(last=False)
        return manifest


def _is_near(index: int, indices: Sequence[int], reach: int) -> bool:
    """Tell whether one of some sorted indices is at most `reach` away."""
    place = bisect(indices, index)
    return any(abs(index - one) <= reach for one in indices[max(place - 1, 0) : place + 1])
