"""Seals for videos of a store from before there were seals."""

from __future__ import annotations

import contextlib

from longvid.store.catalog import Catalog
from longvid.store.objects import DamagedObjectError, Objects
from longvid.store.sealed_manifest import seal_video


def seal_unsealed(objects: Objects, catalog: Catalog) -> bool:
    """Compare the videos that have no seals with their manifests, and seal them.

    All their chunks are read once. A damaged video stays unsealed: it is named when it is read,
    and by `verify`.

    Returns:
        Whether there was any.

    Raises:
        StoreError: The store refuses.
    """
    unsealed = [v for v, entry in catalog.entries.items() if not entry.listed.seal_names]
    for video_id in unsealed:
        with contextlib.suppress(DamagedObjectError):
            seal_video(objects, video_id)
    return bool(unsealed)
