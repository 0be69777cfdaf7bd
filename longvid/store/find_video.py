"""The stored video that a person means by a name."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence

from longvid.errors import StoreError
from longvid.store.catalog import StoredVideo

_SHORTEST_PREFIX = 4
_SHOWN = 10


def find_video(
    videos: Sequence[StoredVideo],
    name: str,
    uri: str,
    damaged: Mapping[str, str],
    *,
    may_be_damaged: bool,
) -> str:
    """Return the id of the video that has a name.

    A name is tried, in this order, as an id or a path as it was indexed, as the same path
    written otherwise, as a file name, and as the beginning of an id of at least four digits.

    Args:
        videos: Of the store.
        name: As the person wrote it.
        uri: Of the store, for the message.
        damaged: A sentence for each damaged video, by its id.
        may_be_damaged: Whether one of these may be returned; else its sentence is raised.

    Raises:
        StoreError: No video, or more than one, has that name; the sentence lists them.
    """
    absolute = os.path.abspath(name)
    readings: tuple[Callable[[StoredVideo], bool], ...] = (
        lambda stored: name == stored.video.video_id or name in stored.paths,
        lambda stored: any(
            os.path.abspath(path) == absolute for path in stored.paths if "://" not in path
        ),
        lambda stored: any(path.rpartition("/")[2] == name for path in stored.paths),
        lambda stored: len(name) >= _SHORTEST_PREFIX and stored.video.video_id.startswith(name),
    )
    for reading in readings:
        found = [stored for stored in videos if reading(stored)]
        if len(found) == 1:
            return found[0].video.video_id
        if found:
            raise StoreError(
                f"{name!r} means {len(found)} videos of the store {uri}; name one of: "
                f"{_list_names(found)}."
            )
    broken = [
        v for v in damaged if name == v or (len(name) >= _SHORTEST_PREFIX and v.startswith(name))
    ]
    if len(broken) == 1:
        if may_be_damaged:
            return broken[0]
        raise StoreError(damaged[broken[0]])
    raise StoreError(
        f"The store {uri} holds no video {name!r}; it holds: {_list_names(videos) or 'nothing'}."
    )


def _list_names(videos: Sequence[StoredVideo]) -> str:
    shown = [f"{v.video.path} ({v.video.video_id[:12]})" for v in videos[:_SHOWN]]
    more = len(videos) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more > 0 else "")
