"""Let a detector look for things in a video's stored pictures, and keep what it finds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from longvid.config import torch_device
from longvid.errors import ConfigError
from longvid.indexing.report import OnPicture, ignore
from longvid.methods.phrase_tracks import Detect, pixels_of
from longvid.protocols import GrounderPart
from longvid.store import Store
from longvid.store.detected_boxes import BoxWriter, detector_fingerprint
from longvid.store.pictures import picture_times, read_pictures

#: Pictures a part: a run that is killed repeats no more than these.
_PART = 64


@runtime_checkable
class _Detecting(Protocol):
    """A grounder whose detector works without an answer."""

    def detector(self, device: str = "cpu") -> Detect:
        """Load it."""


class BoxFinder:
    """Finds things in stored pictures.

    Args:
        part: A grounder with a detector.
        things: What is looked for, such as "red car".
        device: Where it runs, as `run.device`.

    Raises:
        ConfigError: There is no thing, or the grounder has no detector of its own.
        ModelError: Its checkpoint is missing.
    """

    def __init__(self, part: GrounderPart, things: Sequence[str], device: str = "auto") -> None:
        self._things = sorted({" ".join(thing.lower().split()) for thing in things} - {""})
        if not self._things:
            raise ConfigError('Nothing is named to look for; give --things "red car, dog".')
        if not isinstance(part, _Detecting):
            raise ConfigError(
                f"{type(part).__name__} finds boxes of answers only; name open_vocabulary."
            )
        self._fingerprint = detector_fingerprint(part)
        self._detect = part.detector(torch_device(device))

    def find(self, store: Store, video_id: str, on_picture: OnPicture = ignore) -> tuple[int, int]:
        """Look at the pictures of a video that were not looked at yet.

        Args:
            store: Keeps the pictures, and gets the boxes.
            video_id: Of the video.
            on_picture: Called with the presentation time of each picture that was looked at.

        Returns:
            How many pictures were looked at, and how many boxes were found in them.

        Raises:
            StoreError: The store keeps no pictures of the video, they are damaged, or it refuses.
        """
        writer = BoxWriter(store, video_id, self._fingerprint, self._things)
        times = picture_times(store.annotations, video_id)
        if not times:
            read_pictures(store.annotations, video_id, [0.0])  # says what to do
        left = [seconds for seconds in times if seconds not in writer.done]
        num_boxes = 0
        for first in range(0, len(left), _PART):
            batch = left[first : first + _PART]
            rows = []
            for picture in read_pictures(store.annotations, video_id, batch):
                rows.append((picture.pts_seconds, self._detect(pixels_of(picture), self._things)))
                on_picture(picture.pts_seconds)
            writer.add(rows)
            num_boxes += sum(len(found) for _, found in rows)
        return len(left), num_boxes
