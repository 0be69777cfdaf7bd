"""The names of videos: absolute paths, of which one that exists is shown."""

from __future__ import annotations

import os
from collections.abc import Sequence

from longvid.errors import StoreError
from longvid.store.layout import dump_json, path_name
from longvid.store.seal import parse_json


def stored_path(path: str) -> str:
    """Return the name under which a video is kept: an absolute path, or a URI as given.

    >>> stored_path("s3://bucket/a.mp4")
    's3://bucket/a.mp4'
    """
    return path if "://" in path else os.path.abspath(path)


def existing_first(paths: Sequence[str]) -> str:
    """Return the first local path that exists, else the first URI, else the first path.

    Args:
        paths: At least one, sorted. Whether a URI exists is not looked up.
    """
    for path in paths:
        if "://" not in path and os.path.exists(path):
            return path
    return next((path for path in paths if "://" in path), paths[0])


def parse_path(video_id: str, name: str, data: bytes | StoreError | None) -> str | None:
    """Return the path in an object that names a video; None if it is not whole."""
    try:
        path = parse_json(data)["path"] if isinstance(data, bytes) else None
    except (ValueError, KeyError):
        return None
    if not isinstance(path, str) or "\0" in path or path_name(video_id, path) != name:
        return None
    return path if data == dump_json({"path": path}) else None
