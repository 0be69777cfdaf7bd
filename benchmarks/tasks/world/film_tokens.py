"""One indexed film in memory, as a store gives it back, and the search in it.

Everything of it was decoded and encoded once. Segments may be cut anew here, which changes no token
and no embedding, so that lengths of segments and numbers of vectors can be compared.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from longvid.config import Ask
from longvid.qa.moment_score import segment_score
from longvid.select.candidate_frames import keep_frames
from longvid.store import Store
from longvid.store.chunk_encoding import segment_vectors
from longvid.types import Segment, Tokens


@dataclass(frozen=True, slots=True)
class Cut:
    """How frames are grouped: frames a segment, vectors a segment, and every how many-th frame."""

    segment_frames: int = 16
    vectors: int = 4
    every: int = 1


@dataclass(slots=True)
class Shelf:
    """The segments of one film.

    Args:
        name: Of its file.
        whole: All its frames as one segment.
    """

    name: str
    whole: Segment
    _made: dict[Hashable, tuple[Segment, ...]] = field(default_factory=dict)
    _vectors: dict[Cut, tuple[Tensor, Tensor]] = field(default_factory=dict)

    def segments(
        self,
        cut: Cut,
        key: Hashable = None,
        make: Callable[[Sequence[Segment]], Sequence[Segment]] | None = None,
    ) -> tuple[Segment, ...]:
        """Return the segments of a cut after `make`, which is done once for each `key`."""
        name = (cut, key)
        if name not in self._made:
            if make is None:
                self._made[name] = _cut(self.whole, cut)
            else:
                self._made[name] = tuple(make(self.segments(cut)))
        return self._made[name]

    def search(self, embedding: Tensor, cut: Cut, ask: Ask) -> list[tuple[int, float]]:
        """Return the segments nearest to a text with their scores, best first, all of them.

        Equal to what `longvid.qa.candidate_segments` finds in a store of this cut.
        """
        scores, order = self.scores(embedding, cut).sort(descending=True, stable=True)
        found = list(zip(order.tolist(), scores.tolist(), strict=True))
        if not ask.scores_moments:
            return found
        segments = self.segments(cut)
        again = []
        for index, score in found[: ask.num_rescored]:
            moment = segment_score(segments[index].frame_embeddings, embedding.float(), ask)
            again.append((index, score if moment is None else moment))
        return [*sorted(again, key=lambda one: (-one[1], one[0])), *found[ask.num_rescored :]]

    def scores(self, embedding: Tensor, cut: Cut) -> Tensor:
        """Score every segment by its vector that is nearest to a text, (S,) float32."""
        if cut not in self._vectors:
            segments = self.segments(cut)
            vectors = [segment_vectors(s.frame_embeddings, cut.vectors) for s in segments]
            of = [torch.full((len(rows),), i) for i, rows in enumerate(vectors)]
            self._vectors[cut] = torch.cat(vectors).float(), torch.cat(of)
        vectors_, of_ = self._vectors[cut]
        scores = vectors_ @ embedding.float()
        best = torch.full((int(of_.max()) + 1,), -torch.inf)
        return best.scatter_reduce_(0, of_, scores, "amax")


def read_shelf(store: Store, name: str) -> Shelf:
    """Read a film from its store, by the name of its file."""
    video_id = store.find(name)
    stored = next(item for item in store.videos() if item.video.video_id == video_id)
    segments = store.load([(video_id, i) for i in range(stored.num_segments)])
    return Shelf(name, joined(segments))


def joined(segments: Sequence[Segment]) -> Segment:
    """Put segments that follow each other into one."""
    offsets = torch.tensor([0, *(s.num_frames for s in segments)]).cumsum(0)
    tokens = Tokens(
        data=torch.cat([s.tokens.data for s in segments]),
        frame=torch.cat(
            [s.tokens.frame + int(at) for s, at in zip(segments, offsets, strict=False)]
        ).int(),
        position=torch.cat([s.tokens.position for s in segments]),
        size=torch.cat([s.tokens.size for s in segments]),
    )
    return dataclasses.replace(
        segments[0],
        segment_index=0,
        end_seconds=segments[-1].end_seconds,
        pts_seconds=torch.cat([s.pts_seconds for s in segments]),
        slow=torch.cat([s.slow for s in segments]),
        frame_embeddings=torch.cat([s.frame_embeddings for s in segments]),
        tokens=tokens,
    )


def cut_frames(segment: Segment, frames: Tensor, *, slow: Tensor | None = None) -> Segment:
    """Keep only these sorted frames, (K,) int64; `slow` (K,) bool marks them anew."""
    kept = keep_frames(segment, frames)
    return kept if slow is None else dataclasses.replace(kept, slow=slow)


def _cut(whole: Segment, cut: Cut) -> tuple[Segment, ...]:
    """Cut a film into segments; one ends where the next begins."""
    frames = torch.arange(0, whole.num_frames, cut.every)
    if cut.every > 1:
        whole = cut_frames(whole, frames)
    counts = whole.tokens.counts(whole.num_frames)
    ends = counts.cumsum(0)
    found = []
    for index, first in enumerate(range(0, whole.num_frames, cut.segment_frames)):
        last = min(first + cut.segment_frames, whole.num_frames)
        tokens = slice(int(ends[first] - counts[first]), int(ends[last - 1]))
        at_end = last == whole.num_frames
        found.append(
            dataclasses.replace(
                whole,
                segment_index=index,
                start_seconds=float(whole.pts_seconds[first]) if first else whole.start_seconds,
                end_seconds=whole.end_seconds if at_end else float(whole.pts_seconds[last]),
                pts_seconds=whole.pts_seconds[first:last],
                slow=whole.slow[first:last],
                frame_embeddings=whole.frame_embeddings[first:last],
                tokens=Tokens(
                    data=whole.tokens.data[tokens],
                    frame=whole.tokens.frame[tokens] - first,
                    position=whole.tokens.position[tokens],
                    size=whole.tokens.size[tokens],
                ),
            )
        )
    return tuple(found)
