"""One hash of everything that two runs over the same videos must agree on."""

from __future__ import annotations

import hashlib

from longvid.store import catalog as catalogs
from longvid.store.annotations import Annotations
from longvid.store.catalog import Catalog
from longvid.store.objects import Objects
from longvid.store.pictures import PICTURES
from longvid.store.subtitles import subtitle_checksums


def store_digest(objects: Objects, fingerprint: str) -> str:
    """Hash a store: see `Store.digest`."""
    total = hashlib.blake2b(fingerprint.encode(), digest_size=16)
    entries = catalogs.refresh(objects, Catalog()).entries
    checksums = subtitle_checksums(objects, tuple(entries))
    annotations = Annotations(objects).checksums()
    for (video_id, entry), subtitles in zip(entries.items(), checksums, strict=True):
        names = " ".join(entry.listed.path_names)
        total.update(f"{video_id} {entry.manifest} {names} {subtitles}\n".encode())
        lines = annotations.get(video_id, ())
        kept = [line for line in lines if f"/{PICTURES}/" not in line]
        total.update("".join(f"{line}\n" for line in kept).encode())
    return total.hexdigest()
