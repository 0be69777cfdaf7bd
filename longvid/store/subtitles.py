"""What is said in a video, as one small object beside its manifest; most videos have none."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from longvid.errors import LongvidError
from longvid.store.layout import checksum, dump_json, subtitles_name
from longvid.store.objects import Objects
from longvid.types import TextLine

if TYPE_CHECKING:
    from longvid.store.store import Store

__all__ = ["read_subtitles", "subtitle_sums", "subtitles_beside", "write_subtitles"]

_BATCH = 256


def write_subtitles(
    store: Store, video_id: str, subtitles: Sequence[TextLine], beside: str = ""
) -> None:
    """Keep the subtitles of a video in place of those it had; none removes them.

    Args:
        store: Where the video is, or will be as soon as its manifest is written.
        video_id: Of the video.
        subtitles: In order of their start.
        beside: The name of the video beside which they lie; "" for those inside it.

    Raises:
        StoreError: The store cannot be written.
    """
    objects: Objects = store._objects
    name = subtitles_name(video_id)
    if subtitles:
        lines = [[line.start_seconds, line.end_seconds, line.text] for line in subtitles]
        objects.write(name, dump_json({"beside": beside, "lines": lines}))
    elif objects.size(name) is not None:
        objects.remove([name])


def read_subtitles(store: Store, video_id: str) -> tuple[TextLine, ...]:
    """Return the subtitles of a video in order of their start; none where none are kept.

    An object that is not whole counts as none, as a store without it would.
    """
    data = store._objects.read(subtitles_name(video_id))
    if data is None:
        return ()
    try:
        lines = json.loads(data)["lines"]
        return tuple(TextLine(float(start), float(end), str(text)) for start, end, text in lines)
    except (ValueError, KeyError, TypeError, LongvidError):
        return ()


def subtitles_beside(store: Store, video_id: str) -> str:
    """Return the name of the video beside which its subtitles lay, "" if there is none."""
    data = store._objects.read(subtitles_name(video_id))
    try:
        return str(json.loads(data or b"{}").get("beside", ""))
    except (ValueError, AttributeError):
        return ""


def subtitle_sums(objects: Objects, video_ids: Sequence[str]) -> Iterator[str]:
    """Yield the checksum of what is said in each video, "" where that is not known."""
    for first in range(0, len(video_ids), _BATCH):
        names = [subtitles_name(video_id) for video_id in video_ids[first : first + _BATCH]]
        for data in objects.read_many(names):
            yield "" if data is None else checksum(data)
