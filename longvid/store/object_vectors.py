"""Vectors of detected boxes: an annotation beside that of the boxes, of the same fingerprint.

    kind "objects"
        000000.json …    [[seconds, number of boxes], …]
        000000.f32 …     their vectors end to end, little-endian float32 of the store's width

A vector is in the space of the frame embeddings, so a text finds a box as it finds a frame. Parts
are published one by one; a run that was killed goes on with the pictures that have none.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from longvid.store.annotation_writer import AnnotationWriter
from longvid.store.annotations import AnnotationKey
from longvid.store.detected_boxes import BOXES, OBJECTS, box_rows
from longvid.store.objects import DamagedObjectError
from longvid.types import Box

if TYPE_CHECKING:
    from longvid.store.store import Store

Vectors = npt.NDArray[np.float32]
_Rows = dict[float, tuple[tuple[str, Box], ...]]


@dataclass(frozen=True, slots=True, eq=False)
class BoxVectors:
    """Boxes of one video with their vectors.

    Args:
        boxes: Each with what it is called, in stream time.
        vectors: (len(boxes), E).
    """

    boxes: tuple[tuple[str, Box], ...]
    vectors: Vectors


class ObjectWriter:
    """Writes the vectors of one annotation of boxes.

    Raises:
        StoreError: What is there is damaged.
    """

    def __init__(self, store: Store, key: AnnotationKey) -> None:
        self._writer = AnnotationWriter(store.annotations, replace(key, kind=OBJECTS))

    def add(self, rows: Sequence[tuple[float, Vectors]]) -> None:
        """Write the vectors of the next pictures, each with its presentation time.

        Raises:
            StoreError: Another writer has added some since, or the store refuses.
        """
        name = f"{len(self._writer.parts):06d}"
        counts = json.dumps([[seconds, len(vectors)] for seconds, vectors in rows])
        data = b"".join(vectors.astype("<f4").tobytes() for _, vectors in rows)
        self._writer.add({f"{name}.json": counts.encode(), f"{name}.f32": data})


def boxes_without_vectors(store: Store, video_id: str) -> Iterator[tuple[AnnotationKey, _Rows]]:
    """Yield the boxes of a video that have no vector yet, by annotation and time.

    Vectors that are damaged are removed first: the boxes and pictures make them again.

    Raises:
        StoreError: Boxes are damaged, or the store refuses.
    """
    for key in store.annotations.list_keys(video_id, BOXES):
        rows = box_rows(store, key)
        try:
            known = _vectors(store, key, rows)
        except DamagedObjectError:
            store.annotations.remove(video_id, OBJECTS, key.fingerprint)
            known = {}
        left = {t: boxes for t, boxes in rows.items() if boxes and t not in known}
        if left:
            yield key, left


def read_objects(store: Store, video_id: str) -> list[BoxVectors]:
    """Return the boxes of a video that have vectors, by annotation.

    Raises:
        StoreError: Boxes or vectors are damaged, or do not belong together.
    """
    found = []
    for key in store.annotations.list_keys(video_id, BOXES):
        boxes: list[tuple[str, Box]] = []
        vectors: list[Vectors] = []
        rows = box_rows(store, key)
        for seconds, of_picture in _vectors(store, key, rows).items():
            boxes += rows[seconds]
            vectors.append(of_picture)
        if boxes:
            found.append(BoxVectors(tuple(boxes), np.concatenate(vectors)))
    return found


def _vectors(store: Store, key: AnnotationKey, rows: _Rows) -> dict[float, Vectors]:
    """Return the vectors beside an annotation of boxes by presentation time.

    Raises:
        DamagedObjectError: They are damaged, or are not of these boxes.
        StoreError: The store refuses.
    """
    entries = store.annotations.read(key.video_id, OBJECTS, key.fingerprint) or {}
    found: dict[float, Vectors] = {}
    try:
        for name in sorted(name for name in entries if name.endswith(".json")):
            data = entries[f"{name.removesuffix('.json')}.f32"]
            vectors = np.frombuffer(data, "<f4").reshape(-1, store.embedding_width)
            start = 0
            for seconds, count in json.loads(entries[name]):
                found[float(seconds)] = vectors[start : start + count].astype(np.float32)
                start += count
            if start != len(vectors):
                raise ValueError(f"{len(vectors)} vectors for {start} boxes")
        for seconds, of_picture in found.items():
            if len(rows.get(seconds, ())) != len(of_picture):
                raise ValueError(f"{len(of_picture)} vectors at {seconds} s")
    except (ValueError, KeyError, TypeError) as error:
        raise _damaged(store, key, str(error)) from error
    return found


def _damaged(store: Store, key: AnnotationKey, why: str) -> DamagedObjectError:
    return DamagedObjectError(
        f"The vectors of the boxes of video {key.video_id} in the store {store.uri} do not fit "
        f"them ({why}); make them again with longvid boxes --embed."
    )
