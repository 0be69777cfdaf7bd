"""Read the search vectors of videos from their chunks, and the segment that each belongs to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from longvid.store.chunk_reader import load_vectors
from longvid.store.index_rows import Rows
from longvid.store.objects import DamagedObjectError, Objects
from longvid.store.sealed_manifest import read_manifest

Floats = npt.NDArray[np.float32]

#: No part grows beyond this many vectors, which bounds the memory that building it takes.
LARGEST_PART = 1 << 20


def gather_segments(
    objects: Objects,
    video_ids: Sequence[str],
    manifests: Mapping[str, str],
    left_out: dict[str, str],
) -> Iterator[tuple[Rows, Floats]]:
    """Read the vectors of videos from their chunks, a part's worth at a time.

    A video that is damaged is added to `left_out` with the sentence that says so.
    """
    tables: list[Rows] = []
    arrays: list[Floats] = []
    for video_id in video_ids:
        try:
            found = vectors_of(objects, video_id, manifests[video_id])
        except DamagedObjectError as error:
            left_out[video_id] = str(error)
            continue
        if found is None or not len(found[1]):
            continue
        if arrays and sum(map(len, arrays)) + len(found[1]) > LARGEST_PART:
            yield Rows.concatenate(tables), np.concatenate(arrays)
            tables, arrays = [], []
        tables.append(found[0])
        arrays.append(found[1])
    if arrays:
        yield Rows.concatenate(tables), np.concatenate(arrays)


def vectors_of(objects: Objects, video_id: str, digest: str) -> tuple[Rows, Floats] | None:
    """Read a video's vectors and what they belong to; None if it is being removed."""
    manifest = read_manifest(objects, video_id)
    if manifest is None:
        return None
    segments = [segment for chunk in manifest.chunks for segment in chunk.segments]
    arrays = []
    for chunk in manifest.chunks:
        name = manifest.chunk_path(chunk)
        try:
            arrays.append(load_vectors(objects, name, chunk).numpy())
        except FileNotFoundError as error:
            again = read_manifest(objects, video_id)
            if again != manifest:  # removed or replaced meanwhile: the next refresh reads it
                return None
            raise DamagedObjectError(
                f"{name} is missing from the store {objects.uri}; remove video {video_id} from "
                "the store and index it again."
            ) from error
    return Rows.of_video(video_id, digest, segments), np.concatenate(arrays)
