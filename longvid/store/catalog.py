"""The catalog: what the store holds, one entry a video, kept up to date from the manifests.

It is a cache. A listing of the videos' folders says which entries still hold; only manifests
that are new or were replaced are read. Whatever is wrong with catalog.parquet, the manifests
stand.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import pyarrow as pa
import pyarrow.parquet as pq

from longvid.store.layout import CATALOG, VIDEOS, checksum, from_column, manifest_name, to_column
from longvid.store.manifest import Manifest
from longvid.store.objects import Objects
from longvid.store.parquet import parse_table
from longvid.types import Failure, Video

__all__ = ["Catalog", "Entry", "Listed", "StoredVideo", "list_videos", "load", "refresh", "save"]

_BATCH = 256
_SCHEMA = pa.schema(
    [
        ("video_id", pa.string()),
        ("stamp", pa.string()),
        ("manifest", pa.string()),
        ("path_names", pa.list_(pa.string())),
        ("paths", pa.list_(pa.string())),
        ("start_seconds", pa.float64()),
        ("duration_seconds", pa.float64()),
        ("average_fps", pa.float64()),
        ("num_frames", pa.int64()),
        ("height", pa.int32()),
        ("width", pa.int32()),
        ("num_segments", pa.int64()),
        ("num_tokens", pa.int64()),
        ("num_bytes", pa.int64()),
        ("source_bytes", pa.int64()),
        ("gaps", pa.string()),
    ]
)


@dataclass(frozen=True, slots=True)
class StoredVideo:
    """One video of the store.

    Args:
        video: As probed; its path is the first of `paths`.
        paths: Every name under which it was indexed, sorted.
        num_segments, num_tokens, num_bytes: What the store keeps of it.
        gaps: Spans that could not be indexed.
        source_bytes: Size of the video file, 0 if it was not known.
    """

    video: Video
    paths: tuple[str, ...]
    num_segments: int
    num_tokens: int
    num_bytes: int
    gaps: tuple[Failure, ...]
    source_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Listed:
    """What a listing of objects says of one video: enough to tell whether an entry holds."""

    stamp: str
    num_bytes: int
    path_names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Entry:
    """A catalog's row: the video, and the state of the objects from which it was made."""

    stored: StoredVideo
    manifest: str
    listed: Listed


@dataclass(frozen=True, slots=True)
class Catalog:
    """Entries by video id, and the videos whose manifest is not whole."""

    entries: Mapping[str, Entry] = field(default_factory=dict)
    damaged: tuple[str, ...] = ()

    def manifests(self) -> dict[str, str]:
        """Return the checksum of every video's manifest: the state a search index must cover."""
        return {video_id: entry.manifest for video_id, entry in self.entries.items()}


def list_videos(objects: Objects) -> dict[str, Listed]:
    """List which manifests and names there are, without reading any."""
    stamps: dict[str, tuple[str, int]] = {}
    names: dict[str, list[str]] = {}

    def wanted(name: str) -> bool:
        return name.endswith("/manifest.json") or "/paths/" in name

    for info in objects.listing(VIDEOS, wanted):
        parts = info.name.split("/")
        if len(parts) == 3 and parts[2] == "manifest.json":
            stamps[parts[1]] = (info.stamp, info.num_bytes)
        elif len(parts) == 4 and parts[2] == "paths":
            names.setdefault(parts[1], []).append(parts[3])
    return {
        video_id: Listed(*stamps[video_id], tuple(sorted(names.get(video_id, ()))))
        for video_id in sorted(stamps)
    }


def refresh(objects: Objects, known: Catalog) -> Catalog:
    """Return a catalog of what the store holds now, reading only what changed since `known`.

    Returns:
        `known` itself when nothing changed.
    """
    listing = list_videos(objects)
    kept = {
        video_id: known.entries[video_id]
        for video_id, listed in listing.items()
        if video_id in known.entries and known.entries[video_id].listed == listed
    }
    changed = [video_id for video_id in listing if video_id not in kept]
    if not changed and len(kept) == len(known.entries) and not known.damaged:
        return known
    damaged = []
    for first in range(0, len(changed), _BATCH):
        batch = changed[first : first + _BATCH]
        data = objects.read_many([manifest_name(video_id) for video_id in batch])
        paths = _read_paths(objects, {video_id: listing[video_id] for video_id in batch})
        for video_id, content in zip(batch, data, strict=True):
            manifest = Manifest.from_json(content)
            if content is None:  # removed since the listing
                continue
            if manifest is None or manifest.video_id != video_id:
                damaged.append(video_id)
                continue
            kept[video_id] = _entry(manifest, checksum(content), listing[video_id], paths[video_id])
    return Catalog({video_id: kept[video_id] for video_id in sorted(kept)}, tuple(damaged))


