"""Scores of moments: a segment by the mean of its best frames.

A search finds segments by few vectors, each a mean of several frames. The best of them are scored
again by their frames: one frame that resembles a question by chance counts less than several that
show what it asks for.

Source: framesieve (github.com/AyushExel/framesieve), whose moments of 10 seconds are scored by the
mean of their 4 best frames; the number of frames grows with the length of a moment there too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from longvid.lazy_import import torch
from longvid.store import Hit
from longvid.types import Segment

if TYPE_CHECKING:
    from torch import Tensor


def moment_score(frame_scores: Tensor, share: float) -> float:
    """Return the mean of the best frames of one segment.

    Args:
        frame_scores: (T,) inner products of frames and a question, T of at least 1.
        share: Share of the frames that is averaged, rounded; at least one is.
    """
    count = max(1, round(share * len(frame_scores)))
    return float(frame_scores.topk(min(count, len(frame_scores))).values.mean())


def rescored(
    hits: Sequence[Hit], segments: Sequence[Segment], embedding: Tensor, share: float
) -> list[Hit]:
    """Rank hits by the scores of their moments.

    Args:
        hits: Segments that were found, with the scores of the search.
        segments: The same segments, loaded.
        embedding: (E,) float32, of the question.
        share: As in `moment_score`.

    Returns:
        The hits with new scores, best first; equal ones in order of video and segment.
    """
    found = [
        replace(hit, score=moment_score(segment.frame_embeddings.float() @ embedding, share))
        if len(segment.frame_embeddings)
        else hit
        for hit, segment in zip(hits, segments, strict=True)
    ]
    return sorted(found, key=lambda hit: (-hit.score, hit.video_id, hit.segment_index))


def query_embedding(embeddings: Tensor) -> Tensor:
    """Return the embedding of a question in several forms: their mean, of unit norm.

    Args:
        embeddings: (F, E) float32, one row a form.
    """
    if len(embeddings) == 1:
        return embeddings[0]
    return torch.nn.functional.normalize(embeddings.mean(dim=0), dim=0)
