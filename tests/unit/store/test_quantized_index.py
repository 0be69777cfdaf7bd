"""Quantised codes propose, int8 vectors decide; compaction goes on where it was killed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from longvid.errors import ConfigError, StoreError
from longvid.store import Store, index_compaction, list_centroids, quantized_build, vectors
from longvid.store.faiss_index import NearestVectors, probe_queries
from longvid.store.int8_rows import to_int8
from longvid.store.quantized_build import build_quantized
from longvid.store.quantized_index import QuantizedVectors
from tests.unit.store.conftest import MakeStore
from tests.unit.store.synthetic import WIDTH, add_video

VIDEOS = [letter * 32 for letter in "abcdef"]
Floats = npt.NDArray[np.float32]


class Given:
    """Vectors in memory as a source."""

    def __init__(self, vectors: Floats) -> None:
        self._vectors = vectors
        self.shape = vectors.shape

    def take(self, rows: npt.NDArray[np.int64]) -> Floats:
        found: Floats = self._vectors[rows]
        return found


def clustered(count: int, width: int, seed: int = 0) -> Floats:
    random = np.random.default_rng(seed)
    centres = random.standard_normal((count // 20, width))
    found = centres.repeat(20, axis=0) + 0.3 * random.standard_normal((count, width))
    unit: Floats = (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)
    return unit


@pytest.fixture(scope="module")
def given() -> Floats:
    return clustered(3000, 16)


@pytest.fixture(scope="module")
def index(given: Floats, tmp_path_factory: pytest.TempPathFactory) -> QuantizedVectors:
    return build_quantized(Given(given), str(tmp_path_factory.mktemp("index") / "rows"))


@pytest.mark.parametrize("kind", ["pq", "opq", "sq"])
def test_recall_is_what_was_measured(given: Floats, tmp_path: Path, kind: str) -> None:
    index = build_quantized(Given(given), str(tmp_path / "rows"), kind=kind)
    measured = [recall for _, recall in index.calibration]
    assert measured == sorted(measured)
    assert index.calibration[-1][1] == 1.0
    noise = np.random.default_rng(1).standard_normal((15, 16)).astype(np.float32)
    queries = given[::200] + 0.1 * noise
    hits = 0
    for query in queries:
        truth = np.argsort(-(given @ query), kind="stable")[:10]
        rows, scores = index.search(query, 10, recall=0.95)
        assert (np.diff(scores) <= 0).all()
        hits += len(np.intersect1d(rows, truth))
    assert hits / (10 * len(queries)) > 0.9


def test_recall_is_measured_all_over_the_vectors(
    given: Floats, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Floats] = []

    def seen(sample: Floats, random: np.random.Generator, cosine: float) -> Floats:
        asked.append(sample[:256])
        return probe_queries(sample, random, cosine)

    monkeypatch.setattr(quantized_build, "probe_queries", seen)
    build_quantized(Given(given), str(tmp_path / "rows"))
    rows = (asked[0] @ given.T).argmax(axis=1)
    assert len(np.unique(rows // 20)) > 100  # of 150 clusters, 256 drawn by chance


@pytest.mark.parametrize("twice", [True, False])
def test_every_cluster_has_a_list_of_its_own(
    given: Floats, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, twice: bool
) -> None:
    if twice:
        monkeypatch.setattr(list_centroids, "_CLUSTERED_TWICE", 1)
    centroids = list_centroids.find_centroids(given, 256, 0)
    assert centroids.shape == (256, 16)
    np.testing.assert_allclose(np.linalg.norm(centroids, axis=1), 1, atol=1e-5)
    nearest, best = list_centroids.nearest_centroids(given, centroids)
    np.testing.assert_allclose(best, (given @ centroids.T).max(axis=1), rtol=1e-5)
    np.testing.assert_array_equal(nearest, (given @ centroids.T).argmax(axis=1))
    shared = [len(np.unique(nearest[first : first + 20])) for first in range(0, len(given), 20)]
    # Centroids that are drawn by chance leave some clusters to the lists of a dozen others.
    assert max(shared) <= 8


def test_vectors_that_are_all_equal_are_indexed(tmp_path: Path) -> None:
    same = np.tile(np.float32([0.6, 0.8, 0, 0, 0, 0, 0, 0]), (3000, 1))
    index = build_quantized(Given(same), str(tmp_path / "rows"))
    rows, scores = index.search(same[0], 5, recall=0.9)
    assert len(np.unique(rows)) == 5
    np.testing.assert_allclose(scores, 1, atol=0.01)


def test_a_recall_of_one_compares_everything(given: Floats, index: QuantizedVectors) -> None:
    rounded = index.vectors(np.arange(len(given)))
    np.testing.assert_allclose(rounded, given, atol=np.abs(given).max() / 254 + 1e-6)
    for query in given[:5]:
        rows, scores = index.search(query, 7)
        truth = np.argsort(-(rounded @ query), kind="stable")[:7]
        np.testing.assert_array_equal(rows, truth)
        np.testing.assert_allclose(scores, rounded[truth] @ query, atol=1e-5)


def test_rows_that_are_not_allowed_are_skipped(
    given: Floats, index: QuantizedVectors, monkeypatch: pytest.MonkeyPatch
) -> None:
    allowed = np.zeros(len(given), bool)
    allowed[100:1100] = True
    exact, _ = index.search(given[5], 20, allowed, 0.9)
    assert allowed[exact].all()
    monkeypatch.setattr("longvid.store.quantized_index._SCANNED_BELOW", 0)
    probed, _ = index.search(given[105], 20, allowed, 0.9)
    assert allowed[probed].all()
    assert probed[0] == 105


def test_codes_of_another_training_are_not_read(
    given: Floats, index: QuantizedVectors, tmp_path: Path
) -> None:
    NearestVectors(index.index).write(str(tmp_path / "codes"), uri="x")
    again = QuantizedVectors.read(
        str(tmp_path / "codes"), index.rows, index.calibration, index.factor
    )
    assert again is not None
    for query in given[:3]:
        np.testing.assert_array_equal(
            again.search(query, 5, recall=0.9)[0], index.search(query, 5, recall=0.9)[0]
        )
    fewer = build_quantized(Given(given[:1000]), str(tmp_path / "fewer"))
    found = QuantizedVectors.read(str(tmp_path / "codes"), fewer.rows, fewer.calibration, 4)
    assert found is None


@pytest.mark.parametrize(("kind", "width"), [("rq", 32), ("pq", 20)])
def test_codes_that_cannot_be_made_are_refused(kind: str, width: int, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="codes"):
        build_quantized(Given(clustered(100, width)), str(tmp_path / "rows"), kind=kind)


@pytest.fixture
def filled(store: Store) -> Store:
    for video_id in VIDEOS:
        add_video(store, video_id, chunks=(40, 40))
    store.refresh()
    return store


def top(store: Store, count: int = 5) -> list[list[tuple[str, int]]]:
    generator = torch.Generator().manual_seed(3)
    queries = torch.nn.functional.normalize(torch.randn(8, WIDTH, generator=generator), dim=1)
    return [
        [(hit.video_id, hit.segment_index) for hit in store.search(query, count, recall=1.0)]
        for query in queries
    ]


def assert_nearly_same(
    found: list[list[tuple[str, int]]], wanted: list[list[tuple[str, int]]]
) -> None:
    """Compare what was found: int8 moves scores by 0.0005, which may turn neighbours around."""
    shared = [len(set(a) & set(b)) for a, b in zip(found, wanted, strict=True)]
    assert sum(shared) >= 5 * len(wanted) - 2


def test_a_compacted_store_finds_the_same_and_is_whole(filled: Store) -> None:
    before = top(filled)
    assert filled.compact(least=1) == 1
    assert_nearly_same(top(filled), before)
    assert top(Store.open(filled.uri)) == top(filled)
    assert filled.verify() == []
    assert filled.compact(least=1) == 0


@pytest.mark.parametrize(("kind", "least"), [("pq", 256), ("opq", 256), ("sq", 25)])
def test_too_few_vectors_for_codes_are_refused(
    store: Store, tmp_path: Path, kind: str, least: int
) -> None:
    build_quantized(Given(clustered(1000, WIDTH)[:least]), str(tmp_path / "rows"), kind=kind)
    add_video(store, VIDEOS[0], chunks=(2, 1))
    with pytest.raises(StoreError, match=f"need at least {least} vectors, got 12; so few are"):
        store.compact(kind, least=1)
    assert len(top(store)[0]) == 3
    assert store.verify() == []


def test_rows_of_a_store_of_int8_are_what_its_chunks_hold(make_store: MakeStore) -> None:
    store = make_store(embeddings="int8")
    segments = add_video(store, VIDEOS[0])
    store.refresh()
    [part] = store._search._vectors._state.parts
    read = part.nearest.vectors(np.arange(len(part.rows)))
    codes, scales = to_int8(read)
    np.testing.assert_allclose(codes * scales[:, None], read, atol=1e-6)
    unrounded = segments[0].frame_embeddings.numpy()
    codes, scales = to_int8(unrounded)
    assert np.abs(codes * scales[:, None] - unrounded).max() > 1e-4


def test_small_stores_stay_exact(filled: Store) -> None:
    assert filled.compact() == 0


def test_removed_videos_are_not_found_and_leave_at_the_next_compaction(filled: Store) -> None:
    filled.compact(least=1)
    filled.remove([VIDEOS[0]])
    filled.refresh()
    assert all(video_id != VIDEOS[0] for found in top(filled, 50) for video_id, _ in found)
    assert filled.compact(least=1) == 1
    assert all(video_id != VIDEOS[0] for found in top(filled, 50) for video_id, _ in found)


def test_what_was_indexed_later_is_found_beside_codes(filled: Store) -> None:
    filled.compact(least=1)
    late = "0" * 32
    segments = add_video(filled, late)
    filled.refresh()
    [hit] = filled.search(segments[0].frame_embeddings[-1], 1)
    assert (hit.video_id, hit.segment_index) == (late, 0)


def test_a_killed_compaction_goes_on_where_it_was(
    filled: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled.compact(least=1)  # one part; the two of later videos come one after the other
    for video_id in ("7" * 32, "8" * 32):
        add_video(filled, video_id, chunks=(40, 40))
        filled.refresh()
    before = top(filled)
    made = index_compaction.compacted
    calls: list[str] = []

    def killed(*arguments: object) -> object:
        calls.append("x")
        if len(calls) == 2:
            raise KeyboardInterrupt
        return made(*arguments)  # type: ignore[arg-type]  # passed on

    monkeypatch.setattr(vectors, "compacted", killed)
    index = filled._search._vectors
    with pytest.raises(KeyboardInterrupt):
        index.compact("pq", least=1, largest=500)
    assert_nearly_same(top(Store.open(filled.uri)), before)
    monkeypatch.setattr(vectors, "compacted", made)
    index.compact("pq", least=1, largest=500)
    assert_nearly_same(top(filled), before)
    assert filled.verify() == []


def test_damaged_vectors_are_found_by_verify_and_made_anew_when_cut(filled: Store) -> None:
    filled.compact(least=1)
    [path] = (Path(filled.uri) / "vectors").glob("*.int8")
    data = bytearray(path.read_bytes())
    data[0] ^= 0xFF
    path.write_bytes(data)
    assert [finding.kind for finding in filled.verify()] == ["cache"]
    path.write_bytes(data[:-5])
    reopened = Store.open(filled.uri)
    assert len(top(reopened)[0]) == 5
    reopened.refresh()
    assert reopened.verify() == []


def test_what_a_killed_compaction_leaves_is_cleaned(filled: Store) -> None:
    left = Path(filled.uri) / "vectors" / "part-0123pq.int8"
    left.write_bytes(b"unfinished")
    assert [finding.kind for finding in filled.verify()] == ["orphan"]
    assert filled.clean() == ["vectors/part-0123pq.int8"]
    filled.compact(least=1)
    filled.rebuild()
    assert not list(left.parent.glob("*.int8"))
    assert filled.verify() == []
