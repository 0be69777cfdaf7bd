"""Small pictures of a video's frames: an annotation with one JPEG file an entry.

They are for people and agents; answers do not depend on them, and `Store.digest` leaves them out,
since another version of the JPEG encoder gives other bytes.

An entry is named after its time and size: `000000012345678us-216x384.jpg`, microseconds. A stream
that counts from below 0 gives times with a sign.
"""

from __future__ import annotations

import bisect
import re
from collections.abc import Sequence

from longvid.errors import StoreError
from longvid.store.annotations import AnnotationPart, Annotations
from longvid.types import Picture, Segment

#: Kind of the annotation.
PICTURES = "pictures"
_FINGERPRINT = "jpeg-384"
_NAME = re.compile(r"(\d{15}|-\d{14})us-(\d+)x(\d+)\.jpg")


def write_pictures(
    annotations: Annotations, video_id: str, segments: Sequence[Segment]
) -> AnnotationPart | None:
    """Write the pictures that segments carry; None where they carry none."""
    entries = {_name(picture): picture.jpeg for segment in segments for picture in segment.pictures}
    if not entries:
        return None
    return annotations.write_part(video_id, PICTURES, _FINGERPRINT, entries)


def publish_pictures(
    annotations: Annotations, video_id: str, parts: Sequence[AnnotationPart]
) -> None:
    """Make the pictures of a video visible, in time order.

    A frame that stays on display from one chunk to the next is a picture of both.
    """
    if parts:
        ordered = sorted(parts, key=lambda part: _parsed(part.entries[0].name)[0])
        annotations.publish(video_id, PICTURES, _FINGERPRINT, ordered, may_repeat=True)


def picture_times(annotations: Annotations, video_id: str) -> list[float]:
    """Return the presentation times of a video's pictures, increasing; empty where it has none."""
    return [seconds for seconds, _ in _listed(annotations, video_id)]


def read_pictures(
    annotations: Annotations, video_id: str, seconds: Sequence[float]
) -> list[Picture]:
    """Return the picture nearest to each time, each once, in time order.

    Raises:
        StoreError: The store keeps no pictures of the video, or they are damaged.
    """
    listed = _listed(annotations, video_id)
    if not listed:
        raise StoreError(
            f"The store keeps no pictures of video {video_id}; index it with store.pictures = "
            "segment or frame."
        )
    times = [time for time, _ in listed]
    chosen = sorted({_nearest(times, wanted) for wanted in seconds})
    names = [listed[place][1] for place in chosen]
    data = annotations.read(video_id, PICTURES, _FINGERPRINT, names) or {}
    pictures = []
    for place, name in zip(chosen, names, strict=True):
        _, height, width = _parsed(name)
        pictures.append(Picture(video_id, times[place], data[name], height, width))
    return pictures


def _listed(annotations: Annotations, video_id: str) -> list[tuple[float, str]]:
    names = annotations.entry_names(video_id, PICTURES, _FINGERPRINT) or ()
    return [(_parsed(name)[0], name) for name in names]


def _nearest(times: Sequence[float], wanted: float) -> int:
    """Return the place of the nearest time; the earlier one of two as near."""
    after = bisect.bisect_left(times, wanted)
    around = [place for place in (after - 1, after) if 0 <= place < len(times)]
    return min(around, key=lambda place: (abs(times[place] - wanted), place))


def _name(picture: Picture) -> str:
    microseconds = round(picture.pts_seconds * 1_000_000)
    return f"{microseconds:015d}us-{picture.height}x{picture.width}.jpg"


def _parsed(name: str) -> tuple[float, int, int]:
    matched = _NAME.fullmatch(name)
    if matched is None:
        raise StoreError(f"A picture is named {name!r}, which is no time and size.")
    microseconds, height, width = map(int, matched.groups())
    return microseconds / 1_000_000, height, width
