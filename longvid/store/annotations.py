"""Annotations: further objects of a video, each kind with a fingerprint of its own.

Timed text, pictures or boxes are made apart from the segments, by other parts with other
settings, and may be added, replaced or removed without indexing a video again. An annotation is
known by (video id, kind, fingerprint) and holds named entries of bytes; what they mean is for the
caller to know. One key is one annotation: two settings of a kind may stand side by side.

    videos/{video_id}/annotations/{kind}/{fingerprint}.json             index, written last
    videos/{video_id}/annotations/{kind}/{fingerprint}/{content}.part   entries, end to end

A small annotation is written in one call:

    store.annotations.write(video_id, "speech", fingerprint, {"lines.json": data})
    store.annotations.read(video_id, "speech", fingerprint)  # {"lines.json": data}

A large one is written in parts, by any number of processes, and published by one of them:

    part = store.annotations.write_part(video_id, "pictures", fingerprint, {"000001.jpg": ...})
    store.annotations.publish(video_id, "pictures", fingerprint, [part, ...])

Parts are invisible until the index names them, so a writer that is killed leaves the annotation
as it was, and parts that `Store.clean` removes. The index is sealed and holds the seal of every
entry; `read` compares those of the entries it returns and reads no others. `Store.verify` reads
all, `Store.digest` includes the indexes, and `Store.remove` removes annotations with their video.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from longvid.errors import StoreError
from longvid.store.layout import VIDEOS, check_video_id, checksum
from longvid.store.objects import DamagedObjectError, Objects, write_once
from longvid.store.seal import parse_json, seal, sealed_json

_BATCH = 256
_FOLDER = "annotations"
#: What to do about a damaged annotation of a kind.
_REMEDIES = {
    "boxes": "remove it with longvid boxes --remove",
    "objects": "make it again with longvid boxes --embed",
}
_KIND = re.compile(r"[a-z][a-z0-9_]{0,31}")
_FINGERPRINT = re.compile(r"[A-Za-z0-9_-]{1,64}")
_PART_FILE = re.compile(r"[0-9a-f]{32}\.part")
_SEAL = re.compile(r"[0-9a-f]{16}")


@dataclass(frozen=True, slots=True, order=True)
class AnnotationKey:
    """Which annotation: of which video, of what kind, made by which settings."""

    video_id: str
    kind: str
    fingerprint: str

    def __post_init__(self) -> None:
        check_video_id(self.video_id)
        if not _KIND.fullmatch(self.kind):
            raise StoreError(
                f"{self.kind!r} cannot be a kind of annotation; use up to 32 lower-case letters, "
                "digits and '_', a letter first."
            )
        if not _FINGERPRINT.fullmatch(self.fingerprint):
            raise StoreError(
                f"{self.fingerprint!r} cannot be the fingerprint of an annotation; use up to 64 "
                "letters, digits, '-' and '_'."
            )

    @property
    def index_name(self) -> str:
        return f"{VIDEOS}/{self.video_id}/{_FOLDER}/{self.kind}/{self.fingerprint}.json"

    def part_name(self, file: str) -> str:
        return f"{self.index_name.removesuffix('.json')}/{file}"


@dataclass(frozen=True, slots=True)
class AnnotationEntry:
    """One entry of a part, with the seal of its bytes."""

    name: str
    num_bytes: int
    seal: str


@dataclass(frozen=True, slots=True)
class AnnotationPart:
    """One object of entries, end to end, in the order given."""

    file: str
    entries: tuple[AnnotationEntry, ...]

    @property
    def num_bytes(self) -> int:
        return sum(entry.num_bytes for entry in self.entries)

    def to_dict(self) -> dict[str, Any]:
        entries = [[entry.name, entry.num_bytes, entry.seal] for entry in self.entries]
        return {"file": self.file, "entries": entries}

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> AnnotationPart:
        """Undo `to_dict`.

        Raises:
            ValueError: It is not what `to_dict` returns.
        """
        file = document["file"]
        entries = tuple(AnnotationEntry(*entry) for entry in document["entries"])
        sound = isinstance(file, str) and _PART_FILE.fullmatch(file) is not None
        for entry in entries:
            sound = sound and isinstance(entry.name, str) and type(entry.num_bytes) is int
            sound = sound and entry.num_bytes >= 0 and _SEAL.fullmatch(entry.seal) is not None
        if not sound:
            raise ValueError("a part is not described as it should be")
        return cls(file, entries)


@dataclass(frozen=True, slots=True)
class AnnotationIndex:
    """The parts of an annotation, in the order in which they were published."""

    parts: tuple[AnnotationPart, ...]

    def to_json(self) -> bytes:
        """Serialise, equal indexes to equal bytes."""
        return sealed_json({"parts": [part.to_dict() for part in self.parts]})

    @classmethod
    def from_json(cls, data: bytes) -> AnnotationIndex:
        """Undo `to_json`.

        Raises:
            ValueError: The index is not whole.
        """
        try:
            parts = parse_json(data, must_be_sealed=True)["parts"]
            return cls(tuple(AnnotationPart.from_dict(part) for part in parts))
        except (KeyError, TypeError) as error:
            raise ValueError("it is no index of an annotation") from error


class Annotations:
    """The annotations of one store's videos."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects

    def write(
        self, video_id: str, kind: str, fingerprint: str, entries: Mapping[str, bytes]
    ) -> None:
        """Keep an annotation, in place of what stands under its key.

        Args:
            video_id: Of the video, which need not be finished.
            kind: Such as "speech" or "pictures".
            fingerprint: Of all settings that decide what the entries are.
            entries: Bytes by name, at least one.

        Raises:
            StoreError: The key is not allowed, or the store cannot be written.
        """
        part = self.write_part(video_id, kind, fingerprint, entries)
        self.publish(video_id, kind, fingerprint, [part])

    def write_part(
        self, video_id: str, kind: str, fingerprint: str, entries: Mapping[str, bytes]
    ) -> AnnotationPart:
        """Write some entries of an annotation; nothing is visible before `publish`.

        Returns:
            What `publish` needs to know of them.

        Raises:
            StoreError: There is no entry, the key is not allowed, or the store refuses.
        """
        key = AnnotationKey(video_id, kind, fingerprint)
        if not entries:
            raise StoreError(f"An annotation of video {video_id} has no entry; write at least one.")
        data = b"".join(entries.values())
        part = AnnotationPart(
            f"{checksum(data)}.part",
            tuple(
                AnnotationEntry(name, len(value), seal(value)) for name, value in entries.items()
            ),
        )
        write_once(self._objects, key.part_name(part.file), data)
        return part

    def publish(
        self,
        video_id: str,
        kind: str,
        fingerprint: str,
        parts: Sequence[AnnotationPart],
        *,
        may_repeat: bool = False,
        after: Sequence[AnnotationPart] | None = None,
    ) -> None:
        """Make an annotation visible, in place of what stands under its key.

        Args:
            video_id, kind, fingerprint: As given to `write_part`.
            parts: All its parts, in the order in which they are to be read.
            may_repeat: Two parts may hold an entry of one name; the later one is read.
            after: The parts that must be there before; None puts the new ones in place of any.

        Raises:
            StoreError: A part is missing, two entries have one name, other parts were there than
                `after`, or the store refuses.
        """
        key = AnnotationKey(video_id, kind, fingerprint)
        names = [entry.name for part in parts for entry in part.entries]
        if len(set(names)) < len(names) and not may_repeat:
            raise StoreError(f"Two entries of {key.index_name} have one name; give each its own.")
        index = AnnotationIndex(tuple(parts))
        with self._objects.locked(key.index_name.rpartition("/")[0]):
            try:
                before = self._objects.read(key.index_name)
            except DamagedObjectError:
                before = b""
            if after is not None and (before or b"") != (
                AnnotationIndex(tuple(after)).to_json() if after else b""
            ):
                raise StoreError(
                    f"Another command has written {key.index_name} of the store "
                    f"{self._objects.uri} meanwhile; run the same command again when it has ended."
                )
            for part in parts:
                name = key.part_name(part.file)
                if self._objects.size(name) != part.num_bytes:
                    raise StoreError(
                        f"{name} is missing from the store {self._objects.uri} or not whole; write "
                        "it again before the annotation is published."
                    )
            if before == index.to_json():
                return
            self._objects.write(key.index_name, index.to_json())
            # Only what the index before named: a part of a writer at work is named by none yet.
            self._objects.remove(sorted(part_names(key, before) - _named(key, index)))

    def read(
        self, video_id: str, kind: str, fingerprint: str, names: Collection[str] | None = None
    ) -> dict[str, bytes] | None:
        """Return entries of an annotation by name; None if there is no such annotation.

        Args:
            video_id, kind, fingerprint: Of the annotation.
            names: Only these entries; those that it does not hold are left out. None means all.

        Raises:
            StoreError: The annotation is damaged, or the store refuses.
        """
        key = AnnotationKey(video_id, kind, fingerprint)
        index = self.index(key)
        if index is None:
            return None
        found: dict[str, bytes] = {}
        for part in index.parts:
            found.update(self._read_part(key, part, names))
        return found

    def list_keys(self, video_id: str, kind: str | None = None) -> list[AnnotationKey]:
        """Return the annotations of a video, sorted; `kind` keeps those of one kind."""
        folder = f"{VIDEOS}/{check_video_id(video_id)}/{_FOLDER}"
        keys = [key_of(info.name) for info in self._objects.listing(folder, is_annotation_index)]
        return sorted(key for key in keys if kind is None or key.kind == kind)

    def entry_names(self, video_id: str, kind: str, fingerprint: str) -> tuple[str, ...] | None:
        """Return the names of an annotation's entries, in order; None if there is none.

        Raises:
            StoreError: The annotation is damaged, or the store refuses.
        """
        index = self.index(AnnotationKey(video_id, kind, fingerprint))
        if index is None:
            return None
        return tuple(dict.fromkeys(entry.name for part in index.parts for entry in part.entries))

    def verify(self, key: AnnotationKey) -> None:
        """Read all of an annotation, and compare the sizes of its objects too.

        Raises:
            DamagedObjectError: It is damaged.
        """
        self.read(key.video_id, key.kind, key.fingerprint)
        index = self.index(key)
        for part in index.parts if index else ():
            if self._objects.size(key.part_name(part.file)) != part.num_bytes:
                raise self._damaged(key.part_name(part.file), "it has another size than recorded")

    def remove(self, video_id: str, kind: str, fingerprint: str) -> None:
        """Remove an annotation: what makes it visible first. A missing one is fine."""
        key = AnnotationKey(video_id, kind, fingerprint)
        folder = key.index_name.removesuffix(".json")
        parts = sorted(info.name for info in self._objects.listing(folder, is_annotation_part))
        self._objects.remove([key.index_name, *parts])

    def checksums(self) -> dict[str, list[str]]:
        """Return "name checksum" of every index in the store, sorted, by video."""
        names = sorted(info.name for info in self._objects.listing(VIDEOS, is_annotation_index))
        found: dict[str, list[str]] = {}
        for first in range(0, len(names), _BATCH):
            batch = names[first : first + _BATCH]
            for name, data in zip(batch, self._objects.read_many(batch), strict=True):
                if isinstance(data, StoreError):
                    raise data
                if data is not None:  # None: removed since the listing
                    lines = found.setdefault(name.split("/")[1], [])
                    lines.append(f"{name} {checksum(data)}")
        return found

    def index(self, key: AnnotationKey) -> AnnotationIndex | None:
        """Read the index of an annotation; None if there is no such annotation.

        Raises:
            StoreError: It is damaged, or the store refuses.
        """
        data = self._objects.read(key.index_name)
        if data is None:
            return None
        try:
            return AnnotationIndex.from_json(data)
        except ValueError as error:
            raise self._damaged(key.index_name, str(error)) from error

    def _read_part(
        self, key: AnnotationKey, part: AnnotationPart, names: Collection[str] | None
    ) -> Iterator[tuple[str, bytes]]:
        wanted: list[AnnotationEntry] = []
        ranges: list[tuple[int, int]] = []
        start = 0
        for entry in part.entries:
            if names is None or entry.name in names:
                wanted.append(entry)
                ranges.append((start, start + entry.num_bytes))
            start += entry.num_bytes
        if not wanted:
            return
        name = key.part_name(part.file)
        try:
            buffers = self._objects.read_ranges(name, ranges)
        except FileNotFoundError as error:
            raise self._damaged(name, "it is missing") from error
        for entry, buffer in zip(wanted, buffers, strict=True):
            if seal(buffer) != entry.seal:
                raise self._damaged(name, f"{entry.name!r} does not fit its checksum")
            yield entry.name, bytes(buffer)

    def _damaged(self, name: str, why: str) -> StoreError:
        remedy = _REMEDIES.get(name.split("/")[3], "make that annotation again")
        return DamagedObjectError(
            f"{name} of the store {self._objects.uri} is damaged ({why}); {remedy}, or remove that "
            "video from the store and index it again."
        )


