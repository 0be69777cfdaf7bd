"""Find lines of timed text by what they mean: vectors of a sentence embedder, compared exactly."""

from __future__ import annotations

import threading

import numpy as np
import numpy.typing as npt

from longvid.lazy_import import torch
from longvid.models.sentence_embedder import SentenceEmbedder
from longvid.store.text_index import TextIndex

#: Of reciprocal rank fusion, as published.
RANK_CONSTANT = 60
Found = list[tuple[float, int]]


class SentenceSearch:
    """Embeds each text once, while it is open; any number of threads may search.

    Args:
        name: Folder of the embedder's checkpoint, or its name in the local hub cache.
        device: Where it runs.

    Raises:
        ModelError: The checkpoint is missing, or not one that is read.
    """

    def __init__(self, name: str, device: str) -> None:
        self._embedder = SentenceEmbedder(name, device)
        self._vectors: dict[str, torch.Tensor] = {}
        self._of_index: tuple[TextIndex, torch.Tensor] | None = None
        self._lock = threading.Lock()

    def search(
        self, index: TextIndex, text: str, top_k: int, allowed: npt.NDArray[np.bool_] | None
    ) -> Found:
        """Return the (cosine, place) of the lines nearest to a question, best first.

        Args:
            index: Of the store's lines.
            text: The question.
            top_k: Most lines returned.
            allowed: (N,) which lines may be found; None allows all.
        """
        with self._lock:
            vectors = self._lines(index)
            if not len(vectors):
                return []
            scores = vectors @ self._embedder.embed_query(text)
        if allowed is not None:
            scores[~torch.from_numpy(allowed)] = -2.0
        best = torch.sort(scores, descending=True, stable=True)
        pairs = zip(best.values[:top_k].tolist(), best.indices[:top_k].tolist(), strict=True)
        return [pair for pair in pairs if pair[0] >= -1.5]

    def _lines(self, index: TextIndex) -> torch.Tensor:
        """Return the vectors of all lines, (N, D); texts that are new are embedded."""
        if self._of_index is None or self._of_index[0] is not index:
            texts = [line.text for line in index.lines]
            new = [text for text in dict.fromkeys(texts) if text not in self._vectors]
            self._vectors.update(zip(new, self._embedder.embed_texts(new), strict=True))
            kept = {text: self._vectors[text] for text in texts}
            self._vectors = kept
            made = torch.stack([kept[text] for text in texts]) if texts else torch.empty(0, 0)
            self._of_index = (index, made)
        return self._of_index[1]


def reciprocal_ranks(found: Found, other: Found, weight: float) -> Found:
    """Rank what two searches found together, best first; ties as in the first search.

    Source: Cormack et al. 2009, Reciprocal Rank Fusion, with their constant of 60.
    """
    scores: dict[int, float] = {}
    for hits, share in ((found, 1.0), (other, weight)):
        for rank, (_, place) in enumerate(hits, start=1):
            scores[place] = scores.get(place, 0.0) + share / (RANK_CONSTANT + rank)
    return sorted(((score, place) for place, score in scores.items()), key=lambda one: -one[0])
