"""Find videos before their segments: a few vectors stand for each video.

A video of n search vectors is stood for by about sqrt(n) means of them, of unit norm: those of a
spherical k-means, so that a film of many subjects has a vector for each. A mean carries the span
of what it is the mean of, so that a search within a span asks for no video that has nothing there.
They are kept as parts of an index of their own, beside those of segments.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from longvid.store.index_rows import Rows, TimeFilter
from longvid.store.index_shard import STEMS
from longvid.store.objects import Objects
from longvid.store.segment_vectors import LARGEST_PART
from longvid.store.vectors import Hit, VectorIndex

Floats = npt.NDArray[np.float32]

_ROUNDS = 5
#: How many times as many videos are taken where those that were hold too few segments.
_MORE = 4


class VideoIndex:
    """The vectors of whole videos, made of those of their segments.

    Args:
        objects: Of the store.
        width: E.
        segments: The index of segments, which covers the videos first.
    """

    def __init__(self, objects: Objects, width: int, segments: VectorIndex) -> None:
        self._segments = segments
        self._means = VectorIndex(objects, width, self._gather, stem=STEMS[1])

    def refresh(self, manifests: Mapping[str, str], *, keep: bool) -> None:
        """Cover the videos that the index of segments covers; arguments as of `VectorIndex`."""
        if keep or not self._means.covers(manifests):
            self._means.refresh(manifests, keep=keep)

    def clear(self) -> None:
        self._means.clear()

    def search(
        self,
        query: Floats,
        top_k: int,
        most_vectors: int,
        video_ids: Sequence[str],
        recall: float,
        times: TimeFilter | None,
        num_videos: int,
    ) -> list[Hit]:
        """Return the best segments of the videos nearest to a query, all of them compared.

        More videos are taken where they hold fewer segments than are wanted. With as many as there
        are this is the exact search.

        Args:
            query: (E,) float32.
            top_k, most_vectors, times: As of `VectorIndex.search`.
            video_ids: Restricts the search; empty means everywhere.
            recall: Of the search for videos.
            num_videos: How many are taken, at least 1.
        """
        while True:
            videos = self.nearest(query, num_videos, video_ids, recall, times)
            if not videos:  # which to a search of segments would mean everywhere
                return []
            hits = self._segments.search(query, top_k, most_vectors, videos, 1.0, times)
            if len(hits) >= top_k or len(videos) < num_videos:
                return hits
            num_videos *= _MORE

    def nearest(
        self,
        query: Floats,
        num_videos: int,
        video_ids: Sequence[str],
        recall: float,
        times: TimeFilter | None,
    ) -> list[str]:
        """Return the ids of the videos with the best means, best first; arguments as of `search`.

        Fewer come back only where no more can be found.
        """
        wanted = num_videos
        while True:
            hits = self._means.search(query, wanted, 1, video_ids, recall, times)
            found = list(dict.fromkeys(hit.video_id for hit in hits))
            if len(found) >= num_videos:
                return found[:num_videos]
            if len(hits) < wanted:
                if recall >= 1.0:
                    return found
                recall = 1.0  # the lists that were probed hold no more
            wanted *= _MORE

    def _gather(
        self, video_ids: Sequence[str], manifests: Mapping[str, str], left_out: dict[str, str]
    ) -> Iterator[tuple[Rows, Floats]]:
        """Make the means of videos, a part's worth at a time. What is damaged is in no part."""
        tables: list[Rows] = []
        arrays: list[Floats] = []
        for rows, vectors in self._segments.of_each(frozenset(video_ids)):
            if arrays and sum(map(len, arrays)) + len(vectors) > LARGEST_PART:
                yield Rows.concatenate(tables), np.concatenate(arrays)
                tables, arrays = [], []
            means, group = means_of(vectors)
            tables.append(_rows_of_groups(rows, group, len(means)))
            arrays.append(means)
        if arrays:
            yield Rows.concatenate(tables), np.concatenate(arrays)


def means_of(vectors: Floats) -> tuple[Floats, npt.NDArray[np.int64]]:
    """Return the means that stand for a video, and which of them each vector belongs to.

    The first centroids are vectors far apart, of which the first vector is one, so equal vectors
    give equal means. A mean that no vector belongs to is left out.

    Args:
        vectors: (V, E) float32 of unit norm, at least one.

    Returns:
        (M, E) float32 of unit norm and (V,) int64, M about sqrt(V).
    """
    centroids = vectors[:1]
    nearest = vectors @ vectors[0]
    for _ in range(math.ceil(math.sqrt(len(vectors))) - 1):
        farthest = int(nearest.argmin())
        centroids = np.concatenate([centroids, vectors[farthest : farthest + 1]])
        nearest = np.maximum(nearest, vectors @ vectors[farthest])
    for _ in range(_ROUNDS):
        _, group = np.unique((vectors @ centroids.T).argmax(axis=1), return_inverse=True)
        sums = np.zeros((int(group.max()) + 1, vectors.shape[1]), np.float32)
        np.add.at(sums, group, vectors)
        centroids = sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12)
    return centroids, group


def _rows_of_groups(rows: Rows, group: npt.NDArray[np.int64], number: int) -> Rows:
    """Return a row for each mean of a video, with the span of what it is the mean of."""
    starts, ends = np.full(number, np.inf), np.full(number, -np.inf)
    np.minimum.at(starts, group, rows.start_seconds)
    np.maximum.at(ends, group, rows.end_seconds)
    return Rows(
        rows.video_ids,
        rows.digests,
        video=np.zeros(number, np.int32),
        segment_index=np.arange(number, dtype=np.int32),
        start_seconds=starts,
        end_seconds=ends,
    )
