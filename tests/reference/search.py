"""A search that reads every vector from its chunk: what `Store.search` must equal."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from longvid.store import Hit, Store

__all__ = ["search_slowly"]


def search_slowly(
    store: Store, embedding: torch.Tensor, top_k: int, video_ids: Sequence[str] = ()
) -> list[Hit]:
    """Search without an index."""
    return store._search.search_slowly(embedding, top_k, video_ids)
