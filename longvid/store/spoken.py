"""What is said in a video, as one small object beside its manifest; most videos have none."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from longvid.store.layout import dump_json, subtitles_name
from longvid.store.objects import Objects
from longvid.subtitles import Subtitle

if TYPE_CHECKING:
    from longvid.store.store import Store

__all__ = ["read_subtitles", "write_subtitles"]


def write_subtitles(store: Store, video_id: str, subtitles: Sequence[Subtitle]) -> None:
    """Keep the subtitles of a video in place of those it had; none removes them.

    Raises:
        StoreError: The store cannot be written.
    """
    objects: Objects = store._objects
    name = subtitles_name(video_id)
    if subtitles:
        lines = [[line.start_seconds, line.end_seconds, line.text] for line in subtitles]
        objects.write(name, dump_json({"lines": lines}))
    elif objects.size(name) is not None:
        objects.remove([name])


def read_subtitles(store: Store, video_id: str) -> tuple[Subtitle, ...]:
    """Return the subtitles of a video in order of their start; none where none are kept.

    An object that is not whole counts as none, as a store without it would.
    """
    data = store._objects.read(subtitles_name(video_id))
    if data is None:
        return ()
    try:
        lines = json.loads(data)["lines"]
        return tuple(Subtitle(float(start), float(end), str(text)) for start, end, text in lines)
    except (ValueError, KeyError, TypeError):
        return ()