def _read_paths(objects: Objects, listing: Mapping[str, Listed]) -> dict[str, tuple[str, ...]]:
    names = [
        (video_id, f"{VIDEOS}/{video_id}/paths/{name}")
        for video_id, listed in listing.items()
        for name in listed.path_names
    ]
    found: dict[str, set[str]] = {video_id: set() for video_id in listing}
    data = objects.read_many([name for _, name in names])
    for (video_id, _), content in zip(names, data, strict=True):
        try:
            found[video_id].add(str(json.loads(content or b"")["path"]))
        except (ValueError, KeyError, TypeError):
            continue  # a name that is not whole names nothing; `verify` reports it
    return {video_id: tuple(sorted(paths)) for video_id, paths in found.items()}


def _entry(manifest: Manifest, digest: str, listed: Listed, paths: tuple[str, ...]) -> Entry:
    path = paths[0] if paths else manifest.video_id
    stored = StoredVideo(
        video=replace(manifest.video, path=path),
        paths=paths,
        num_segments=manifest.num_segments,
        num_tokens=manifest.num_tokens,
        num_bytes=manifest.num_bytes + listed.num_bytes,
        gaps=tuple(replace(gap, path=path) for gap in manifest.gaps),
        source_bytes=manifest.source_bytes,
    )
    return Entry(stored, digest, listed)


def save(objects: Objects, catalog: Catalog) -> None:
    """Write catalog.parquet."""
    buffer = io.BytesIO()
    with pq.ParquetWriter(buffer, _SCHEMA) as writer:
        batch: list[dict[str, object]] = []
        for entry in catalog.entries.values():
            batch.append(_row(entry))
            if len(batch) == 8192:
                writer.write_table(pa.Table.from_pylist(batch, schema=_SCHEMA))
                batch = []
        writer.write_table(pa.Table.from_pylist(batch, schema=_SCHEMA))
    objects.write(CATALOG, buffer.getvalue())


def _row(entry: Entry) -> dict[str, object]:
    stored, video = entry.stored, entry.stored.video
    gaps = [(g.stage, g.kind, g.error, g.start_seconds, g.end_seconds) for g in stored.gaps]
    return {
        "video_id": video.video_id,
        "stamp": f"{entry.listed.num_bytes} {entry.listed.stamp}",
        "manifest": entry.manifest,
        "path_names": entry.listed.path_names,
        "paths": [to_column(path) for path in stored.paths],
        "start_seconds": video.start_seconds,
        "duration_seconds": video.duration_seconds,
        "average_fps": video.average_fps,
        "num_frames": video.num_frames,
        "height": video.height,
        "width": video.width,
        "num_segments": stored.num_segments,
        "num_tokens": stored.num_tokens,
        "num_bytes": stored.num_bytes,
        "source_bytes": stored.source_bytes,
        "gaps": json.dumps(gaps),
    }


def load(objects: Objects) -> Catalog:
    """Read catalog.parquet; an empty catalog if it is missing, old or not whole."""
    data = objects.read(CATALOG)
    if data is None:
        return Catalog()
    try:
        table = parse_table(data)
        if table.schema.names != _SCHEMA.names:
            return Catalog()
        return Catalog({entry.stored.video.video_id: entry for entry in _entries(table)})
    except (pa.ArrowException, ValueError, KeyError, TypeError):
        return Catalog()


def _entries(table: pa.Table) -> Iterable[Entry]:
    for batch in table.to_batches(8192):
        for row in batch.to_pylist():
            num_bytes, _, stamp = row["stamp"].partition(" ")
            paths = tuple(from_column(path) for path in row["paths"])
            path = paths[0] if paths else row["video_id"]
            video = Video(
                path=path,
                **{
                    name: row[name]
                    for name in (
                        "video_id",
                        "start_seconds",
                        "duration_seconds",
                        "average_fps",
                        "num_frames",
                        "height",
                        "width",
                    )
                },
            )
            gaps = tuple(
                Failure(
                    video_id=video.video_id,
                    path=path,
                    stage=stage,
                    kind=kind,
                    error=error,
                    start_seconds=start,
                    end_seconds=end,
                )
                for stage, kind, error, start, end in json.loads(row["gaps"])
            )
            yield Entry(
                StoredVideo(
                    video,
                    paths,
                    row["num_segments"],
                    row["num_tokens"],
                    row["num_bytes"],
                    gaps,
                    row["source_bytes"],
                ),
                row["manifest"],
                Listed(stamp, int(num_bytes), tuple(row["path_names"])),
            )
