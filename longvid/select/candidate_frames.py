"""The frames of several segments as one list: their costs, scores, and how to take some of them.

`algorithms.py` chooses among them and knows nothing of segments.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from longvid.errors import BudgetError, OpError
from longvid.lazy_import import torch
from longvid.types import Query, Segment

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """Every frame that has tokens, over all segments, in time order within each video.

    Args:
        segments: Sorted by video and segment index.
        segment: (F,) int64, which segment a candidate is of.
        frame: (F,) int64, its frame there.
        cost: (F,) int64, the tokens it holds, at least 1.
        embeddings: (F, E) float32, unit norm.
    """

    segments: tuple[Segment, ...]
    segment: Tensor
    frame: Tensor
    cost: Tensor
    embeddings: Tensor

    def __len__(self) -> int:
        return len(self.cost)

    @property
    def total(self) -> int:
        """Tokens of all candidates together."""
        return int(self.cost.sum())

    def segments_with_tokens(self) -> tuple[Segment, ...]:
        """Return every segment that has something to show."""
        return self.take(torch.arange(len(self)))

    def take(self, chosen: Tensor) -> tuple[Segment, ...]:
        """Return the segments cut down to the chosen candidates, (K,) int64 in any order."""
        mask = torch.zeros(len(self), dtype=torch.bool)
        mask[chosen] = True
        taken = []
        for index, segment in enumerate(self.segments):
            frames = self.frame[mask & (self.segment == index)]
            if len(frames):
                taken.append(keep_frames(segment, frames))
        return tuple(taken)


def candidates(segments: Sequence[Segment], budget: int, *, least: int | None = None) -> Candidates:
    """List the candidate frames.

    Args:
        segments: In any order, each once.
        budget: The most tokens that may be shown.
        least: Tokens to which the asking selector can shrink a frame; None shows frames whole.

    Raises:
        BudgetError: The budget cannot hold even the smallest frame.
        OpError: A segment is given twice, or embeddings differ in width or are not finite.
    """
    ordered = tuple(sorted(segments, key=lambda segment: segment.key))
    for left, right in itertools.pairwise(ordered):
        if left.key == right.key:
            raise OpError(
                f"Segment {left.segment_index} of video {left.video_id[:12]} was given twice; "
                "give every candidate once."
            )
    counts = [segment.tokens.counts(segment.num_frames) for segment in ordered]
    frames = [count.nonzero().flatten() for count in counts]
    found = Candidates(
        segments=ordered,
        segment=_joined([torch.full_like(f, i) for i, f in enumerate(frames)]),
        frame=_joined(frames),
        cost=_joined([count[f] for count, f in zip(counts, frames, strict=True)]),
        embeddings=_embeddings(ordered, frames),
    )
    smallest = int(found.cost.min()) if len(found) else 1
    smallest = min(smallest, least) if least is not None else smallest
    if budget < smallest:
        raise BudgetError(
            f"A budget of {budget} visual tokens cannot show one frame: the smallest of "
            f"{len(found)} candidates takes {smallest}; raise ask.budget to {smallest} or more, "
            "or index with stronger compression."
        )
    return found


def embedding_scores(query: Query, found: Candidates) -> Tensor:
    """Score candidates by the dot product of frame and question embedding, (F,) float32.

    Raises:
        OpError: The widths differ, or the question's embedding is not finite.
    """
    width = found.embeddings.shape[1]
    if len(found) and tuple(query.embedding.shape) != (width,):
        raise OpError(
            f"The question's embedding is {tuple(query.embedding.shape)}, the frames' are "
            f"({width},); embed the question with the embedder that indexed the video."
        )
    if not bool(query.embedding.isfinite().all()):
        raise OpError("The question's embedding holds NaN or infinity; embed the question again.")
    if not len(found):
        return torch.zeros(0)
    return found.embeddings @ query.embedding.float()


def _joined(pieces: Sequence[Tensor]) -> Tensor:
    return torch.cat(list(pieces)) if pieces else torch.zeros(0, dtype=torch.int64)


def _embeddings(segments: Sequence[Segment], frames: Sequence[Tensor]) -> Tensor:
    if not segments:
        return torch.zeros(0, 0)
    widths = sorted({segment.frame_embeddings.shape[1] for segment in segments})
    if len(widths) > 1:
        raise OpError(
            f"The candidates' frame embeddings have widths {widths}; they were indexed by "
            "different embedders, so ask one store at a time."
        )
    rows = [s.frame_embeddings[f].float() for s, f in zip(segments, frames, strict=True)]
    for segment, row in zip(segments, rows, strict=True):
        if not bool(row.isfinite().all()):
            raise OpError(
                f"Frame embeddings {tuple(row.shape)} of segment {segment.segment_index} of video "
                f"{segment.video_id[:12]} hold NaN or infinity; index the video again."
            )
    return torch.cat(rows)


def keep_frames(segment: Segment, frames: Tensor) -> Segment:
    """Keep only these sorted frames, (K,) int64, and their tokens."""
    if len(frames) == segment.num_frames:
        return segment
    renumbered = torch.full((segment.num_frames,), -1, dtype=torch.int32)
    renumbered[frames] = torch.arange(len(frames), dtype=torch.int32)
    frame = renumbered[segment.tokens.frame.long()]
    tokens = segment.tokens.keep(frame >= 0)
    return dataclasses.replace(
        segment,
        pts_seconds=segment.pts_seconds[frames],
        slow=segment.slow[frames],
        frame_embeddings=segment.frame_embeddings[frames],
        tokens=dataclasses.replace(tokens, frame=frame[frame >= 0]),
    )
