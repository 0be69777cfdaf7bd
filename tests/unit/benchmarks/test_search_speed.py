"""The measurement of large searches: its vectors, its truth, and what a second run does again."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.speed import search, search_codes, search_videos
from benchmarks.speed.drawn_vectors import BLOCK, DrawnVectors, drawn, questions
from longvid.errors import ConfigError
from longvid.store.int8_rows import to_int8
from longvid.store.quantization import dequantise, quantise


def options(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    search.add_arguments(parser)
    return parser.parse_args(["--width", "16", "--queries", "4", *words])


def test_vectors_are_those_of_their_seed_whatever_is_asked_for() -> None:
    whole = DrawnVectors(0, BLOCK + 100, 8, 3).take(np.arange(BLOCK + 100))
    later = DrawnVectors(BLOCK - 5, 10, 8, 3).take(np.array([0, 3, 7]))
    np.testing.assert_array_equal(later, whole[[BLOCK - 5, BLOCK - 2, BLOCK + 2]])
    assert not np.array_equal(DrawnVectors(0, 5, 8, 4).take(np.arange(5)), whole[:5])


def test_vectors_are_what_a_store_gives_back() -> None:
    before = drawn(8, 3, 0)[:50]
    stored, scale = quantise(torch.from_numpy(before), "int8")
    back = dequantise(stored, scale, torch.float32).numpy()
    found = DrawnVectors(0, 50, 8, 3).take(np.arange(50))
    np.testing.assert_allclose(found, back, rtol=1e-6)
    codes, scales = to_int8(found)  # and rounding them once more loses nothing
    np.testing.assert_array_equal(codes, stored.numpy())
    np.testing.assert_allclose(codes * scales[:, None], found, rtol=1e-6)


def test_truth_is_comparing_with_every_vector() -> None:
    asked = questions(BLOCK + 500, 16, 4, 0)
    truth, as_drawn = search_codes._truth(options("--vectors", str(BLOCK + 500)), asked)
    whole = DrawnVectors(0, BLOCK + 500, 16, 0).take(np.arange(BLOCK + 500))
    before = np.concatenate([drawn(16, 0, 0), drawn(16, 0, 1)[:500]])
    for kind, queries in asked.items():
        for query, rows, real in zip(queries, truth[kind], as_drawn[kind], strict=True):
            assert set(rows) == set(np.argsort(-(whole @ query))[:50])
            assert set(real) == set(np.argsort(-(before @ query))[:50])


def test_a_build_goes_on_behind_the_parts_that_are_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("--vectors", "3000", "--codes", "pq", "--index", str(tmp_path))
    monkeypatch.setattr(search_codes, "LARGEST_QUANTIZED", 1000)
    build = search_codes.make_quantized_part
    calls: list[int] = []

    def two_then_killed(*args: object) -> object:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return build(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(search_codes, "make_quantized_part", two_then_killed)
    with pytest.raises(KeyboardInterrupt):
        search.run(options(*words))
    rows = search.run(options(*words))
    assert len(calls) == 4  # the third alone was built again
    by_numpy = [row for row in rows if row.subject == "numpy, int8 rows" and row.metric == "recall"]
    assert [row.value for row in by_numpy] == [1.0, 1.0]
    assert {row.subject for row in rows if row.metric == "recall" and "text" in row.task} == {
        "longvid, recall 0.98",
        "FAISS, codes alone",
        "numpy, int8 rows",
    }
    search.run(options(*words))
    assert len(calls) == 4
    with pytest.raises(ConfigError, match="name another folder"):
        search.run(options("--vectors", "2000", "--codes", "pq", "--index", str(tmp_path)))


def test_films_are_whole_and_all_of_them_give_what_comparing_every_segment_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    films = search_videos.DrawnFilms(12, 16, 4, 0)
    vectors = films.take(np.arange(1200))
    assert vectors.shape == films.shape == (1200, 16)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=0.02)
    monkeypatch.setattr(search_videos, "_NEAREST", (2, 12))
    rows = search.run(options("--videos", "12"))
    found = {
        (row.task[-12:], row.subject): row.value for row in rows if "of the best" in row.metric
    }
    for kind in ("text queries", "rame queries"):
        assert found[kind, "segments of the 12 nearest films"] == 1
        assert found[kind, "every segment"] == 1
        assert found[kind, "segments of the 2 nearest films"] < 1
