"""Videos are found before their segments; with all of them the search is the exact one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from longvid.store import Store, segment_search
from longvid.store.video_index import means_of
from tests.reference.search import search_slowly
from tests.unit.store.conftest import MakeStore
from tests.unit.store.synthetic import WIDTH, add_video

VIDEOS = [f"{number:032d}" for number in range(30)]


@pytest.fixture(autouse=True)
def _many_vectors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segment_search, "EVERY_VIDEO_BELOW", 1)


@pytest.fixture
def filled(store: Store) -> Store:
    for video_id in VIDEOS:
        add_video(store, video_id, chunks=(3, 2))
    store.refresh()
    return store


def queries(count: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(11)
    return torch.nn.functional.normalize(torch.randn(count, WIDTH, generator=generator), dim=1)


def level(store: Store) -> list[Path]:
    return sorted((Path(store.uri) / "vectors").glob("videos-*.faiss"))


def test_all_videos_give_the_exact_search_bit_for_bit(filled: Store) -> None:
    index = filled.segment_search._of_videos
    for query in queries(8):
        for top_k in (1, 9, 1000):
            exact = search_slowly(filled, query, top_k)
            assert filled.search(query, top_k, num_videos=len(VIDEOS)) == exact
            # And by way of both levels, which the store would not take for so few videos.
            both = index.search(query.numpy(), top_k, 4, (), 1.0, None, len(VIDEOS))
            assert both == exact


def test_few_videos_give_the_exact_search_within_them(filled: Store) -> None:
    index = filled.segment_search._of_videos
    for query in queries(8):
        chosen = index.nearest(query.numpy(), 4, (), 1.0, None)
        assert len(set(chosen)) == 4
        found = filled.search(query, 10, num_videos=4)
        assert found == search_slowly(filled, query, 10, chosen)


def test_a_video_is_found_by_any_of_its_segments(store: Store) -> None:
    """Videos of five segments have three means, and what they show is of five subjects."""
    for video_id in VIDEOS:
        segments = add_video(store, video_id, chunks=(9,), num_frames=1)
    [last] = [segment.frame_embeddings[0] for segment in segments[-1:]]
    index = store.segment_search._of_videos
    store.refresh()
    assert VIDEOS[-1] in index.nearest(last.numpy(), 3, (), 1.0, None)


def test_more_videos_are_taken_where_those_chosen_hold_too_few_segments(filled: Store) -> None:
    for query in queries(4):
        assert len(filled.search(query, 23, num_videos=1)) == 23
        everything = filled.search(query, 1000, num_videos=1)
        assert everything == search_slowly(filled, query, 1000)


def test_restrictions_hold_on_both_levels(filled: Store) -> None:
    late = "f" * 32
    segments = add_video(filled, late, chunks=(20,))  # alone reaches beyond ten seconds
    filled.refresh()
    some = VIDEOS[3:9]
    for query in [*queries(6), segments[0].frame_embeddings[0]]:
        within = filled.search(query, 5, some, num_videos=2)
        assert {hit.video_id for hit in within} <= set(some)
        assert filled.search(query, 30, some, num_videos=2) == search_slowly(
            filled, query, 30, some
        )
        # The only video with anything there is found, however far from the question it is.
        there = filled.search(query, 5, span=(20.0, 40.0), num_videos=1)
        assert [hit.video_id for hit in there] == [late] * 5
        assert there == filled.search(query, 5, span=(20.0, 40.0))
        assert filled.search(query, 5, some, span=(20.0, 40.0), num_videos=2) == []


def test_vectors_of_videos_are_kept_and_follow_the_store(
    filled: Store, make_store: MakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    [first] = level(filled)
    add_video(filled, "e" * 32)
    query = queries(1)[0]
    reader = make_store()  # which writes nothing
    assert {hit.video_id for hit in reader.search(query, 1000, num_videos=1)} == {
        *VIDEOS,
        "e" * 32,
    }
    assert level(filled) == [first]
    filled.refresh()
    assert len(level(filled)) == 2
    filled.remove(VIDEOS[:1])
    filled.refresh()
    found = filled.search(query, 1000, num_videos=1)
    assert found == search_slowly(filled, query, 1000)
    assert filled.verify() == []
    level(filled)[0].write_bytes(b"half-writ")
    again = make_store()
    assert again.search(query, 1000, num_videos=1) == found
    again.rebuild()
    assert len(level(again)) == 1
    assert again.verify() == []


def test_a_compacted_store_is_searched_in_few_videos(filled: Store) -> None:
    filled.compact(least=1)
    index = filled.segment_search._of_videos
    for query in queries(4):
        chosen = index.nearest(query.numpy(), 3, (), 1.0, None)
        assert filled.search(query, 9, num_videos=3) == filled.search(query, 9, chosen)


def test_small_stores_visit_every_video(filled: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segment_search, "EVERY_VIDEO_BELOW", 10**6)
    for query in queries(4):
        assert filled.search(query, 9, num_videos=1) == search_slowly(filled, query, 9)


def test_means_have_a_vector_for_each_subject() -> None:
    random = np.random.default_rng(0)
    subjects = np.linalg.qr(random.standard_normal((24, 5)))[0].T.astype(np.float32)
    vectors = subjects.repeat([40, 1, 20, 5, 34], axis=0)
    vectors = vectors + 0.02 * random.standard_normal(vectors.shape).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    means, group = means_of(vectors)
    assert len(means) <= 10
    np.testing.assert_allclose(np.linalg.norm(means, axis=1), 1, atol=1e-5)
    assert (means @ subjects.T).max(axis=0).min() > 0.99
    assert ((means[group] * vectors).sum(axis=1) > 0.95).all()


def test_equal_vectors_have_one_mean() -> None:
    means, group = means_of(np.tile(np.float32([0.6, 0.8]), (17, 1)))
    np.testing.assert_allclose(means, [[0.6, 0.8]], atol=1e-6)
    assert set(group.tolist()) == {0}
