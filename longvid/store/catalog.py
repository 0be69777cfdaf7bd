"""The catalog: one entry a video, kept up to date from the manifests.

It is a cache. A listing of the videos' folders tells which entries are still valid; only what is
new or was replaced is read. Whatever is wrong with catalog.parquet, it is made again from the
manifests. A video whose manifest is damaged is named, and the others stay.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import pyarrow as pa

from longvid.errors import LongvidError, StoreError
from longvid.store.layout import (
    CATALOG,
    TAGS_FILE,
    VIDEOS,
    checksum,
    from_column,
    is_video_id,
    manifest_name,
    to_column,
)
from longvid.store.manifest import Manifest, parse_manifest
from longvid.store.objects import Objects
from longvid.store.parquet import MAX_TABLE_BYTES, parse_table, write_table
from longvid.store.sealed_manifest import fits_seals, is_seal, read_manifest_bytes
from longvid.store.tags import Tags, read_tags
from longvid.store.video_paths import parse_path
from longvid.types import Failure, Video

_BATCH = 256
_ROWS = 8192
_SCHEMA = pa.schema(
    [
        ("video_id", pa.string()),
        ("stamp", pa.string()),
        ("manifest", pa.string()),
        ("path_names", pa.list_(pa.string())),
        ("seal_names", pa.list_(pa.string())),
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
        ("clock_jumps", pa.string()),
        ("clock_start_seconds", pa.float64()),
        ("tags_stamp", pa.string()),
        ("tags", pa.string()),
    ]
)


@dataclass(frozen=True, slots=True)
class StoredVideo:
    """One video of the store.

    Args:
        video: As probed; its path is one of `paths`.
        paths: Every name under which it was indexed, sorted.
        num_segments, num_tokens, num_bytes: Counts of what is stored.
        gaps: Spans that could not be indexed.
        source_bytes: Size of the video file, 0 if it was not known.
        tags: Values that people gave it, by key.
    """

    video: Video
    paths: tuple[str, ...]
    num_segments: int
    num_tokens: int
    num_bytes: int
    gaps: tuple[Failure, ...]
    source_bytes: int = 0
    tags: Tags = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True)
class Listed:
    """The state of a video's objects in a listing: a catalog entry is valid while it is equal.

    Args:
        stamp: Of the manifest.
        num_bytes: Of the manifest and its seals.
        path_names, seal_names: Of the objects, sorted.
        tags_stamp: Of the tags, "" without any.
    """

    stamp: str
    num_bytes: int
    path_names: tuple[str, ...]
    seal_names: tuple[str, ...]
    tags_stamp: str = ""


@dataclass(frozen=True, slots=True)
class Entry:
    """A catalog's row: the video, and the state of the objects from which it was made."""

    stored: StoredVideo
    manifest: str
    listed: Listed


@dataclass(frozen=True, slots=True)
class Catalog:
    """Entries by video id, and sentences of what is damaged.

    Args:
        entries: Of the videos whose manifest is whole.
        damaged: A sentence for each other video, by its id.
        damaged_names: A sentence for each name that is lost, by its object; its video stays.
    """

    entries: Mapping[str, Entry] = field(default_factory=dict)
    damaged: Mapping[str, str] = field(default_factory=dict)
    damaged_names: Mapping[str, str] = field(default_factory=dict)

    def manifests(self) -> dict[str, str]:
        """Return the checksum of every video's manifest: the state a search index must cover."""
        return {video_id: entry.manifest for video_id, entry in self.entries.items()}

    def clock_start_seconds(self, video_id: str) -> float:
        """Return that of a `Video`; 0 of one that is not known."""
        entry = self.entries.get(video_id)
        return entry.stored.video.clock_start_seconds if entry else 0.0


def list_videos(objects: Objects) -> dict[str, Listed]:
    """List which manifests, names and seals there are, without reading any."""
    stamps: dict[str, str] = {}
    num_bytes: Counter[str] = Counter()
    names: dict[str, list[str]] = {}
    seals: dict[str, list[str]] = {}
    tags: dict[str, str] = {}

    def wanted(name: str) -> bool:
        of_video = name.endswith(("/manifest.json", f"/{TAGS_FILE}"))
        return of_video or "/paths/" in name or is_seal(name)

    for info in objects.listing(VIDEOS, wanted):
        parts = info.name.split("/")
        if not is_video_id(parts[1]):
            continue
        if len(parts) == 3 and parts[2] == "manifest.json":
            stamps[parts[1]] = info.stamp
            num_bytes[parts[1]] += info.num_bytes
        elif len(parts) == 3 and parts[2] == TAGS_FILE:
            tags[parts[1]] = info.stamp
        elif len(parts) == 3:
            seals.setdefault(parts[1], []).append(info.name)
            num_bytes[parts[1]] += info.num_bytes
        elif len(parts) == 4 and parts[2] == "paths":
            names.setdefault(parts[1], []).append(parts[3])
    return {
        video_id: Listed(
            stamps[video_id],
            num_bytes[video_id],
            path_names=tuple(sorted(names.get(video_id, ()))),
            seal_names=tuple(sorted(seals.get(video_id, ()))),
            tags_stamp=tags.get(video_id, ""),
        )
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
        if video_id in known.entries
        and known.entries[video_id].listed == listed
        and not any(name.split("/")[1] == video_id for name in known.damaged_names)
    }
    changed = [video_id for video_id in listing if video_id not in kept]
    if not changed and len(kept) == len(known.entries) and not known.damaged:
        return known
    damaged: dict[str, str] = {}
    damaged_names: dict[str, str] = {}
    for first in range(0, len(changed), _BATCH):
        batch = changed[first : first + _BATCH]
        found = objects.read_many([manifest_name(video_id) for video_id in batch])
        listed_batch = {video_id: listing[video_id] for video_id in batch}
        paths = _read_paths(objects, listed_batch, damaged_names)
        tags = read_tags(objects, [v for v in batch if listing[v].tags_stamp], damaged_names)
        for video_id, data in zip(batch, found, strict=True):
            listed = listing[video_id]
            try:
                names = paths[video_id], tags.get(video_id, {})
                entry = _read_entry(objects, video_id, data, listed, names)
            except StoreError as error:
                damaged[video_id] = str(error)
            else:
                kept |= {} if entry is None else {video_id: entry}
    entries = {video_id: kept[video_id] for video_id in sorted(kept)}
    return Catalog(entries, damaged, damaged_names)


