"""The place where a store is kept, chosen by its path or URI."""

from __future__ import annotations

import os

import fsspec.core

from longvid.errors import StoreError
from longvid.store.local_objects import LocalObjects
from longvid.store.objects import Objects
from longvid.store.remote_objects import RemoteObjects


def open_objects(uri: str | os.PathLike[str]) -> Objects:
    """Choose the implementation for a path or URI.

    Raises:
        StoreError: The protocol is not known, or its package is not installed.
    """
    text = os.fspath(uri)
    if text.startswith("file://") or "://" not in text:
        return LocalObjects(os.path.abspath(os.path.expanduser(text.removeprefix("file://"))))
    try:
        system, root = fsspec.core.url_to_fs(text, use_listings_cache=False)
    except (ImportError, ValueError) as error:
        raise StoreError(
            f"The store {text} cannot be opened: {error}. Use a local folder, or a protocol that "
            "fsspec knows, with its package installed (s3:// needs s3fs)."
        ) from error
    return RemoteObjects(text.rstrip("/"), system, root.rstrip("/"))
