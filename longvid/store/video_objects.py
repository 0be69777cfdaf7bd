"""The objects of each video: chunks, names, seals and the manifest that makes it visible."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

from longvid.errors import StoreError
from longvid.store.annotations import Annotations
from longvid.store.chunk_encoding import encode_chunk
from longvid.store.chunk_record import ChunkRecord
from longvid.store.header import Header
from longvid.store.layout import VIDEOS, dump_json, manifest_name, path_name
from longvid.store.manifest import Manifest, make_manifest
from longvid.store.objects import DamagedObjectError, Objects, write_once
from longvid.store.pictures import publish_pictures, write_pictures
from longvid.store.sealed_manifest import is_seal, read_manifest, seal_name, write_seals
from longvid.store.tags import Tags, write_tags
from longvid.types import Failure, Segment, Video


class VideoObjects:
    """Writes and removes the objects of videos; the methods are those of `Store`."""

    def __init__(self, objects: Objects, header: Header) -> None:
        self._objects = objects
        self._header = header

    def write_chunk(self, video_id: str, segments: Sequence[Segment]) -> ChunkRecord:
        name, data, record = encode_chunk(video_id, segments, self._header)
        write_once(self._objects, name, data)
        pictures = write_pictures(Annotations(self._objects), video_id, segments)
        return dataclasses.replace(record, pictures=pictures)

    def finish(
        self,
        video: Video,
        records: Sequence[ChunkRecord],
        gaps: Sequence[Failure],
        source_bytes: int,
        *,
        replace: bool,
    ) -> None:
        """Make a video visible: its seals first, its manifest last."""
        manifest = make_manifest(video, records, gaps, source_bytes)
        if replace or not self.has(video.video_id):
            self._require_chunks(manifest)
            parts = [record.pictures for record in records if record.pictures is not None]
            publish_pictures(Annotations(self._objects), video.video_id, parts)
            name, data = manifest_name(video.video_id), manifest.to_json()
            write_seals(self._objects, manifest, data)
            written = self._objects.write(name, data, exclusive=not replace)
            if not written and not self.has(video.video_id):  # what is there is not whole
                self._objects.write(name, data)
        self._remove_leftovers(video.video_id)

    def has(self, video_id: str) -> bool:
        """Tell whether a video is finished and its manifest whole."""
        try:
            return read_manifest(self._objects, video_id) is not None
        except DamagedObjectError:
            return False

    def add_path(self, video_id: str, path: str) -> bool:
        """Name a video; False if it has that name already."""
        data = dump_json({"path": path})
        return write_once(self._objects, path_name(video_id, path), data)

    def remove_path(self, video_id: str, path: str) -> None:
        self._objects.remove([path_name(video_id, path)])

    def tag(self, video_id: str, tags: Tags) -> bool:
        """Change the tags of a video; False if it has those already."""
        if self._objects.size(manifest_name(video_id)) is None:
            raise StoreError(
                f"The store {self._objects.uri} holds no video {video_id}, so it cannot be tagged; "
                "longvid status lists what is there."
            )
        return write_tags(self._objects, video_id, tags)

    def remove(self, video_ids: Iterable[str]) -> None:
        for video_id in video_ids:
            manifest = manifest_name(video_id)
            folder = manifest.rpartition("/")[0]
            names = {info.name for info in self._objects.listing(folder)}
            if not names:
                raise StoreError(
                    f"The store {self._objects.uri} holds no video {video_id}, so it cannot be "
                    "removed; longvid status lists what is there."
                )
            self._objects.remove([manifest, *sorted(names - {manifest})])

    def _require_chunks(self, manifest: Manifest) -> None:
        for chunk in manifest.chunks:
            name = manifest.chunk_path(chunk)
            if self._objects.size(name) != chunk.num_bytes:
                raise StoreError(
                    f"{name} is missing from the store {self._objects.uri} or not whole, so the "
                    "video cannot be finished; index it again."
                )

    def _remove_leftovers(self, video_id: str) -> None:
        """Remove the chunks and seals that are not of the manifest which stands."""
        try:
            manifest = read_manifest(self._objects, video_id)
        except DamagedObjectError:
            return
        if manifest is None:
            return
        named = {manifest.chunk_path(chunk) for chunk in manifest.chunks}
        named.add(seal_name(video_id, manifest.to_json()))
        listing = self._objects.listing(
            f"{VIDEOS}/{video_id}", lambda name: name.endswith(".safetensors") or is_seal(name)
        )
        self._objects.remove(sorted({info.name for info in listing} - named))