def _read_entry(
    objects: Objects,
    video_id: str,
    data: bytes | StoreError | None,
    listed: Listed,
    names: tuple[tuple[str, ...], Tags],
) -> Entry | None:
    """Make an entry of a manifest that was read; None if it was removed since the listing.

    Raises:
        StoreError: The manifest cannot be read, or is damaged.
    """
    if isinstance(data, StoreError):
        raise data
    if data is None:
        return None
    try:
        if fits_seals(video_id, data, listed.seal_names):
            manifest = parse_manifest(data, video_id)
            return _entry(manifest, checksum(data), listed, *names)
    except ValueError:
        pass
    # It says why, or finds that the manifest was replaced since the listing.
    again = read_manifest_bytes(objects, video_id)
    return None if again is None else _entry(again[0], checksum(again[1]), listed, *names)


def _read_paths(
    objects: Objects, listing: Mapping[str, Listed], damaged: dict[str, str]
) -> dict[str, tuple[str, ...]]:
    """Read the names of videos; each that is not whole is added to `damaged` with a sentence."""
    names = [
        (video_id, f"{VIDEOS}/{video_id}/paths/{name}")
        for video_id, listed in listing.items()
        for name in listed.path_names
    ]
    found: dict[str, set[str]] = {video_id: set() for video_id in listing}
    data = objects.read_many([name for _, name in names])
    for (video_id, name), content in zip(names, data, strict=True):
        path = parse_path(video_id, name, content)
        if path is not None:
            found[video_id].add(path)
        elif content is not None:  # None: removed since the listing
            damaged[name] = (
                f"{name} of the store {objects.uri} is damaged, so a video has lost a name; index "
                "the video again, or remove that file."
            )
    return {video_id: tuple(sorted(paths)) for video_id, paths in found.items()}


def _entry(
    manifest: Manifest, digest: str, listed: Listed, paths: tuple[str, ...], tags: Tags
) -> Entry:
    path = paths[0] if paths else manifest.video_id
    stored = StoredVideo(
        video=replace(manifest.video, path=path),
        paths=paths,
        num_segments=manifest.num_segments,
        num_tokens=manifest.num_tokens,
        num_bytes=manifest.num_bytes + listed.num_bytes,
        gaps=tuple(replace(gap, path=path) for gap in manifest.gaps),
        source_bytes=manifest.source_bytes,
        tags=tags,
    )
    return Entry(stored, digest, listed)


def save(objects: Objects, catalog: Catalog) -> None:
    """Write catalog.parquet; videos that lost a name are left out, so that they are read again."""
    lost = {name.split("/")[1] for name in catalog.damaged_names}
    entries = [entry for video_id, entry in catalog.entries.items() if video_id not in lost]
    batches = (
        pa.Table.from_pylist([_row(entry) for entry in entries[i : i + _ROWS]], schema=_SCHEMA)
        for i in range(0, len(entries) or 1, _ROWS)
    )
    objects.write(CATALOG, write_table(batches, _SCHEMA))


def _row(entry: Entry) -> dict[str, object]:
    stored, video = entry.stored, entry.stored.video
    gaps = [(g.stage, g.kind, g.error, g.start_seconds, g.end_seconds) for g in stored.gaps]
    return {
        "video_id": video.video_id,
        "stamp": f"{entry.listed.num_bytes} {entry.listed.stamp}",
        "manifest": entry.manifest,
        "path_names": entry.listed.path_names,
        "seal_names": entry.listed.seal_names,
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
        "clock_jumps": json.dumps(video.clock_jumps),
        "clock_start_seconds": video.clock_start_seconds,
        "tags_stamp": entry.listed.tags_stamp,
        "tags": json.dumps(dict(stored.tags)),
    }


def load(objects: Objects) -> Catalog:
    """Read catalog.parquet; an empty catalog if it is missing, without a seal, or damaged."""
    try:
        data = objects.read(CATALOG, max_bytes=MAX_TABLE_BYTES)
        if data is None:
            return Catalog()
        table = parse_table(data, must_be_sealed=True)
        if table.schema.names != _SCHEMA.names:
            return Catalog()
        return Catalog({entry.stored.video.video_id: entry for entry in _entries(table)})
    except (ValueError, KeyError, TypeError, LongvidError):
        return Catalog()


def _entries(table: pa.Table) -> Iterable[Entry]:
    for batch in table.to_batches(_ROWS):
        for row in batch.to_pylist():
            num_bytes, _, stamp = row["stamp"].partition(" ")
            paths = tuple(from_column(path) for path in row["paths"])
            path = paths[0] if paths else row["video_id"]
            video = Video(
                path=path,
                clock_jumps=tuple((at, jump) for at, jump in json.loads(row["clock_jumps"])),
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
                        "clock_start_seconds",
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
                    json.loads(row["tags"]),
                ),
                row["manifest"],
                Listed(
                    stamp,
                    int(num_bytes),
                    tuple(row["path_names"]),
                    tuple(row["seal_names"]),
                    row["tags_stamp"],
                ),
            )
