"""Compare every object of a store with what the manifests say of it, and tidy up.

Nothing here is needed for a store to work: a reader never sees what verification calls an
orphan, and a damaged object is reported when it is read.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from longvid.errors import StoreError
from longvid.store.annotations import (
    Annotations,
    is_annotation_index,
    is_annotation_part,
    key_of,
    part_names,
)
from longvid.store.layout import VECTORS, VIDEOS, manifest_name
from longvid.store.manifest import Manifest
from longvid.store.objects import Objects

__all__ = ["FINDING_KINDS", "Finding", "clean", "verify"]

FINDING_KINDS = (
    "missing",  # a manifest names an object that is not there
    "checksum",  # an object is not what its manifest says
    "damaged",  # a manifest or a name is not whole
    "orphan",  # an object that no manifest names: left by a killed or a losing writer
    "foreign",  # an object that longvid did not put there
)


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as it should be.

    Args:
        kind: One of FINDING_KINDS.
        name: The object.
        video_id: Whose it is, or "".
        message: One sentence with the remedy.
    """

    kind: str
    name: str
    video_id: str
    message: str


def verify(objects: Objects) -> list[Finding]:
    """Read every object below videos/ once, block by block, and report what is wrong."""
    return [finding for video in _videos(objects) for finding in _verify_video(objects, *video)]


def clean(objects: Objects) -> list[str]:
    """Remove orphans and other leftovers, and return their names.

    An unfinished video of another job that is still running is such a leftover too, so this is
    for a store that nobody is writing to.
    """
    names = objects.remove_temporaries()
    orphans = [finding.name for finding in _unneeded(objects) if finding.kind == "orphan"]
    indexed = {info.name for info in objects.listing(VECTORS)}
    orphans += sorted(
        name
        for name in indexed
        if name.endswith(".parquet") and name.removesuffix(".parquet") + ".faiss" not in indexed
    )
    objects.remove(orphans)
    return names + orphans


def _unneeded(objects: Objects) -> Iterator[Finding]:
    for video_id, names in _videos(objects):
        manifest = Manifest.from_json(objects.read(manifest_name(video_id)))
        yield from _unnamed(objects, video_id, names, manifest)


def _videos(objects: Objects) -> Iterator[tuple[str, list[str]]]:
    """Yield the folders below videos/ with the names of all objects in them."""
    folders: dict[str, list[str]] = {}
    for info in objects.listing(VIDEOS):
        folders.setdefault(info.name.split("/")[1], []).append(info.name)
    yield from ((folder, sorted(folders[folder])) for folder in sorted(folders))


def _is_chunk(name: str) -> bool:
    file = name.rpartition("/")[2]
    return name.count("/") == 2 and file.startswith("segments-") and file.endswith(".safetensors")


def _is_path(name: str) -> bool:
    return name.count("/") == 3 and name.split("/")[2] == "paths" and name.endswith(".json")


def _verify_video(objects: Objects, video_id: str, names: list[str]) -> Iterator[Finding]:
    own = f"{VIDEOS}/{video_id}/manifest.json"
    manifest = Manifest.from_json(objects.read(own)) if own in names else None
    if own in names and (manifest is None or manifest.video_id != video_id):
        yield Finding(
            "damaged", own, video_id, f"{own} is not whole; index the video again to repair it."
        )
        manifest = None
    for chunk in manifest.chunks if manifest else ():
        name = f"{VIDEOS}/{video_id}/{chunk.file}"
        remedy = f"remove video {video_id} from the store and index it again."
        digest = _checksum(objects, name)
        if digest is None:
            yield Finding("missing", name, video_id, f"{name} is missing; {remedy}")
        elif digest != chunk.checksum:
            yield Finding("checksum", name, video_id, f"{name} was changed or cut off; {remedy}")
    for name in names:
        if _is_path(name) and not _names_a_path(objects.read(name)):
            yield Finding(
                "damaged",
                name,
                video_id,
                f"{name} is not whole; index the video again to repair it.",
            )
        if is_annotation_index(name):
            yield from _verify_annotation(objects, name)
    yield from _unnamed(objects, video_id, names, manifest)


def _verify_annotation(objects: Objects, index_name: str) -> Iterator[Finding]:
    key = key_of(index_name)
    try:
        Annotations(objects).read(key.video_id, key.kind, key.fingerprint)
    except StoreError as error:
        yield Finding("damaged", index_name, key.video_id, str(error))


def _unnamed(
    objects: Objects, video_id: str, names: Sequence[str], manifest: Manifest | None
) -> Iterator[Finding]:
    listed = (
        {f"{VIDEOS}/{video_id}/{chunk.file}" for chunk in manifest.chunks} if manifest else set()
    )
    indexes = [name for name in names if is_annotation_index(name)]
    for name in indexes:
        listed |= {name, *part_names(key_of(name), objects.read(name))} if manifest else set()
    for name in names:
        if name == f"{VIDEOS}/{video_id}/manifest.json" or name in listed:
            continue
        subtitles = name == f"{VIDEOS}/{video_id}/subtitles.json"
        annotation = is_annotation_index(name) or is_annotation_part(name)
        if not subtitles and not annotation and not _is_chunk(name) and not _is_path(name):
            message = f"{name} is not part of a store; it is ignored and may be removed."
            yield Finding("foreign", name, video_id, message)
        elif _is_chunk(name) or is_annotation_part(name) or manifest is None:
            message = (
                f"{name} belongs to no finished video; indexing that video again finishes it, "
                "and cleaning the store removes it."
            )
            yield Finding("orphan", name, video_id, message)


def _checksum(objects: Objects, name: str) -> str | None:
    digest = hashlib.blake2b(digest_size=16)
    try:
        for block in objects.blocks(name):
            digest.update(block)
    except FileNotFoundError:
        return None
    return digest.hexdigest()


def _names_a_path(data: bytes | None) -> bool:
    try:
        return isinstance(json.loads(data or b"")["path"], str)
    except (ValueError, KeyError, TypeError):
        return False
