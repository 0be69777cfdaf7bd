"""Every subject gets a list of its own, and recall is not measured by luck."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from longvid.store import list_centroids
from longvid.store.faiss_index import load_faiss, probe_queries
from longvid.store.quantized_build import build_quantized, safe_recall
from tests.unit.store.test_quantized_index import Given

Floats = npt.NDArray[np.float32]

_SUBJECTS, _PER_SUBJECT, _WIDTH = 600, 10, 64


def unit(vectors: npt.NDArray[np.floating]) -> Floats:
    found: Floats = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return found


@pytest.fixture(scope="module")
def subjects() -> Floats:
    """Ten vectors each of many subjects, of mean 0."""
    random = np.random.default_rng(0)
    centres = unit(random.standard_normal((_SUBJECTS, _WIDTH)))
    away = unit(random.standard_normal((_SUBJECTS * _PER_SUBJECT, _WIDTH)))
    vectors = unit(centres.repeat(_PER_SUBJECT, axis=0) + 0.9 * away)
    return vectors - vectors.mean(axis=0)


def test_no_subject_is_strewn_over_the_lists_of_others(
    subjects: Floats, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(list_centroids, "_CLUSTERED_TWICE", 1)
    centroids = list_centroids.find_centroids(subjects, 1000, 0)
    assert centroids.shape == (1000, _WIDTH)
    nearest, _ = list_centroids.nearest_centroids(subjects, centroids)
    subject = np.arange(len(subjects)) // _PER_SUBJECT
    members = np.zeros((len(centroids), _SUBJECTS), int)
    np.add.at(members, (nearest, subject), 1)
    at_home = members.argmax(axis=1)[nearest] == subject
    share = np.bincount(subject, weights=at_home) / _PER_SUBJECT
    # Clusters of clusters alone leave 55 with less than half of their vectors in lists of theirs.
    assert (share < 0.5).sum() <= 2


def test_questions_are_pictures_and_texts(subjects: Floats) -> None:
    mean = np.zeros(_WIDTH, np.float32)
    mean[0] = 2.0
    asked = probe_queries(subjects + mean, np.random.default_rng(1), 0.5)
    assert asked.shape == (512, _WIDTH)
    lengths = np.linalg.norm(subjects[:256], axis=1)
    # As much of the mean as a picture has that is turned away so far.
    np.testing.assert_allclose(asked[:256, 0].mean(), (0.5 / lengths * 2).mean(), atol=0.05)
    assert abs(asked[256:, 0].mean()) < 0.05
    two = np.sort(asked[256:] @ unit(subjects).T, axis=1)[:, -2:]
    assert two.mean() > 0.42


def test_lists_do_not_point_to_what_all_pictures_share(subjects: Floats, tmp_path: Path) -> None:
    mean = np.zeros(_WIDTH, np.float32)
    mean[0] = 2.0
    pictures = unit(subjects + mean)
    index = build_quantized(Given(pictures), str(tmp_path / "rows"))
    lists = load_faiss().extract_index_ivf(index.index)
    centroids = lists.quantizer.reconstruct_n(0, lists.nlist)
    assert np.abs(centroids @ unit(pictures.mean(axis=0)[None])[0]).max() < 0.03


def test_a_recall_that_few_lucky_questions_reach_is_not_believed() -> None:
    shares = np.ones(512)
    assert safe_recall(shares) == 1.0
    shares[-4:] = 0.0  # of one kind; their mean is 0.992
    assert shares.mean() > 0.99
    assert safe_recall(shares) < 0.98
