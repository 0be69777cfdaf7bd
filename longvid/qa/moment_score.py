"""Scores of moments: a segment by its best frames, or by its best shot.

A search finds segments by few vectors, each a mean of several frames. The best of them are scored
again by their frames: one frame that resembles a question by chance counts less than several that
show what it asks for. The mean over a shot is what no cut of the segment blurs, and a thing that
passes for another in some frames of its shot is told from it by the others.

Source: framesieve (github.com/AyushExel/framesieve), whose moments of 10 seconds are scored by the
mean of their 4 best frames; the number of frames grows with the length of a moment there too.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from longvid.config import Ask
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


def shot_score(frames: Tensor, embedding: Tensor, cut_similarity: float) -> float | None:
    """Return the score of the best shot in one segment, of two frames or more.

    A single frame at an end is of a shot that other segments show too. None where there is one in
    between, or no other shot: the video is sampled too thinly to leave single frames out.

    Args:
        frames: (T, E) float32, of unit norm, in order of time.
        embedding: (E,) float32, of the question.
        cut_similarity: Least cosine between frames of one shot that follow each other.
    """
    alike = (frames[1:] * frames[:-1]).sum(1) >= cut_similarity
    ends = [place + 1 for place, same in enumerate(alike.tolist()) if not same]
    bounds = itertools.pairwise([0, *ends, len(frames)])
    shots = [frames[start:end] for start, end in bounds]
    longer = [shot for shot in shots if len(shot) > 1]
    if not longer or any(len(shot) == 1 for shot in shots[1:-1]):
        return None
    means = torch.nn.functional.normalize(torch.stack([shot.mean(0) for shot in longer]), dim=1)
    return float((means @ embedding).max())


def segment_score(frames: Tensor, embedding: Tensor, ask: Ask) -> float | None:
    """Return the score of one segment by its frames, None where the search's own is kept.

    Args:
        frames: (T, E), of unit norm, in order of time.
        embedding: (E,) float32, of the question.
        ask: Its `moment_share`, or `moment_shots` and `cut_similarity`.
    """
    if not len(frames):
        return None
    if ask.moment_shots:
        return shot_score(frames.float(), embedding, ask.cut_similarity)
    return moment_score(frames.float() @ embedding, ask.moment_share)


def rescored(
    hits: Sequence[Hit], segments: Sequence[Segment | None], embedding: Tensor, ask: Ask
) -> list[Hit]:
    """Rank hits by the scores of their moments.

    Args:
        hits: Segments that were found, with the scores of the search.
        segments: The same segments, loaded; None for one that cannot be, which keeps its score.
        embedding: (E,) float32, of the question.
        ask: As in `segment_score`.

    Returns:
        The hits with new scores, best first; equal ones in order of video and segment.
    """
    found = []
    for hit, segment in zip(hits, segments, strict=True):
        score = None
        if segment is not None:
            score = segment_score(segment.frame_embeddings, embedding, ask)
        found.append(hit if score is None else replace(hit, score=score))
    return sorted(found, key=lambda hit: (-hit.score, hit.video_id, hit.segment_index))


def query_embedding(embeddings: Tensor) -> Tensor:
    """Return the embedding of a question in several forms: their mean, of unit norm.

    Args:
        embeddings: (F, E) float32, one row a form.
    """
    if len(embeddings) == 1:
        return embeddings[0]
    return torch.nn.functional.normalize(embeddings.mean(dim=0), dim=0)