def is_annotation_index(name: str) -> bool:
    """Tell whether an object of this name is the index of an annotation."""
    parts = name.split("/")
    if len(parts) != 5 or parts[2] != _FOLDER or not parts[4].endswith(".json"):
        return False
    fingerprint = parts[4].removesuffix(".json")
    return bool(_KIND.fullmatch(parts[3]) and _FINGERPRINT.fullmatch(fingerprint))


def is_annotation_part(name: str) -> bool:
    """Tell whether an object of this name is a part of an annotation."""
    parts = name.split("/")
    return (
        len(parts) == 6
        and is_annotation_index("/".join(parts[:5]) + ".json")
        and _PART_FILE.fullmatch(parts[5]) is not None
    )


def key_of(index_name: str) -> AnnotationKey:
    """Return the key of an index's name."""
    _, video_id, _, kind, file = index_name.split("/")
    return AnnotationKey(video_id, kind, file.removesuffix(".json"))


def _named(key: AnnotationKey, index: AnnotationIndex) -> set[str]:
    return {key.part_name(part.file) for part in index.parts}


def part_names(key: AnnotationKey, data: bytes | None) -> set[str]:
    """Return the objects of the parts that an index names; none where it is not whole."""
    try:
        return _named(key, AnnotationIndex.from_json(data)) if data else set()
    except ValueError:
        return set()
