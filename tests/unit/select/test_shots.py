"""Whole shots around what a search found."""

from __future__ import annotations

import dataclasses

import torch

from longvid.config import Ask
from longvid.select.candidate_frames import candidates
from longvid.select.shots import shot_numbers, shots_around
from longvid.testing.synthetic import EMBEDDING_WIDTH, make_query, make_segment
from longvid.types import Segment

ASK = Ask(max_shot_frames=4, max_neighbor_shot_frames=2, cut_similarity=0.5)


def film(shots: str, length: int = 4, first: int = 0, video_id: str = "a") -> list[Segment]:
    """Make segments whose frames belong to the shots lettered; the question describes shot Q."""
    query = make_query().embedding
    noise = torch.randn(EMBEDDING_WIDTH, 5, generator=torch.Generator().manual_seed(0))
    others = torch.linalg.qr(torch.cat([query[:, None], noise], 1))[0].T
    of = {"Q": query, **{name: others[1 + i] for i, name in enumerate("abcde")}}
    embeddings = torch.stack([of[name] for name in shots])
    segments = []
    for number, part in enumerate(torch.split(embeddings, length)):
        made = make_segment(len(part), 2, 2, video_id=video_id, segment_index=first + number)
        segments.append(dataclasses.replace(made, frame_embeddings=part))
    return segments


def shown(segments: tuple[Segment, ...]) -> list[tuple[int, int]]:
    """Return (segment, frame within it), told by the time that `make_segment` gives frames."""
    return [
        (s.segment_index, round(float(p)) % 100) for s in segments for p in s.pts_seconds.tolist()
    ]


def test_shots_are_numbered_through_segments_and_end_with_a_run() -> None:
    segments = [*film("aabbbbcc"), *film("ccdd", first=3), *film("dd", video_id="b")]
    run, shot = shot_numbers(candidates(segments, 1, least=1), 0.5)
    assert run.tolist() == [0] * 8 + [1] * 4 + [2] * 2
    assert shot.tolist() == [0, 0, 1, 1, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]


def test_the_shot_found_is_shown_with_those_beside_it() -> None:
    segments = film("aaabbQQQccdd")
    chosen = shots_around(make_query(), segments, {("a", 1)}, ASK)
    assert shown(chosen) == [(0, 3), (1, 0), (1, 1), (1, 2), (1, 3), (2, 0), (2, 1)]
    assert sum(len(segment.tokens) for segment in chosen) == 4 * 7


def test_long_shots_are_thinned_evenly() -> None:
    segments = film("aaaabbbb" + "Q" * 8 + "cccc")
    chosen = shots_around(make_query(), segments, {("a", 2), ("a", 3)}, ASK)
    assert shown(chosen) == [(1, 1), (1, 3), (2, 1), (2, 3), (3, 1), (3, 3), (4, 1), (4, 3)]


def test_nothing_beyond_a_gap_is_beside_a_shot() -> None:
    segments = [*film("aaaa"), *film("QQQQ", first=2), *film("bbbb", first=4)]
    assert shown(shots_around(make_query(), segments, {("a", 2)}, ASK)) == [
        (2, 0),
        (2, 1),
        (2, 2),
        (2, 3),
    ]


def test_each_hit_brings_its_own_place() -> None:
    segments = [*film("aabb"), *film("bQcc", first=1), *film("ddQQ", video_id="b")]
    chosen = shots_around(make_query(), segments, {("a", 1), ("b", 0)}, ASK)
    assert [segment.key for segment in chosen] == [("a", 0), ("a", 1), ("b", 0)]
    assert shown(chosen)[:5] == [(0, 2), (1, 0), (1, 1), (1, 2), (1, 3)]
    assert shown(chosen)[5:] == [(0, 0), (0, 1), (0, 2), (0, 3)]


def test_a_hit_without_frames_leaves_what_was_given() -> None:
    segments = film("aaaabbbb")
    empty = segments[1].with_tokens(segments[1].tokens.keep(torch.zeros(16, dtype=torch.bool)))
    [left] = shots_around(make_query(), [segments[0], empty], {("a", 1)}, ASK)
    assert left.key == ("a", 0)
    assert len(left.tokens) == 16
