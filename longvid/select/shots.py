"""Narrow what was loaded around the hits of a search to whole shots.

A segment is a fixed stretch of time; what it shows is part of one shot, or of several. A model that
is shown the shot that was found, with the shots right before and after it, has less to mistake than
one that is shown whatever else the segments hold, and sees the next shot however long this one is.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from longvid.config import Ask
from longvid.lazy_import import torch
from longvid.select import algorithms
from longvid.select.candidate_frames import Candidates, candidates, embedding_scores
from longvid.types import Query, Segment

if TYPE_CHECKING:
    from torch import Tensor


def shots_around(
    query: Query, segments: Sequence[Segment], hits: Collection[tuple[str, int]], ask: Ask
) -> tuple[Segment, ...]:
    """Keep, for every hit, the shot of its best frame and the shots on both sides of it.

    Args:
        query: Says which frame of a hit is the best.
        segments: Those found and their neighbours, with their tokens.
        hits: Video and segment index of those found.
        ask: Its `max_shot_frames`, `max_neighbor_shot_frames` and `cut_similarity`.

    Returns:
        The segments cut down to those frames. A shot with more of them than wanted is thinned
        evenly; none reaches beyond the segments given. Where no hit has a frame to show, all.
    """
    found = candidates(segments, budget=1, least=1)
    scores = embedding_scores(query, found)
    run, shot = shot_numbers(found, ask.cut_similarity)
    wanted: dict[int, int] = {}
    for index, segment in enumerate(found.segments):
        mine = (found.segment == index).nonzero().flatten()
        if segment.key not in hits or not len(mine):
            continue
        best = int(mine[scores[mine].argmax()])
        for number in (int(shot[best]) - 1, int(shot[best]), int(shot[best]) + 1):
            most = (
                ask.max_shot_frames if number == int(shot[best]) else ask.max_neighbor_shot_frames
            )
            if bool(((shot == number) & (run == run[best])).any()):
                wanted[number] = max(most, wanted.get(number, 0))
    chosen = []
    for number, most in wanted.items():
        frames = (shot == number).nonzero().flatten()
        chosen.append(
            frames[algorithms.uniform(len(frames), most)] if len(frames) > most else frames
        )
    return found.take(torch.cat(chosen)) if chosen else found.segments_with_tokens()


def shot_numbers(found: Candidates, cut_similarity: float) -> tuple[Tensor, Tensor]:
    """Number the shots of the candidates in time order.

    Args:
        found: The candidates.
        cut_similarity: Cosine under which there is a cut between two frames.

    Returns:
        (F,) int64 twice: the unbroken run of segments that a candidate is of, and its shot, which
        never goes on into another run.
    """
    keys = [segment.key for segment in found.segments]
    follows = [False, *(b == (a[0], a[1] + 1) for a, b in itertools.pairwise(keys))]
    joined = torch.tensor(follows)[found.segment[1:]]
    joined |= found.segment[1:] == found.segment[:-1]
    alike = (found.embeddings[1:] * found.embeddings[:-1]).sum(1) >= cut_similarity
    first = torch.zeros(1, dtype=torch.int64)
    run = torch.cat([first, (~joined).cumsum(0)])
    return run, torch.cat([first, (~(joined & alike)).cumsum(0)])
