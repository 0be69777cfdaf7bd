"""Every subject gets a list of its own, and recall is not measured by luck."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from longvid.store import list_centroids
from longvid.store.faiss_index import probe_queries
from longvid.store.quantized_build import safe_recall

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


def test_questions_are_about_a_picture_or_what_two_have_in_common(subjects: Floats) -> None:
    asked = probe_queries(subjects, np.random.default_rng(1), 0.5)
    assert asked.shape == (512, _WIDTH)
    np.testing.assert_allclose(np.linalg.norm(asked, axis=1), 1, atol=0.2)
    likeness = asked @ unit(subjects).T
    about = likeness[np.arange(512), np.arange(512) % 256]
    assert about[:256].mean() == pytest.approx(0.5, abs=0.02)
    two = np.sort(likeness[256:], axis=1)[:, -2:]
    assert two.mean() > 0.42


def test_a_recall_that_few_lucky_questions_reach_is_not_believed() -> None:
    shares = np.ones(512)
    assert safe_recall(shares) == 1.0
    shares[-4:] = 0.0  # of one kind; their mean is 0.992
    assert shares.mean() > 0.99
    assert safe_recall(shares) < 0.98
