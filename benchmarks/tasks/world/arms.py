"""The arms of the comparison: what each method shows of a film to a question, within a budget.

All arms read the same frames of the same films, encoded once. An arm is a cut into segments, a
compression that knows no question, and a choice; the published systems are their parts set to the
sizes that mini reads: 4x4 tokens where they keep a full grid, 1 where they keep a coarse one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from benchmarks.harness.record import Record
from benchmarks.tasks.world.film_tokens import Cut, Shelf, cut_frames
from longvid.compress.flashvid import FlashVID
from longvid.compress.pooling import ContentTokens, GridPooling, SlowFastPooling
from longvid.compress.prune import DyCoke, RandomPruning, SpatialTokenCompression
from longvid.compress.ranking import (
    DifferentialTokenDrop,
    EfficientVideoSampling,
    VCast,
    VidCom2,
)
from longvid.compress.token_merging import TokenMerging
from longvid.config import Ask, Config
from longvid.methods.longvu_config import LongVUConfig
from longvid.methods.temporal_reduction import select_frames
from longvid.qa.candidate_segments import evenly
from longvid.qa.routing import route_of
from longvid.select import algorithms
from longvid.select.frames import (
    AdaptiveKeyframes,
    Determinantal,
    InverseTransform,
    MarginalRelevance,
    TopK,
    Uniform,
)
from longvid.select.shots import shots_around
from longvid.select.tiers import QFrame, QueryGuided
from longvid.types import Query, Segment, Tokens

FULL_SIDE = 4
"""Side of the grid that frames are mostly shown with: what mini was mostly trained to read."""

LONGVU_THRESHOLD = 0.83
SLOW_EVERY = 5

EVERY_SEGMENT = Ask(num_segments=0)

Shown = tuple[Segment, ...]
_Show = Callable[[Shelf, Query, Record, int], Shown]


@dataclass(frozen=True, slots=True)
class Arm:
    """One method.

    Args:
        name: As it is printed.
        show: What it shows: (film, query, row, budget) to segments in time order.
        reads_question: False where every question about a film is shown the same.
    """

    name: str
    show: _Show
    reads_question: bool = True


SELECTORS: dict[str, Any] = {
    "uniform": Uniform(),
    "top_k": TopK(),
    "bolt": InverseTransform(),
    "aks": AdaptiveKeyframes(),
    "mmr": MarginalRelevance(),
    "dpp": Determinantal(),
    "q_frame": QFrame(),
    "query_guided": QueryGuided(coarse_height=2, coarse_width=2),
}
"""Every selector of the registry."""

_GRID_4 = GridPooling(height=4, width=4)

COMPRESSIONS: dict[str, tuple[Any, ...]] = {
    "none (8x8)": (),
    "grid 4x4": (_GRID_4,),
    "grid 2x2": (GridPooling(height=2, width=2),),
    "slowfast 4x4 + 2x2": (
        SlowFastPooling(slow_mode="spatial_2d_avg_pool", fast_height=2, fast_width=2),
    ),
    "content (1)": (ContentTokens(),),
    "tome 16": (TokenMerging(unit="target", amount=16),),
    "tome 4": (TokenMerging(unit="target", amount=4),),
    "stc of 4x4": (_GRID_4, SpatialTokenCompression()),
    "dycoke of 4x4": (_GRID_4, DyCoke()),
    "random 16": (RandomPruning(ratio=0.75),),
    "evs of 4x4": (_GRID_4, EfficientVideoSampling()),
    "vidcom2 16": (VidCom2(),),
    "v-cast 16": (VCast(),),
    "dtd 16": (DifferentialTokenDrop(share=0.75),),
    "flashvid 16": (FlashVID(),),
}
"""Every compressor of the registry, in the sizes that mini was trained to read."""


def of_parts(
    name: str,
    compressors: Sequence[Any],
    selectors: Sequence[Any],
    *,
    cut: Cut | None = None,
    search: Ask = EVERY_SEGMENT,
) -> Arm:
    """Make an arm of parts of the house, put together as `longvid.qa.video_qa` does.

    Args:
        name: Of the arm.
        compressors: Applied to every segment.
        selectors: Applied to the candidates, in this order.
        cut: How frames are grouped.
        search: Which segments are candidates; its budget is not looked at.
    """
    cut = cut or Cut()

    def compress(segments: Sequence[Segment]) -> Sequence[Segment]:
        for part in compressors:
            segments = [part(segment) for segment in segments]
        return segments

    def show(shelf: Shelf, query: Query, row: Record, budget: int) -> Shown:
        chosen: Sequence[Segment] = shelf.segments(cut, tuple(compressors), compress)
        if search.num_segments:
            chosen = _found(shelf, query, cut, search, chosen, budget)
        for select in selectors:
            chosen = select(query, chosen, budget)
        return tuple(chosen)

    asks = bool(search.num_segments) or not all(isinstance(part, Uniform) for part in selectors)
    return Arm(name, show, asks)


def _found(
    shelf: Shelf, query: Query, cut: Cut, search: Ask, segments: Sequence[Segment], budget: int
) -> Sequence[Segment]:
    """Choose what the language model may be shown, as `longvid ask` does."""
    route = route_of(query.question.text, search)
    ranked = shelf.search(query.embedding, cut, search)
    if route.spreads or ranked[0][1] < search.min_score:
        return _spread(query, segments, budget)
    hits = [index for index, _ in ranked[: route.ask.num_segments]]
    if route.only_fitting:
        hits = [index for index, score in ranked if score >= search.fitting][: len(hits)]
    reach = route.ask.context_segments
    near = {hit + step for hit in hits for step in range(-reach, reach + 1)}
    chosen = [segments[index] for index in sorted(near & set(range(len(segments))))]
    if not search.max_shot_frames:
        return chosen
    return shots_around(query, chosen, [segments[hit].key for hit in hits], route.ask)


def _spread(query: Query, segments: Sequence[Segment], budget: int) -> Sequence[Segment]:
    """Take frames from all over a film, as `longvid ask` does where a search finds nothing."""
    cost = max(1, len(segments[0].tokens) // max(1, segments[0].num_frames))
    places = [segments[index] for index in evenly(len(segments), budget // cost)]
    return Uniform()(query, places, max(budget, cost))


def of_config(name: str, config: Config, sample_fps: float) -> Arm:
    """Make an arm of a configuration: what `longvid ask` shows."""
    return of_parts(
        name,
        config.compressors,
        config.selectors,
        cut=cut_of(config, sample_fps),
        search=config.ask,
    )


def cut_of(config: Config, sample_fps: float) -> Cut:
    """Return how a configuration groups the frames of a film that is sampled at another rate."""
    return Cut(
        segment_frames=config.sample.segment_frames,
        vectors=config.store.vectors_per_segment,
        every=max(1, round(sample_fps / config.sample.fps)),
    )


def baselines() -> list[Arm]:
    """Return what every method must beat, and the bound that none is expected to."""
    return [
        Arm("no video", lambda *_: (), reads_question=False),
        Arm("random frames", _random_frames, reads_question=False),
        of_parts("uniform", (_GRID_4,), (Uniform(),)),
        Arm("oracle", _oracle),
    ]


def published(sample_fps: float) -> list[Arm]:
    """Return the published systems as they can be run on mini, at 1 frame a second where they are.

    slowfast_llava: evenly spread frames, every fifth at 4x4 besides 1 token for each; the shares
    of slow and fast tokens are the published ones. llama_vid: one content token a frame (its
    context token needs weights that mini has not). longvu: frames that resemble their window
    go, the question's best keep 4x4 and others 2x2, and where that is too much its spatial
    compression thins them out.
    """
    cut = Cut(every=max(1, round(sample_fps)))
    return [
        Arm("slowfast_llava", _slowfast, reads_question=False),
        of_parts("llama_vid", (ContentTokens(),), (Uniform(),), cut=cut),
        longvu_arm(cut=cut),
    ]


def longvu_arm(
    name: str = "longvu",
    *,
    cut: Cut,
    threshold: float = LONGVU_THRESHOLD,
    score: str = "embedding",
) -> Arm:
    """Make LongVU: mini's own patch features stand in for DINOv2's in its temporal reduction."""
    rule = LongVUConfig(dino_threshold=threshold, always_reduce=True, max_frames=0)
    guided = QueryGuided(score=score, coarse_height=2, coarse_width=2, over_budget="stc")

    def reduce(segments: Sequence[Segment]) -> Sequence[Segment]:
        found = []
        for segment in segments:
            pooled = _GRID_4(segment)
            features = pooled.tokens.data.reshape(pooled.num_frames, FULL_SIDE**2, -1)
            kept = select_frames(features.float(), 0, rule)
            found.append(cut_frames(pooled, kept))
        return found

    def show(shelf: Shelf, query: Query, row: Record, budget: int) -> Shown:
        return tuple(guided(query, shelf.segments(cut, ("longvu", rule), reduce), budget))

    return Arm(name, show)


def _random_frames(shelf: Shelf, query: Query, row: Record, budget: int) -> Shown:
    """Show frames drawn by a seed that follows from the film."""
    count = min(budget // FULL_SIDE**2, shelf.whole.num_frames)
    seed = hashlib.blake2b(shelf.name.encode(), digest_size=7).digest()
    order = torch.randperm(
        shelf.whole.num_frames, generator=torch.Generator().manual_seed(int.from_bytes(seed))
    )
    return (_GRID_4(cut_frames(shelf.whole, order[:count].sort().values)),)


def _oracle(shelf: Shelf, query: Query, row: Record, budget: int) -> Shown:
    """Show only frames of the shots that the answer is read from."""
    pts = shelf.whole.pts_seconds
    inside = torch.zeros(len(pts), dtype=torch.bool)
    for start, end in row.evidence:
        inside |= (pts >= start) & (pts < end)
    frames = inside.nonzero().flatten()
    most = budget // FULL_SIDE**2
    if len(frames) > most:
        frames = frames[algorithms.uniform(len(frames), most)]
    return (_GRID_4(cut_frames(shelf.whole, frames)),)


def _slowfast(shelf: Shelf, query: Query, row: Record, budget: int) -> Shown:
    """Show evenly spread frames, as many as fit: 1 token each, and every fifth its grid too."""
    full = FULL_SIDE**2
    count = shelf.whole.num_frames
    while count > 1 and count + full * len(range(0, count, SLOW_EVERY)) > budget:
        count -= 1
    frames = algorithms.uniform(shelf.whole.num_frames, count)
    slow = torch.arange(count) % SLOW_EVERY == 0
    if count + full * int(slow.sum()) > budget:
        slow = torch.zeros_like(slow)
    return (slow_and_fast(cut_frames(shelf.whole, frames, slow=slow)),)


def slow_and_fast(segment: Segment, *, fast_side: int = 1) -> Segment:
    """Give slow frames a 4x4 grid before the coarse grid that all frames have.

    Equal to `SlowFastPooling` with 2-D average pooling, also for frames that are stored at 4x4.
    """
    fine = _GRID_4(_kept(segment, segment.slow))
    coarse = GridPooling(height=fast_side, width=fast_side)(segment)
    pieces = [fine.tokens, coarse.tokens]
    frame = torch.cat([piece.frame for piece in pieces])
    order = frame.sort(stable=True).indices
    return segment.with_tokens(
        Tokens(
            data=torch.cat([piece.data for piece in pieces])[order],
            frame=frame[order],
            position=torch.cat([piece.position for piece in pieces])[order],
            size=torch.cat([piece.size for piece in pieces])[order],
        )
    )


def _kept(segment: Segment, frames: Tensor) -> Segment:
    """Drop the tokens of the other frames; `frames` is (T,) bool."""
    return segment.with_tokens(segment.tokens.keep(frames[segment.tokens.frame.long()]))
