"""Centroids of inverted lists: every subject that the vectors have gets a list of its own.

A subject without one is strewn over the lists of others, and a question about it finds none of its
vectors, however many lists are probed. Clustering in two steps leaves such subjects where there are
thousands: of 3 907 in 2.5 million vectors two had no list and 20 less than half of their vectors in
one, while a sixth of the lists stood for nothing. So the lists of fewest vectors are moved to the
vectors that are farthest from every list.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from longvid.store.faiss_index import load_faiss

Floats = npt.NDArray[np.float32]
Places = npt.NDArray[np.int64]

_CLUSTERING_ROUNDS = 8
#: From this many lists on, their centroids are first those of clusters of clusters: k-means over
#: all of them at once costs their square.
_CLUSTERED_TWICE = 1024
#: How often lists are moved, and which share of them.
_MOVES, _MOVED = 2, 0.15
#: The principal directions of the vectors in which the nearest list of each is looked for.
_DIRECTIONS = 192
#: Vectors whose nearest list is looked for at once, which bounds the scores in memory.
_ASSIGNED = 1 << 12


def find_centroids(sample: Floats, num_lists: int, seed: int) -> Floats:
    """Return the centroids of lists, (num_lists, E) float32 of unit norm.

    Args:
        sample: (S, E) float32 of mean 0, S of at least `num_lists`.
        num_lists: How many.
        seed: Of the clustering.
    """
    if num_lists < _CLUSTERED_TWICE:
        return _clustered(sample, num_lists, seed)
    return _moved(sample, _of_clusters(sample, num_lists, seed), seed)


def principal_directions(sample: Floats) -> Floats:
    """Return the directions in which vectors of mean 0 differ most, (E, at most 192) float32."""
    _, directions = np.linalg.eigh(sample.T @ sample)
    kept: Floats = np.ascontiguousarray(directions[:, -_DIRECTIONS:])
    return kept


def nearest_centroids(vectors: Floats, centroids: Floats) -> tuple[Places, Floats]:
    """Return the centroid of the highest inner product of each vector, (K,) int64, and it.

    FAISS's own search for those is a third as fast as a product of matrices.
    """
    nearest, best = np.empty(len(vectors), np.int64), np.empty(len(vectors), np.float32)
    for first in range(0, len(vectors), _ASSIGNED):
        scores = vectors[first : first + _ASSIGNED] @ centroids.T
        places = scores.argmax(axis=1)
        nearest[first : first + len(scores)] = places
        best[first : first + len(scores)] = scores[np.arange(len(scores)), places]
    return nearest, best


def _of_clusters(sample: Floats, num_lists: int, seed: int) -> Floats:
    """Cut the sample into clusters, and each into as many as its share of the sample asks for."""
    coarse = _clustered(sample, int(np.sqrt(num_lists)), seed)
    nearest, _ = nearest_centroids(sample, coarse)
    ends = np.cumsum(np.bincount(nearest, minlength=len(coarse))) * num_lists // len(sample)
    shares = np.diff(ends, prepend=0).tolist()
    return np.concatenate(
        [
            _clustered(sample[nearest == place], share, seed)
            for place, share in enumerate(shares)
            if share
        ]
    )


def _moved(sample: Floats, centroids: Floats, seed: int) -> Floats:
    """Move the lists of fewest vectors to those vectors that are farthest from any list."""
    directions = principal_directions(sample)
    seen = sample @ directions
    number = int(_MOVED * len(centroids))
    lengths = np.maximum(np.linalg.norm(sample, axis=1), 1e-12)
    for _ in range(_MOVES):
        nearest, best = nearest_centroids(seen, centroids @ directions)
        centroids = _means(sample, nearest, centroids)
        fewest = np.argsort(np.bincount(nearest, minlength=len(centroids)), kind="stable")
        farthest = np.sort(np.argsort(best / lengths)[: int(_MOVED * len(sample))])
        centroids[fewest[:number]] = _clustered(sample[farthest], number, seed)
    nearest, _ = nearest_centroids(seen, centroids @ directions)
    return _means(sample, nearest, centroids)


def _means(sample: Floats, nearest: Places, centroids: Floats) -> Floats:
    """Return the mean of the vectors of each list, of unit norm; a list without any keeps its."""
    order = np.argsort(nearest, kind="stable")
    starts = np.searchsorted(nearest[order], np.arange(len(centroids) + 1))
    filled = np.flatnonzero(np.diff(starts))
    sums = np.add.reduceat(sample[order], starts[filled], axis=0)
    means = centroids.copy()
    means[filled] = sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12)
    return means


def _clustered(vectors: Floats, number: int, seed: int) -> Floats:
    faiss = load_faiss()
    means = faiss.Kmeans(
        vectors.shape[1],
        number,
        niter=_CLUSTERING_ROUNDS,
        spherical=True,
        # From vectors far apart: of centroids drawn by chance some subject gets none.
        init_method=faiss.ClusteringInitMethod_KMEANS_PLUS_PLUS,
        min_points_per_centroid=1,
        seed=seed + 1,
    )
    means.train(np.ascontiguousarray(vectors))
    found: Floats = means.centroids
    return found
