"""Which videos of a store a question or a search is about: by name, by path and by tags."""

from __future__ import annotations

import glob
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path

from longvid.errors import QuestionError, StoreError, shown
from longvid.qa.arguments import video_name
from longvid.store import Store
from longvid.store.tags import require_tags, tags_text


def chosen_ids(
    store: Store,
    video: str | Path | None = None,
    paths: str = "",
    tags: Mapping[str, str] | None = None,
) -> tuple[str, ...]:
    """Return the ids of the videos that fit all filters, none for the whole store.

    Args:
        store: Which holds them.
        video: Path, name or id of one stored video.
        paths: A pattern of paths, in which * stands for any characters, and all others for
            themselves; "" for all.
        tags: Values that a video has, by key.

    Raises:
        QuestionError: No video fits, or a filter is none.
        StoreError: No such video.
    """
    if not isinstance(paths, str):
        raise QuestionError(f"paths must be a pattern of text, such as '*/a*', got {shown(paths)}.")
    ids = () if video is None else (store.find(video_name(video)),)
    wanted = _wanted(tags)
    if not paths and not wanted:
        return ids
    left = [stored for stored in store.videos() if not ids or stored.video.video_id in ids]
    if paths:
        # Names of files hold ? and [ as they are; of the characters that are special, * alone is.
        pattern = "*".join(glob.escape(piece) for piece in paths.split("*"))
        left = [
            stored
            for stored in left
            if any(fnmatchcase(path, pattern) for path in (stored.video.path, *stored.paths))
        ]
        if not left:
            raise QuestionError(
                f"No video of {store.uri} has a path like {paths!r}; longvid status lists them, "
                "and * stands for any characters, folders too."
            )
    left = [stored for stored in left if wanted.items() <= dict(stored.tags).items()]
    if not left:
        others = " of those" if paths or ids else ""
        raise QuestionError(
            f"No video{others} in {store.uri} has the tags {tags_text(wanted)}; longvid status "
            "lists them."
        )
    return tuple(stored.video.video_id for stored in left)


def _wanted(tags: Mapping[str, str] | None) -> dict[str, str]:
    try:
        return require_tags(tags or {})
    except StoreError as error:
        raise QuestionError(str(error)) from error
