"""Manifests with the seals of their video: written together, and compared when they are read.

    videos/{video_id}/seal-{seal of the manifest}.json      seals of the pieces of every chunk

The name of the object seals the manifest, so two writers who finish one video never mix theirs,
and the bytes of a manifest depend on its content alone. A video of a store from before there were
seals has no such object: its manifest is compared with the heads of its chunks, its chunks with
the checksums in its manifest, whole.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import replace

from longvid.errors import StoreError
from longvid.store.chunk_reader import read_seal
from longvid.store.chunk_record import ChunkSeal
from longvid.store.layout import VIDEOS, manifest_name
from longvid.store.manifest import Manifest, parse_manifest
from longvid.store.objects import DamagedObjectError, Objects, write_once
from longvid.store.seal import parse_json, seal, sealed_json

_SEAL_FILE = re.compile(r"seal-[0-9a-f]{16}\.json")
_ATTEMPTS = 4


def seal_name(video_id: str, manifest: bytes) -> str:
    """Name the object that seals a manifest and the chunks which it names."""
    return manifest_name(video_id).replace("manifest.json", f"seal-{seal(manifest)}.json")


def is_seal(name: str) -> bool:
    """Tell whether an object of this name holds the seals of a video."""
    parts = name.split("/")
    return len(parts) == 3 and parts[0] == VIDEOS and bool(_SEAL_FILE.fullmatch(parts[2]))


def fits_seals(video_id: str, manifest: bytes, seals: Collection[str]) -> bool:
    """Tell whether a manifest is one that was sealed, given the names of the seals there are.

    One without any seal, from before there were seals, is.
    """
    return not seals or seal_name(video_id, manifest) in seals


def write_seals(objects: Objects, manifest: Manifest, data: bytes) -> None:
    """Seal a manifest and its chunks; to be done before the manifest is written.

    Raises:
        StoreError: The store cannot be written.
    """
    chunks = {chunk.file: chunk.seal.to_dict() for chunk in manifest.chunks if chunk.seal}
    write_once(objects, seal_name(manifest.video_id, data), sealed_json({"chunks": chunks}))


def read_manifest(objects: Objects, video_id: str) -> Manifest | None:
    """Read what is stored of a video, with the seals of its chunks; None if there is nothing.

    Raises:
        DamagedObjectError: The manifest is damaged.
        StoreError: The store refuses.
    """
    found = read_manifest_bytes(objects, video_id)
    return None if found is None else found[0]


def seal_video(objects: Objects, video_id: str) -> None:
    """Seal a video that has no seals, after comparing its chunks with its manifest.

    Raises:
        DamagedObjectError: The video is damaged.
        StoreError: The store refuses.
    """
    found = read_manifest_bytes(objects, video_id)
    if found is None:
        return
    manifest, data = found
    chunks = []
    for chunk in manifest.chunks:
        name = manifest.chunk_path(chunk)
        try:
            chunks.append(replace(chunk, seal=chunk.seal or read_seal(objects, name, chunk)))
        except FileNotFoundError as error:
            raise DamagedObjectError(
                f"{name} is missing from the store {objects.uri}; remove the video from the "
                "store and index it again."
            ) from error
    write_seals(objects, replace(manifest, chunks=tuple(chunks)), data)


def read_manifest_bytes(objects: Objects, video_id: str) -> tuple[Manifest, bytes] | None:
    """Do what `read_manifest` does, and return the object's bytes too."""
    name = manifest_name(video_id)
    data = objects.read(name)
    for _ in range(_ATTEMPTS):
        if data is None:
            return None
        try:
            sealed = _read_seals(objects, video_id, data)
            return _with_seals(parse_manifest(data, video_id), sealed), data
        except ValueError as error:
            # A manifest that was replaced meanwhile has other seals: read it again.
            again = objects.read(name)
            if again == data:
                raise DamagedObjectError(
                    f"{name} of the store {objects.uri} is damaged ({error}); index the video "
                    "again, or remove it from the store."
                ) from error
            data = again
    raise StoreError(
        f"{name} of the store {objects.uri} was replaced {_ATTEMPTS} times while it was read; "
        "stop what replaces it and run the same command again."
    )


def _read_seals(objects: Objects, video_id: str, manifest: bytes) -> dict[str, ChunkSeal]:
    """Return the seals of the chunks that have one.

    Raises:
        ValueError: The manifest is not one that was sealed.
    """
    name = seal_name(video_id, manifest)
    data = objects.read(name)
    if data is None:
        folder = name.rpartition("/")[0]
        if not fits_seals(video_id, manifest, {i.name for i in objects.listing(folder, is_seal)}):
            raise ValueError("it does not fit its checksum")
        return {}
    return parse_seals(data) or {}


def parse_seals(data: bytes) -> dict[str, ChunkSeal] | None:
    """Read the seals of chunks; None where they are damaged: the checksums remain."""
    try:
        chunks: Mapping[str, Mapping[str, object]] = parse_json(data, must_be_sealed=True)["chunks"]
        return {file: ChunkSeal.from_dict(document) for file, document in chunks.items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _with_seals(manifest: Manifest, seals: Mapping[str, ChunkSeal]) -> Manifest:
    chunks = [replace(chunk, seal=seals.get(chunk.file)) for chunk in manifest.chunks]
    return replace(manifest, chunks=tuple(chunks))
