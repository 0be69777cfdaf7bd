"""A search finds what comparing with every vector finds, however the index came to be."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from longvid.errors import StoreError
from longvid.store import Store, faiss_index
from longvid.store.faiss_index import build_index
from longvid.store.index_rows import Rows, TimeFilter
from longvid.types import player_seconds
from tests.reference.search import search_slowly
from tests.unit.store.conftest import MakeStore
from tests.unit.store.synthetic import WIDTH, add_video, make_segment, make_video

VIDEOS = [letter * 32 for letter in "abcdef"]


def queries(count: int, seed: int = 5) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.nn.functional.normalize(torch.randn(count, WIDTH, generator=generator), dim=1)


def parts(store: Store) -> list[str]:
    return sorted(path.name for path in (Path(store.uri) / "vectors").glob("*.faiss"))


@pytest.mark.parametrize("vectors_per_segment", [1, 3, 4, 50])
def test_search_equals_comparing_with_everything(
    make_store: MakeStore, vectors_per_segment: int
) -> None:
    store = make_store(vectors_per_segment=vectors_per_segment)
    for video_id in VIDEOS:
        add_video(store, video_id, chunks=(3, 5))
    for query in queries(8):
        for top_k in (1, 7, 47, 48, 1000):
            found = store.search(query, top_k)
            assert found == search_slowly(store, query, top_k)
            assert len(found) == min(top_k, 48)
        some = (VIDEOS[3], VIDEOS[1])
        restricted = store.search(query, 5, some)
        assert restricted == search_slowly(store, query, 5, some)
        assert {hit.video_id for hit in restricted} <= set(some)


def test_the_best_vector_of_a_segment_counts(store: Store) -> None:
    segments = add_video(store, VIDEOS[0])
    query = segments[3].frame_embeddings[2]
    [hit] = store.search(query, 1)
    assert (hit.segment_index, hit.start_seconds, hit.end_seconds) == (3, 6.0, 8.0)
    scores = {hit.segment_index: hit.score for hit in store.search(query, 5)}
    assert len(scores) == 5


def test_equal_scores_come_in_order_however_the_index_was_made(make_store: MakeStore) -> None:
    """A still picture gives many equal vectors; which of them are returned must not vary."""
    store = make_store()
    embeddings = torch.nn.functional.normalize(torch.ones(4, WIDTH), dim=1)
    for video_id in VIDEOS:
        segments = []
        for i in range(40):
            segment = make_segment(video_id, i, num_frames=4)
            object.__setattr__(segment, "frame_embeddings", embeddings)
            segments.append(segment)
        store.finish(make_video(video_id), [store.write_chunk(video_id, segments)])
        store.refresh()
    query = queries(1)[0]
    expected = [(VIDEOS[0], i) for i in range(40)] + [(VIDEOS[1], i) for i in range(10)]
    assert [(h.video_id, h.segment_index) for h in store.search(query, 50)] == expected
    store.rebuild()
    assert [(h.video_id, h.segment_index) for h in store.search(query, 50)] == expected


@settings(max_examples=15, deadline=None, derandomize=True, database=None)
@given(changes=st.lists(st.tuples(st.integers(0, 5), st.booleans(), st.booleans()), max_size=14))
def test_any_history_gives_the_same_search(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[int, bool, bool]]
) -> None:
    folder = tmp_path_factory.mktemp("history")

    def make() -> Store:
        return Store.create(
            folder / "store", fingerprint="f", config={}, space="test-space", embedding_width=WIDTH
        )

    writer, reader = make(), make()
    query = queries(1)[0]
    for seed, (number, remove, refresh) in enumerate(changes):
        video_id = VIDEOS[number]
        if remove and writer.has(video_id):
            writer.remove([video_id])
        else:
            record = writer.write_chunk(
                video_id, [make_segment(video_id, i, seed=seed) for i in range(3)]
            )
            writer.finish(make_video(video_id), [record], replace=True)
        if refresh:
            writer.refresh()
        expected = search_slowly(make(), query, 20)
        assert writer.search(query, 20) == expected
        reader.refresh() if seed % 3 == 0 else reader._catalogs.changed()
        assert reader.search(query, 20) == expected
        assert make().search(query, 20) == expected
    writer.rebuild()
    assert writer.search(query, 20) == search_slowly(make(), query, 20)


def test_a_refresh_adds_a_part_and_merges_many(make_store: MakeStore) -> None:
    store = make_store()
    seen: set[str] = set()
    for i in range(20):
        add_video(store, f"{i:032d}", chunks=(2,))
        before = set(parts(store))
        store.refresh()
        seen |= set(parts(store))
        assert len(set(parts(store)) - before) == 1
        assert len(parts(store)) < 8
    store.refresh()
    assert set(parts(store)) <= seen
    query = queries(1)[0]
    opened = make_store()
    assert opened.search(query, 9) == search_slowly(store, query, 9)


def test_a_search_of_one_video_leaves_out_the_parts_without_it(make_store: MakeStore) -> None:
    store = make_store()
    for video_id in VIDEOS[:2]:  # a refresh each, so a part each
        add_video(store, video_id)
        store.refresh()
    assert len(parts(store)) == 2
    [query] = queries(1)
    for video_id in VIDEOS[:2]:
        assert store.search(query, 3, (video_id,)) == search_slowly(store, query, 3, (video_id,))


def test_dead_rows_are_skipped_and_then_dropped(make_store: MakeStore) -> None:
    store = make_store()
    for video_id in VIDEOS:
        add_video(store, video_id)
    store.refresh()
    [whole] = parts(store)
    store.remove(VIDEOS[:1])
    reader = make_store()
    query = queries(1)[0]
    assert reader.search(query, 30) == search_slowly(store, query, 30)
    store.refresh()
    assert parts(store) == [whole]  # few dead rows stay
    store.remove(VIDEOS[1:3])
    store.refresh()
    [smaller] = parts(store)
    assert smaller != whole
    assert store.search(query, 30) == search_slowly(store, query, 30)
    store.remove(VIDEOS[3:])
    store.refresh()
    assert parts(store) == []
    assert store.search(query, 3) == []
    assert search_slowly(store, query, 3) == []


def test_a_damaged_or_deleted_index_is_made_again(make_store: MakeStore) -> None:
    store = make_store()
    for video_id in VIDEOS[:2]:
        add_video(store, video_id)
        store.refresh()
    query = queries(1)[0]
    expected = search_slowly(store, query, 4)
    folder = Path(store.uri) / "vectors"
    for end in (".faiss", ".parquet"):
        for damage in (Path.unlink, lambda path: path.write_bytes(b"half-writ")):
            damage(next(folder.glob(f"*{end}")))
            assert make_store().search(query, 4) == expected
            again = make_store()
            again.refresh()
            assert again.search(query, 4) == expected
            assert len(parts(again)) == 2
    for path in folder.iterdir():
        path.unlink()
    assert make_store().search(query, 4) == expected


def test_many_vectors_are_searched_in_lists(
    make_store: MakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("longvid.store.index_shard.EXACT_BELOW", 500)
    store = make_store()
    for video_id in VIDEOS:
        add_video(store, video_id, chunks=(20, 20), num_frames=8)
    store.refresh()
    reader = make_store()
    found = expected = 0
    for query in queries(20):
        truth = search_slowly(store, query, 20)
        assert reader.search(query, 20, recall=1.0) == truth
        some = VIDEOS[1:3]
        assert reader.search(query, 7, some) == search_slowly(store, query, 7, some)
        found += len(set(reader.search(query, 20, recall=0.9)) & set(truth))
        expected += 20
    assert found / expected >= 0.85
    store.remove(VIDEOS[:1])
    fresh = make_store()
    assert fresh.search(query, 20, recall=1.0) == search_slowly(store, query, 20)


def test_lists_probed_grow_with_the_recall_asked() -> None:
    vectors = np.random.default_rng(0).standard_normal((4000, 12)).astype(np.float32)
    index = build_index(vectors, exact_below=1000)
    again = build_index(vectors, exact_below=1000)
    assert index.calibration == again.calibration
    recalls = [recall for _, recall in index.calibration]
    assert recalls == sorted(recalls)
    assert recalls[-1] == 1.0
    probed = [index.num_probed(recall) for recall in (0.0, 0.5, 0.9, 0.99, 1.0)]
    assert probed == sorted(probed)
    assert probed[0] == 1
    rows, scores = index.search(vectors[7], 3, recall=1.0)
    truth = vectors @ vectors[7]
    assert rows.tolist() == np.argsort(-truth, kind="stable")[:3].tolist()
    assert np.allclose(scores, np.sort(truth)[::-1][:3], rtol=1e-5)
    assert np.array_equal(index.vectors(rows), vectors[rows])
    with pytest.raises(StoreError, match="recall is nan"):
        index.search(vectors[7], 3, recall=float("nan"))
    only = np.arange(4000) % 1000 == 3
    rows, _ = index.search(vectors[7], 10, only, recall=1.0)
    assert sorted(rows.tolist()) == [3, 1003, 2003, 3003]


def test_lists_made_on_gpus_are_those_of_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = np.random.default_rng(0).standard_normal((4000, 12)).astype(np.float32)
    here = build_index(vectors, exact_below=1000)
    faiss, moved = faiss_index.load_faiss(), []

    def to_gpus(index: Any) -> Any:
        moved.append(faiss.clone_index(index))
        return moved[-1]

    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 1)
    monkeypatch.setattr(faiss, "index_cpu_to_all_gpus", to_gpus)
    there = build_index(vectors, exact_below=1000)
    assert [index.ntotal for index in moved] == [there.index.nlist] * 2
    assert there.calibration == here.calibration
    for query in vectors[:5]:
        rows, scores = there.search(query, 20, recall=0.5)
        truth, exact = here.search(query, 20, recall=0.5)
        assert rows.tolist() == truth.tolist()
        assert np.array_equal(scores, exact)


def test_questions_that_do_not_fit_are_refused(store: Store) -> None:
    assert store.search(queries(1)[0], 3) == []
    add_video(store, VIDEOS[0])
    with pytest.raises(StoreError, match=r"\(3,\) and the store .* width 16; ask with"):
        store.search(torch.ones(3), 3)
    with pytest.raises(StoreError, match="top_k is 0"):
        store.search(queries(1)[0], 0)
    with pytest.raises(StoreError, match="recall is nan; ask for a share from 0 to 1"):
        store.search(queries(1)[0], 3, recall=float("nan"))
    with pytest.raises(StoreError, match="holds no video zzzz"):
        store.search(queries(1)[0], 3, ["zzzz"])


def test_a_missing_faiss_is_one_sentence(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    add_video(store, VIDEOS[0])
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(StoreError, match="pip install faiss-cpu"):
        store.search(queries(1)[0], 3)
    assert search_slowly(store, queries(1)[0], 3)
    assert faiss_index.EXACT_BELOW == 100_000


def test_a_span_restricts_a_search_to_segments_that_overlap_it(store: Store) -> None:
    for video_id in VIDEOS[:3]:
        add_video(store, video_id, chunks=(3, 5))
    for query in queries(5):
        everything = store.search(query, 24)
        for span in ((0.0, 2.0), (3.0, 7.0), (15.9, 1e9)):
            inside = [
                h for h in everything if h.start_seconds < span[1] and h.end_seconds > span[0]
            ]
            assert store.search(query, 24, span=span) == inside
            assert store.search(query, 1, span=span) == inside[:1]
        assert store.search(query, 5, span=(16.0, 20.0)) == []


@pytest.mark.parametrize(("start", "ticks"), [(3000.5, 10), (0.1, 15360), (1.4, 90000)])
def test_a_span_is_compared_with_the_times_that_are_shown(start: float, ticks: int) -> None:
    """3063.8 s of a clock that starts at 3000.5 s are 63.30000000000018 s, and shown as 63.3."""
    times = start + np.random.default_rng(0).integers(0, 100 * ticks, 400) / ticks
    rows = Rows(
        ("a",), ("",), np.zeros(400, np.int32), np.arange(400, dtype=np.int32), times, times + 1
    )
    shown = [
        (player_seconds(begin, start), player_seconds(end, start))
        for begin, end in zip(rows.start_seconds.tolist(), rows.end_seconds.tolist(), strict=True)
    ]
    for begin, end in shown[:100]:
        for span in ((end, end + 1), (max(begin - 1, 0), begin), (begin, end)):
            marked = rows.within(TimeFilter(*span, {"a": start})).tolist()
            assert marked == [one < span[1] and other > span[0] for one, other in shown]
