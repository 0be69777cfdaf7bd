"""Search over the videos that the catalog lists now."""

from __future__ import annotations

import functools
import threading
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from longvid.errors import StoreError
from longvid.lazy_import import torch
from longvid.store.catalog import Catalog
from longvid.store.catalog_cache import CatalogCache
from longvid.store.faiss_index import EXACT_BELOW, require_recall
from longvid.store.header import Header
from longvid.store.index_rows import TimeFilter
from longvid.store.objects import Objects
from longvid.store.player_time import in_player_time
from longvid.store.segment_vectors import gather_segments
from longvid.store.vectors import Hit, VectorIndex, best_hits
from longvid.store.video_index import VideoIndex

#: A store of fewer vectors is searched in all its videos, whatever is asked for.
EVERY_VIDEO_BELOW = EXACT_BELOW


@dataclass(frozen=True, slots=True)
class ShardPlan:
    """What one process needs to search some parts of an index.

    Args:
        names: Of the parts.
        width: E.
        most_vectors: How many vectors a segment can have.
        manifests: Checksum of the manifest by video id.
    """

    names: tuple[str, ...]
    width: int
    most_vectors: int
    manifests: Mapping[str, str]


class SegmentSearch:
    """Keeps a vector index in step with the catalog; the methods are those of `Store`."""

    def __init__(self, objects: Objects, header: Header, catalogs: CatalogCache) -> None:
        self._objects = objects
        self._header = header
        self._catalogs = catalogs
        gather = functools.partial(gather_segments, objects)
        self._vectors = VectorIndex(objects, header.embedding_width, gather)
        self._of_videos = VideoIndex(objects, header.embedding_width, self._vectors)
        self._covered: Catalog | None = None
        self._lock = threading.Lock()

    def left_out(self, catalog: Catalog) -> Mapping[str, str]:
        """Return a sentence for each video of a catalog that the index left out as damaged."""
        return self._vectors.left_out if catalog is self._covered else {}

    def search(
        self,
        embedding: torch.Tensor,
        top_k: int,
        video_ids: Sequence[str],
        recall: float,
        span: tuple[float, float] | None,
        num_videos: int,
    ) -> list[Hit]:
        """Search the index, brought up to date in memory first."""
        query = self.query_of(embedding, top_k, recall)
        with self._lock:
            catalog = self._catalogs.current()
            manifests = catalog.manifests()
            # A video that was left out may have been indexed again, to an equal manifest.
            mended = catalog is not self._covered and bool(self._vectors.left_out)
            if mended or not self._vectors.covers(manifests):
                self._vectors.refresh(manifests, keep=False)
            self._covered = catalog
            damaged = {**self._vectors.left_out, **catalog.damaged}
            video_ids = searchable(self._objects.uri, video_ids, manifests, damaged)
            of_some = 0 < num_videos < len(video_ids or manifests) and self._has_many_vectors()
            if of_some:
                self._of_videos.refresh(manifests, keep=False)
        most = self._header.options.vectors_per_segment
        times = None
        if span is not None:
            starts = {video_id: catalog.clock_start_seconds(video_id) for video_id in manifests}
            times = TimeFilter(*span, {name: start for name, start in starts.items() if start})
        if of_some:
            hits = self._of_videos.search(query, top_k, most, video_ids, recall, times, num_videos)
        else:
            hits = self._vectors.search(query, top_k, most, video_ids, recall, times)
        return _shown(hits, catalog)

    def refresh(self, catalog: Catalog) -> None:
        """Cover the videos of a catalog, and write new parts of the index to the store."""
        with self._lock:
            self._vectors.refresh(catalog.manifests(), keep=True)
            self._covered = catalog
            if self._has_many_vectors():
                self._of_videos.refresh(catalog.manifests(), keep=True)

    def _has_many_vectors(self) -> bool:
        return self._vectors.num_vectors >= EVERY_VIDEO_BELOW

    def compact(self, kind: str, least: int) -> int:
        return self._vectors.compact(kind, least=least)

    def shards(self, num_shards: int) -> list[ShardPlan]:
        """Deal the parts in the store out to shards, of about as many vectors each."""
        with self._lock:
            names = self._vectors.part_names()
        manifests = self._catalogs.current().manifests()
        dealt = [names[place::num_shards] for place in range(num_shards)]
        options = self._header.options
        return [
            ShardPlan(tuple(mine), self._header.embedding_width, options.vectors_per_segment,
                      manifests)
            for mine in dealt
        ]  # fmt: skip

    def merged(self, hits: Iterable[Hit], top_k: int) -> list[Hit]:
        """Join what shards found, in the time of a player."""
        return _shown(best_hits(hits, top_k), self._catalogs.current())

    def clear(self) -> None:
        with self._lock:
            self._vectors.clear()
            self._of_videos.clear()

    def query_of(
        self, embedding: torch.Tensor, top_k: int, recall: float
    ) -> npt.NDArray[np.float32]:
        """Return a query as shards take it, (E,) float32.

        Raises:
            StoreError: It is of another width or not finite, or another argument is no number.
        """
        if tuple(embedding.shape) != (self._header.embedding_width,):
            raise StoreError(
                f"The query's embedding is {tuple(embedding.shape)} and the store "
                f"{self._objects.uri} holds embeddings of width {self._header.embedding_width}; "
                "ask with the configuration that the store was made with."
            )
        if top_k < 1:
            raise StoreError(f"top_k is {top_k}; ask for at least one segment.")
        require_recall(recall)
        if not bool(torch.isfinite(embedding).all()):
            raise StoreError(
                "The query's embedding has values that are not finite; check the text encoder."
            )
        query: npt.NDArray[np.float32] = embedding.detach().cpu().float().contiguous().numpy()
        return query


def searchable(
    uri: str,
    video_ids: Sequence[str],
    manifests: Collection[str],
    damaged: Mapping[str, str],
) -> tuple[str, ...]:
    """Return those of the videos asked for that are whole; none are asked for: none.

    Args:
        uri: Of the store.
        video_ids: Asked for; empty means everywhere.
        manifests: Ids of the videos that the store holds.
        damaged: A sentence for each video, by id, that cannot be searched.

    Raises:
        StoreError: The store does not hold one of them, or all of them are damaged.
    """
    for video_id in video_ids:
        if video_id not in manifests and video_id not in damaged:
            raise StoreError(
                f"The store {uri} holds no video {video_id}; longvid status lists what is there."
            )
    whole = tuple(video_id for video_id in video_ids if video_id not in damaged)
    if video_ids and not whole:  # no ids would mean everywhere
        raise StoreError(damaged[video_ids[0]])
    return whole


def _shown(hits: Sequence[Hit], catalog: Catalog) -> list[Hit]:
    """Return hits in the time of a player."""
    return [in_player_time(hit, catalog.clock_start_seconds(hit.video_id)) for hit in hits]
