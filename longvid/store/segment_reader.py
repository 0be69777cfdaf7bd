"""Reads segments by key, through the manifests, while videos come, change and go."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from longvid.errors import StoreError
from longvid.store.chunkfile import load_segments
from longvid.store.layout import manifest_name
from longvid.store.manifest import Manifest
from longvid.store.objects import Objects
from longvid.types import Segment

__all__ = ["SegmentReader"]

_MANIFESTS_KEPT = 1024


class SegmentReader:
    """Keeps the manifests it needed lately."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._manifests: dict[str, Manifest] = {}

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
        near = {
            (video_id, segment_index + step)
            for video_id, segment_index in keys
            for step in range(-reach, reach + 1)
        }
        stored = {
            (video_id, segment.index)
            for video_id in {video_id for video_id, _ in near - set(keys)}
            if (manifest := self._manifest(video_id)) is not None
            for chunk in manifest.chunks
            for segment in chunk.segments
        }
        return sorted((near & stored) | set(keys))

    def _load(self, video_id: str, indices: set[int]) -> list[Segment]:
        manifest = self._manifest(video_id)
        if manifest is None:
            return []
        found: dict[int, Segment] = {}
        for chunk in manifest.chunks:
            if inside := indices & {segment.index for segment in chunk.segments}:
                found.update(load_segments(self._objects, manifest.chunk_path(chunk), inside))
        return list(found.values())

    def _load_again(self, video_id: str, indices: set[int]) -> list[Segment]:
        try:
            return self._load(video_id, indices)
        except FileNotFoundError as error:
            raise StoreError(
                f"A chunk of video {video_id} is missing from the store {self._objects.uri}; "
                "remove the video from the store and index it again."
            ) from error

    def _manifest(self, video_id: str) -> Manifest | None:
        known = self._manifests.get(video_id)
        if known is not None:
            return known
        manifest = Manifest.from_json(self._objects.read(manifest_name(video_id)))
        if manifest is not None:
            while len(self._manifests) >= _MANIFESTS_KEPT:
                self._manifests.pop(next(iter(self._manifests)), None)
            self._manifests[video_id] = manifest
        return manifest
