"""Scores of moments: means of the best frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from longvid.config import Ask, load_config
from longvid.qa.moment_score import moment_score, query_embedding, rescored, shot_score
from longvid.qa.video_qa import VideoQA
from longvid.store import Hit, Store
from longvid.testing.synthetic import make_segment
from longvid.types import Segment


def test_the_share_of_frames_grows_with_the_segment() -> None:
    scores = torch.tensor([0.0, 0.4, 0.1, 0.2, 0.0, 0.0, 0.0, 0.0])
    assert moment_score(scores, 0.25) == torch.tensor([0.4, 0.2]).mean()
    assert moment_score(scores[:4], 0.25) == scores[1]
    assert moment_score(scores[:1], 0.25) == 0.0
    assert moment_score(scores, 1.0) == pytest.approx(0.0875)


def test_several_good_frames_come_before_one_that_is_better_by_chance() -> None:
    query = torch.tensor([1.0, 0.0])
    chance = torch.tensor([[0.9, 0.435], [0.0, 1.0], [0.0, 1.0], [0.0, 1.0]])
    steady = torch.tensor([[0.8, 0.6], [0.8, 0.6], [0.8, 0.6], [0.0, 1.0]])
    segments = [
        replace(make_segment(num_frames=4), frame_embeddings=embeddings)
        for embeddings in (chance, steady)
    ]
    hits = [Hit("v", 0, 0.0, 4.0, 0.9), Hit("v", 1, 4.0, 8.0, 0.8)]
    assert [
        hit.segment_index for hit in rescored(hits, segments, query, Ask(moment_share=0.5))
    ] == [1, 0]
    assert [
        hit.segment_index for hit in rescored(hits, segments, query, Ask(moment_share=0.01))
    ] == [0, 1]


def test_a_shot_is_scored_without_its_neighbours() -> None:
    query = torch.tensor([1.0, 0.0, 0.0])
    here, turned, other = torch.tensor([[0.8, 0.6, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    assert shot_score(torch.stack([other, here, here, other]), query, 0.7) == pytest.approx(0.8)
    assert shot_score(torch.stack([other, here, other]), query, 0.7) is None
    assert shot_score(here[None], query, 0.7) is None
    # Sampled so thinly that shots have one frame, none of them is left out.
    assert shot_score(torch.stack([other, other, here, turned]), query, 0.7) is None
    # What resembles the question in some frames of its shot is told from it by the others.
    both = torch.nn.functional.normalize(here + turned, dim=0)
    turning = torch.stack([here, turned, here, turned])
    assert shot_score(turning, query, 0.5) == pytest.approx(float(both[0]))


def test_segments_are_ranked_by_their_best_shots() -> None:
    query = torch.tensor([1.0, 0.0])
    near, far = torch.tensor([[0.8, 0.6], [0.0, 1.0]])
    cut = torch.stack([far, near, near, far])
    single = torch.stack([far, far, far, near])
    segments = [
        replace(make_segment(num_frames=4), frame_embeddings=embeddings)
        for embeddings in (single, cut)
    ]
    hits = [Hit("v", 0, 0.0, 4.0, 0.5), Hit("v", 1, 4.0, 8.0, 0.4)]
    found = rescored(hits, segments, query, Ask(moment_shots=True, cut_similarity=0.7))
    assert [hit.segment_index for hit in found] == [1, 0]
    assert [hit.score for hit in found] == pytest.approx([0.8, 0.0])


def test_forms_of_a_question_are_averaged() -> None:
    forms = torch.eye(2)
    torch.testing.assert_close(query_embedding(forms), torch.full((2,), 0.5**0.5))
    assert query_embedding(forms[:1]) is not None
    torch.testing.assert_close(query_embedding(forms[:1]), forms[0])


@pytest.mark.parametrize(("top_k", "loaded"), [(2, 4), (4, 4), (5, 4), (100, 4)])
def test_no_more_segments_are_scored_again_than_is_said(
    small_store: Path, monkeypatch: pytest.MonkeyPatch, top_k: int, loaded: int
) -> None:
    ask = Ask(moment_share=0.25, num_rescored=4)
    config = replace(load_config("mini"), ask=ask)
    read: list[int] = []
    load = Store.load

    def counted(store: Store, keys: Sequence[tuple[str, int]]) -> list[Segment]:
        read.append(len(keys))
        return load(store, keys)

    monkeypatch.setattr(Store, "load", counted)
    found = VideoQA(small_store, config).search("a red ring", top_k=top_k)
    assert len(found) == min(
        top_k, sum(one.num_segments for one in Store.open(small_store).videos())
    )
    assert sum(read) == loaded
    for scores in ([one.score for one in found[:4]], [one.score for one in found[4:]]):
        assert scores == sorted(scores, reverse=True)


def test_a_longer_search_begins_with_what_a_shorter_one_finds_and_says_the_same(
    small_store: Path,
) -> None:
    ask = replace(load_config("mini").ask, num_rescored=3)
    with VideoQA(small_store, replace(load_config("mini"), ask=ask)) as qa:
        for text in ("a red ring", "a white star", "blue"):
            longest, notes = qa.search_noted(text, top_k=1000)
            assert len({(one.video_id, one.start_seconds) for one in longest}) == len(longest)
            for top_k in range(1, len(longest)):
                found, said = qa.search_noted(text, top_k=top_k)
                assert found == longest[:top_k]
                nothing = [note for note in notes if note.startswith("Nothing was found")]
                assert [note for note in said if note.startswith("Nothing was found")] == nothing


def test_the_curve_of_a_video_has_one_scale(small_store: Path) -> None:
    config = load_config("mini")
    plain = replace(config, ask=replace(config.ask, moment_shots=False, moment_share=0.0))
    with VideoQA(small_store, config) as qa, VideoQA(small_store, plain) as by_vectors:
        for stored in qa.store.videos():
            video = stored.video.video_id
            found = by_vectors.search("a white star", video=video, top_k=1000)
            curve = qa.relevance("a white star", video=video)
            assert curve == sorted(found, key=lambda one: one.start_seconds)
