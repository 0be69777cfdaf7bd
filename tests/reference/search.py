"""A search that reads every vector from its chunk: what `Store.search` must equal."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from longvid.store import Hit, Store
from longvid.store.objects import DamagedObjectError
from longvid.store.player_time import in_player_time
from longvid.store.segment_vectors import vectors_of


def search_slowly(
    store: Store, embedding: torch.Tensor, top_k: int, video_ids: Sequence[str] = ()
) -> list[Hit]:
    """Compare the query with every vector of every chunk; a damaged video is left out."""
    catalog = store._catalogs.current()
    manifests = catalog.manifests()
    hits: list[Hit] = []
    for video_id in video_ids or sorted(manifests):
        try:
            read = vectors_of(store.objects, video_id, manifests[video_id])
        except DamagedObjectError:
            continue
        if read is None:
            continue
        rows, vectors = read
        query = embedding.float().numpy().astype(np.float64)
        scores = (vectors.astype(np.float64) * query).sum(axis=1)
        best: dict[int, Hit] = {}
        for row, score in enumerate(scores.astype(np.float32).tolist()):
            hit = Hit(*rows.span(row), score)
            if hit.segment_index not in best or best[hit.segment_index].score < score:
                best[hit.segment_index] = hit
        hits += best.values()
    hits.sort(key=lambda hit: (-hit.score, hit.video_id, hit.segment_index))
    return [in_player_time(hit, catalog.clock_start_seconds(hit.video_id)) for hit in hits[:top_k]]
