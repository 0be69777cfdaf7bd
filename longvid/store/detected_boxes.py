"""Boxes found in a video's stored pictures: an annotation for each detector and list of things.

    kind "boxes", fingerprint of the detector, its weights and the things looked for
        detector.json    {"detector": fingerprint without the things, "things": [...]}
        000000.json …    [[seconds, [[thing, left, top, right, bottom, score], …]], …]

A picture that was looked at has a row even if nothing was found. Every part is published as soon
as it is written, so a run that was killed goes on with the pictures that have no row.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from longvid.config.tables import part_table
from longvid.errors import LongvidError, StoreError
from longvid.methods.tracking import Detection
from longvid.models import checkpoint_files
from longvid.protocols import GrounderPart
from longvid.store.annotation_writer import AnnotationWriter
from longvid.store.annotations import AnnotationKey
from longvid.types import Box, FoundBoxes, Picture

if TYPE_CHECKING:
    from longvid.store.store import Store

#: Kind of the annotation, and of the vectors of its boxes (`store.object_vectors`).
BOXES = "boxes"
OBJECTS = "objects"
_HEAD = "detector.json"


def detector_fingerprint(part: GrounderPart) -> str:
    """Name a detector by its settings and its weights, 16 hexadecimal digits.

    Raises:
        ModelError: Its checkpoint is missing.
    """
    # What follows boxes finds none.
    detectors = [one for one in part.checkpoints() if one.role != "tracker"]
    weights = [checkpoint_files.identity(one.find()) for one in detectors]
    return _hash([part_table("grounder", part, fingerprint=True), weights])


class BoxWriter:
    """Writes the boxes that one detector finds of some things in one video.

    Args:
        store: Where the video is.
        video_id: Of the video.
        detector: Its fingerprint.
        things: Looked for; their order does not matter.

    Raises:
        StoreError: What is there is damaged.
    """

    def __init__(self, store: Store, video_id: str, detector: str, things: Sequence[str]) -> None:
        head = {"detector": detector, "things": sorted(set(things))}
        self._head = json.dumps(head, ensure_ascii=False).encode()
        self._key = AnnotationKey(video_id, BOXES, _hash(head))
        self._writer = AnnotationWriter(store.annotations, self._key)
        #: Presentation times of the pictures that were looked at.
        self.done: frozenset[float] = frozenset()
        if self._writer.parts:
            self.done = frozenset(_rows(store, self._key)[1])

    def add(self, rows: Sequence[tuple[float, Sequence[Detection]]]) -> None:
        """Write what was found in the next pictures, each with its presentation time.

        Raises:
            StoreError: Another writer has added some since, or the store refuses.
        """
        document = [
            [
                seconds,
                [
                    [one.label, *(round(side, 5) for side in one.xyxy), round(one.score, 4)]
                    for one in found
                ],
            ]
            for seconds, found in rows
        ]
        number = len(self._writer.parts)
        entries = {} if number else {_HEAD: self._head}
        entries[f"{number:06d}.json"] = json.dumps(document, ensure_ascii=False).encode()
        self._writer.add(entries)
        self.done |= {seconds for seconds, _ in rows}


def read_boxes(
    store: Store, video_id: str, detector: str | None = None
) -> dict[float, list[FoundBoxes]]:
    """Return what was found in a video's pictures, by their presentation times.

    Args:
        store: Holds the video.
        video_id: Of the video.
        detector: Only what this one found, by its fingerprint; None for all.

    Raises:
        StoreError: The boxes are damaged.
    """
    found: dict[float, list[FoundBoxes]] = {}
    for key in store.annotations.list_keys(video_id, BOXES):
        head, rows = _rows(store, key)
        if detector in (None, head["detector"]):
            for seconds, boxes in rows.items():
                found.setdefault(seconds, []).append(FoundBoxes(tuple(head["things"]), boxes))
    return dict(sorted(found.items()))


def box_rows(store: Store, key: AnnotationKey) -> dict[float, tuple[tuple[str, Box], ...]]:
    """Return the boxes of one annotation, each with what it is called, by presentation time.

    Raises:
        StoreError: They are damaged.
    """
    return _rows(store, key)[1]


def remove_boxes(store: Store, video_id: str) -> bool:
    """Remove every box of a video, and its vector; False where there is none."""
    keys = store.annotations.list_keys(video_id, BOXES)
    for key in (*keys, *store.annotations.list_keys(video_id, OBJECTS)):
        store.annotations.remove(key.video_id, key.kind, key.fingerprint)
    return bool(keys)


def with_stored_boxes(
    store: Store, pictures: Sequence[Picture], detector: str
) -> tuple[Picture, ...]:
    """Return pictures, in the time of a player, with what this detector found in them.

    Raises:
        StoreError: The boxes are damaged.
    """
    known = {}
    for video_id in dict.fromkeys(picture.video_id for picture in pictures):
        clock_start = store.clock_start_seconds(video_id)
        for seconds, found in read_boxes(store, video_id, detector).items():
            known[video_id, round(seconds - clock_start, 6)] = tuple(found)
    return tuple(
        replace(one, found=known.get((one.video_id, round(one.pts_seconds, 6)), ()))
        for one in pictures
    )


def _rows(
    store: Store, key: AnnotationKey
) -> tuple[dict[str, Any], dict[float, tuple[tuple[str, Box], ...]]]:
    """Return whose boxes these are, and the boxes by time."""
    entries = store.annotations.read(key.video_id, key.kind, key.fingerprint) or {}
    rows = {}
    try:
        head: dict[str, Any] = json.loads(entries.pop(_HEAD))
        for data in entries.values():
            for seconds, found in json.loads(data):
                rows[float(seconds)] = tuple(
                    (str(thing), Box(key.video_id, float(seconds), tuple(sides), score))
                    for thing, *sides, score in found
                )
    except (ValueError, KeyError, TypeError, LongvidError) as error:
        raise StoreError(
            f"The boxes of video {key.video_id} in the store {store.uri} cannot be read ({error}); "
            "remove them with longvid boxes --remove and make them again."
        ) from error
    return head, rows


def _hash(value: object) -> str:
    text = json.dumps(value, sort_keys=True, ensure_ascii=False)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
