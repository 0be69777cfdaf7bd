"""Compare the objects of one video with its manifest and its seals."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from longvid.errors import StoreError
from longvid.store.annotations import (
    Annotations,
    is_annotation_index,
    is_annotation_part,
    key_of,
    part_names,
)
from longvid.store.chunk_reader import verify_chunk
from longvid.store.layout import VIDEOS, is_video_id, tags_name
from longvid.store.manifest import Manifest
from longvid.store.objects import DamagedObjectError, Objects
from longvid.store.seal import seal
from longvid.store.sealed_manifest import is_seal, parse_seals, read_manifest
from longvid.store.subtitles import read_subtitles
from longvid.store.tags import tags_are_whole
from longvid.store.video_paths import parse_path

#: Kind, name and sentence of something that is not as it should be.
Found = tuple[str, str, str]


def verify_video(objects: Objects, video_id: str, names: Sequence[str]) -> Iterator[Found]:
    """Read every object of one video's folder and yield what is wrong.

    Args:
        objects: The store's.
        video_id: Name of the folder, which need not be one of a video.
        names: The objects in it, sorted.
    """
    own = f"{VIDEOS}/{video_id}/manifest.json"
    if not is_video_id(video_id) or names == [f"{VIDEOS}/{video_id}"]:
        yield from (_foreign(name) for name in names)
        return
    manifest, damage = _manifest(objects, video_id)
    if damage:
        yield "damaged", own, damage
    if manifest is not None:
        yield from _verify_chunks(objects, manifest)
    for name in names:
        yield from _verify_object(objects, video_id, name)
    if not damage:
        for name in _orphans(objects, video_id, names, manifest):
            message = (
                f"{name} belongs to no finished video; indexing that video again finishes it, "
                "and cleaning the store removes it."
            )
            yield "orphan", name, message


def find_orphans(objects: Objects, video_id: str, names: Sequence[str]) -> list[str]:
    """Return the objects of one video's folder that killed or losing writers left.

    What belongs to a damaged manifest is none: indexing the video again uses it.
    """
    if not is_video_id(video_id) or names == [f"{VIDEOS}/{video_id}"]:
        return []
    manifest, damage = _manifest(objects, video_id)
    return [] if damage else _orphans(objects, video_id, names, manifest)


def _manifest(objects: Objects, video_id: str) -> tuple[Manifest | None, str]:
    """Return the manifest, or the sentence that says how it is damaged."""
    try:
        return read_manifest(objects, video_id), ""
    except DamagedObjectError as error:
        return None, str(error)


def _verify_chunks(objects: Objects, manifest: Manifest) -> Iterator[Found]:
    for chunk in manifest.chunks:
        name = manifest.chunk_path(chunk)
        try:
            verify_chunk(objects, name, chunk)
        except FileNotFoundError:
            message = (
                f"{name} is missing; remove video {manifest.video_id} from the store and index it "
                "again."
            )
            yield "missing", name, message
        except DamagedObjectError as error:
            yield "checksum", name, str(error)


def _verify_object(objects: Objects, video_id: str, name: str) -> Iterator[Found]:
    """Look at an object that is neither the manifest nor a chunk."""
    try:
        if is_seal(name):
            _verify_seal(objects, name)
        elif _is_path(name):
            if parse_path(video_id, name, objects.read(name)) is None:
                message = f"{name} is not whole; index the video again to repair it."
                yield "damaged", name, message
        elif name == f"{VIDEOS}/{video_id}/subtitles.json":
            read_subtitles(objects, video_id)
        elif name == tags_name(video_id):
            if not tags_are_whole(objects, name):
                yield "damaged", name, f"{name} is not whole; give the video its tags again."
        elif is_annotation_index(name):
            Annotations(objects).verify(key_of(name))
        elif not (_is_manifest(name) or _is_chunk(name) or is_annotation_part(name)):
            yield _foreign(name)
    except StoreError as error:
        yield "damaged", name, str(error)


def _verify_seal(objects: Objects, name: str) -> None:
    if parse_seals(objects.read(name) or b"") is None:
        raise DamagedObjectError(
            f"{name} of the store {objects.uri} is damaged; its video is compared with the "
            "checksums of whole chunks until the file is removed and longvid index runs again."
        )


def _orphans(
    objects: Objects, video_id: str, names: Sequence[str], manifest: Manifest | None
) -> list[str]:
    ours = [name for name in names if not _is_foreign(video_id, name)]
    if manifest is None:
        return ours
    needed = {manifest.chunk_path(chunk) for chunk in manifest.chunks}
    needed |= {name for name in ours if not (_is_chunk(name) or is_annotation_part(name))}
    data = objects.read(f"{VIDEOS}/{video_id}/manifest.json")
    needed -= {name for name in ours if data and is_seal(name) and seal(data) not in name}
    for name in filter(is_annotation_index, ours):
        try:
            needed |= part_names(key_of(name), objects.read(name))
        except DamagedObjectError:
            continue
    return [name for name in ours if name not in needed]


def _is_foreign(video_id: str, name: str) -> bool:
    return not (
        _is_manifest(name)
        or _is_chunk(name)
        or _is_path(name)
        or is_seal(name)
        or is_annotation_index(name)
        or is_annotation_part(name)
        or name in (f"{VIDEOS}/{video_id}/subtitles.json", tags_name(video_id))
    )


def _foreign(name: str) -> Found:
    message = f"{name} is not part of a store; it is ignored and may be removed."
    return "foreign", name, message


def _is_manifest(name: str) -> bool:
    return name.count("/") == 2 and name.endswith("/manifest.json")


def _is_chunk(name: str) -> bool:
    file = name.rpartition("/")[2]
    return name.count("/") == 2 and file.startswith("segments-") and file.endswith(".safetensors")


def _is_path(name: str) -> bool:
    return name.count("/") == 3 and name.split("/")[2] == "paths" and name.endswith(".json")
