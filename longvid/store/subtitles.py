"""The subtitles of a video, as one small object beside its manifest; most videos have none."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from longvid.errors import LongvidError, StoreError
from longvid.store.fields import real, text
from longvid.store.layout import checksum, subtitles_name
from longvid.store.objects import DamagedObjectError, Objects
from longvid.store.seal import parse_json, sealed_json, unsealed
from longvid.types import TextLine

_BATCH = 256


def write_subtitles(
    objects: Objects, video_id: str, subtitles: Sequence[TextLine], beside: str = ""
) -> None:
    """Keep the subtitles of a video in place of those it had; none removes them.

    Args:
        objects: Of the store that has the video, or will as soon as its manifest is written.
        video_id: Of the video.
        subtitles: In order of their start.
        beside: The name of the video whose folder has their file; "" for those inside it.

    Raises:
        StoreError: The store cannot be written.
    """
    name = subtitles_name(video_id)
    if subtitles:
        lines = [[line.start_seconds, line.end_seconds, line.text] for line in subtitles]
        objects.write(name, sealed_json({"beside": beside, "lines": lines}))
    elif objects.size(name) is not None:
        objects.remove([name])


def read_subtitles(objects: Objects, video_id: str) -> tuple[TextLine, ...]:
    """Return the subtitles of a video in order of their start; none where none are kept.

    Raises:
        DamagedObjectError: They are damaged.
        StoreError: The store refuses.
    """
    return _read(objects, video_id)[1]


def subtitles_beside(objects: Objects, video_id: str) -> str:
    """Return the name of the video whose folder had the subtitles' file, "" if there is none.

    Raises:
        StoreError: The store refuses.
    """
    try:
        return _read(objects, video_id)[0]
    except DamagedObjectError:  # whatever is found for the video takes their place
        return ""


def subtitle_checksums(objects: Objects, video_ids: Sequence[str]) -> Iterator[str]:
    """Yield the checksum of the subtitles of each video, "" where it has none."""
    for first in range(0, len(video_ids), _BATCH):
        names = [subtitles_name(video_id) for video_id in video_ids[first : first + _BATCH]]
        for data in objects.read_many(names):
            if isinstance(data, StoreError):
                raise data
            yield "" if data is None else _checksum(data)


def _read(objects: Objects, video_id: str) -> tuple[str, tuple[TextLine, ...]]:
    name = subtitles_name(video_id)
    data = objects.read(name)
    if data is None:
        return "", ()
    try:
        document = parse_json(data)
        beside = text(document.get("beside", ""), "beside")
        lines = [
            TextLine(real(start, "start"), real(end, "end"), text(line, "text"))
            for start, end, line in document["lines"]
        ]
    except (ValueError, KeyError, TypeError, LongvidError) as error:
        raise DamagedObjectError(
            f"{name} of the store {objects.uri} is damaged ({error}); remove that file, or remove "
            "the video from the store and index it again."
        ) from error
    return beside, tuple(lines)


def _checksum(data: bytes) -> str:
    """Hash subtitles without their seal, which those of older stores do not have."""
    try:
        return checksum(unsealed(data)[0])
    except ValueError:
        return checksum(data)
