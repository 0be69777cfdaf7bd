"""Build an index of quantised codes from vectors that are read once, and measure its recall.

Lists and codes are of the vectors less their mean, which moves all scores of a question by one
number. Pictures lie in a narrow cone: with the mean, a list of many subjects is nearest to every
question from that cone, and hides those of one.

The modules that call FAISS are this one, `quantized_index` and `faiss_index`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from longvid.errors import ConfigError
from longvid.store.faiss_index import load_faiss, probe_queries
from longvid.store.index_rows import Calibration
from longvid.store.int8_rows import Int8Rows, Int8Writer
from longvid.store.quantized_index import QuantizedVectors, best_of, probe

Floats = npt.NDArray[np.float32]
Places = npt.NDArray[np.int64]

#: Codes of FAISS by name: product quantisation to a byte for 8 dimensions, the same after a learned
#: rotation (OPQ), and a byte a dimension. "np" leaves out the order of codes for polysemous search,
#: which nothing here uses and which takes most of the training. Centroids of lists are kept in a
#: byte a dimension: every search compares its question with all of them, and as float32 those of
#: some parts together leave the processor's own memory (30 ms against 8 for four of 8192 lists).
KINDS = {"pq": "IVF{lists}(SQ8),PQ{bytes}np", "opq": "OPQ{bytes},IVF{lists}(SQ8),PQ{bytes}np",
         "sq": "IVF{lists}(SQ8),SQ8"}  # fmt: skip
_DIMENSIONS_A_BYTE = 8
_NEIGHBOURS = 50
#: Nearer than the questions of `faiss_index`: of millions of vectors some are as near by chance as
#: a subject is that is turned away to 0.4, and lists can hold no such neighbours together.
_QUERY_COSINE = 0.5
_PROBED_SAMPLE = 8192
_TRAINING_PER_LIST = 20
_CLUSTERING_ROUNDS = 8
#: Lists for the square root of the vectors; FAISS advises to 4 to 16. More than there are subjects:
#: those that share a list hide each other.
_LISTS = 5
#: The principal directions of the vectors in which the nearest list of each is looked for.
_DIRECTIONS = 192
#: From this many lists on, their centroids are those of clusters of clusters: k-means over all of
#: them at once costs their square.
_CLUSTERED_TWICE = 1024
#: Of a product quantiser's 256 centroids a byte, what they learn from and for how long.
_POINTS_PER_CODE = 64
_CODE_ROUNDS = 12
_ROTATION_ROUNDS = 10
#: Product quantisers learn 256 centroids for every byte of a code.
_LEAST_TRAINING = 1024
_BLOCK = 1 << 15
#: Vectors whose nearest list is looked for at once, which bounds the scores in memory.
_ASSIGNED = 1 << 12
#: Candidates for each row wanted, least first. The first that loses little of the recall is kept.
_FACTORS = (4, 8, 16, 32, 64)
_LITTLE_LOST = 0.005
#: Standard errors that a recall is written less, so that it is reached nineteen times in twenty.
_ERRORS = 1.64
#: More lists than reach this recall are not tried.
_ENOUGH = 0.999


class VectorSource(Protocol):
    """Vectors that are read in parts."""

    @property
    def shape(self) -> tuple[int, int]:
        """How many of which width."""

    def take(self, rows: Places) -> Floats:
        """Return the vectors of some sorted rows, (K, E) float32."""


def build_quantized(
    source: VectorSource, rows_path: str, *, kind: str = "pq", seed: int = 0
) -> QuantizedVectors:
    """Index vectors by their codes, and write them as int8 rows; they are read once, in order.

    Memory holds the codes, a training sample of some 80 sqrt(V) vectors and one block.

    Args:
        source: (V, E) float32.
        rows_path: The file of `Int8Rows`, which is written.
        kind: One of KINDS.
        seed: Of the sample and of the queries that measure recall.

    Raises:
        ConfigError: There is no such kind, or the width does not divide into codes.
    """
    num_vectors, width = source.shape
    index = _empty_index(kind, num_vectors, width, seed)
    random = np.random.default_rng(seed)
    num_lists = int(load_faiss().extract_index_ivf(index).nlist)
    wanted = min(num_vectors, max(_LEAST_TRAINING, _TRAINING_PER_LIST * num_lists))
    sample = source.take(np.sort(random.choice(num_vectors, wanted, replace=False)))
    filler = _Filler(index, sample, seed)
    # The sample is in the order of the rows: its first would all be of one video.
    mixed = random.permutation(len(sample))[:_PROBED_SAMPLE]
    queries = probe_queries(sample[mixed], random, _QUERY_COSINE)
    del sample
    truth = _Truth(queries)
    writer = Int8Writer(rows_path)
    for first, block in _blocks(source):
        filler.add(block)
        writer.add(block)
        truth.add(first, block)
    writer.close()
    rows = Int8Rows(rows_path, source.shape)
    factor, calibration = _calibrate(index, rows, queries, truth.rows, num_lists)
    return QuantizedVectors(index, rows, calibration, factor)


def require_codes(kind: str, width: int) -> None:
    """Refuse codes that are unknown, or that embeddings of a width do not divide into.

    Raises:
        ConfigError: The sentence says which.
    """
    if kind not in KINDS:
        raise ConfigError(f"No codes are named {kind!r}; use {', '.join(KINDS)}.")
    if kind != "sq" and width % _DIMENSIONS_A_BYTE:
        raise ConfigError(
            f"Embeddings of width {width} do not divide into codes of a byte for "
            f"{_DIMENSIONS_A_BYTE} dimensions; use sq."
        )


def _empty_index(kind: str, num_vectors: int, width: int, seed: int) -> Any:
    require_codes(kind, width)
    faiss = load_faiss()
    num_lists = round(_LISTS * np.sqrt(num_vectors))
    text = KINDS[kind].format(lists=num_lists, bytes=width // _DIMENSIONS_A_BYTE)
    index = faiss.index_factory(width, text, faiss.METRIC_INNER_PRODUCT)
    lists = faiss.extract_index_ivf(index)
    if kind != "sq":
        codes = faiss.downcast_index(lists).pq.cp
        codes.min_points_per_centroid, codes.max_points_per_centroid = 1, _POINTS_PER_CODE
        codes.niter, codes.seed = _CODE_ROUNDS, seed + 1
    if kind == "opq":
        faiss.downcast_VectorTransform(index.chain.at(0)).niter = _ROTATION_ROUNDS
    return index


class _Filler:
    """Trains an index, and puts vectors into the lists of their nearest centroids.

    FAISS's own search for those is a third as fast as a product of matrices, and that of a few
    principal directions takes a fourth of the time; a vector between two lists may get the other.
    """

    def __init__(self, index: Any, sample: Floats, seed: int) -> None:
        faiss = load_faiss()
        self._index = index
        self._lists = faiss.extract_index_ivf(index)
        self._mean: Floats = sample.mean(axis=0)
        self._rotation = None
        sample = sample - self._mean
        if isinstance(index, faiss.IndexPreTransform):
            self._rotation = faiss.downcast_VectorTransform(index.chain.at(0))
            self._rotation.train(sample)
            sample = self._rotation.apply(sample)
        centroids = _centroids(sample, int(self._lists.nlist), seed)
        self._lists.quantizer.train(centroids)
        self._lists.quantizer.add(centroids)
        self._lists.train(sample)  # the codes alone: the lists have their centroids
        index.is_trained = True
        self._directions = _principal(sample, _DIRECTIONS)
        self._centroids: Floats = centroids @ self._directions

    def add(self, block: Floats) -> None:
        faiss = load_faiss()
        moved: Floats = block - self._mean
        if self._rotation is not None:
            moved = self._rotation.apply(moved)
        nearest = _nearest(moved @ self._directions, self._centroids)
        pointers = faiss.swig_ptr(moved), None, faiss.swig_ptr(nearest)
        self._lists.add_core(len(moved), *pointers)
        self._index.ntotal = self._lists.ntotal


def _principal(sample: Floats, number: int) -> Floats:
    """Return the directions in which vectors of mean 0 differ most, (E, at most number) float32."""
    _, directions = np.linalg.eigh(sample.T @ sample)
    kept: Floats = np.ascontiguousarray(directions[:, -number:])
    return kept


def _centroids(sample: Floats, num_lists: int, seed: int) -> Floats:
    """Return the centroids of lists, (num_lists, E) float32 of unit norm.

    Where there are many, the sample is cut into the square root of them, and each of those into as
    many as its share of the sample asks for.
    """
    if num_lists < _CLUSTERED_TWICE:
        return _clustered(sample, num_lists, seed)
    coarse = _clustered(sample, int(np.sqrt(num_lists)), seed)
    nearest = _nearest(sample, coarse)
    ends = np.cumsum(np.bincount(nearest, minlength=len(coarse))) * num_lists // len(sample)
    shares = np.diff(ends, prepend=0).tolist()
    return np.concatenate(
        [
            _clustered(sample[nearest == place], share, seed)
            for place, share in enumerate(shares)
            if share
        ]
    )


def _clustered(vectors: Floats, number: int, seed: int) -> Floats:
    faiss = load_faiss()
    means = faiss.Kmeans(
        vectors.shape[1],
        number,
        niter=_CLUSTERING_ROUNDS,
        spherical=True,
        # From vectors far apart: of centroids drawn by chance some subject gets none, and is strewn
        # over the lists of others.
        init_method=faiss.ClusteringInitMethod_KMEANS_PLUS_PLUS,
        min_points_per_centroid=1,
        seed=seed + 1,
    )
    means.train(np.ascontiguousarray(vectors))
    found: Floats = means.centroids
    return found


def _nearest(vectors: Floats, centroids: Floats) -> Places:
    """Return the centroid of the highest inner product of each vector, (K,) int64."""
    return np.concatenate(
        [
            (vectors[first : first + _ASSIGNED] @ centroids.T).argmax(axis=1)
            for first in range(0, len(vectors), _ASSIGNED)
        ]
    )


def _blocks(source: VectorSource) -> Iterator[tuple[int, Floats]]:
    for first in range(0, source.shape[0], _BLOCK):
        yield first, source.take(np.arange(first, min(first + _BLOCK, source.shape[0])))


class _Truth:
    """The rows nearest to some queries, of blocks that come one after the other."""

    def __init__(self, queries: Floats) -> None:
        self._queries = queries
        self._scores = np.empty((len(queries), 0), np.float32)
        self.rows = np.empty((len(queries), 0), np.int64)

    def add(self, first: int, block: Floats) -> None:
        faiss = load_faiss()
        scores, rows = faiss.knn(
            self._queries,
            block,
            min(_NEIGHBOURS, len(block)),
            metric=faiss.METRIC_INNER_PRODUCT,
        )
        scores = np.concatenate([self._scores, scores], axis=1)
        rows = np.concatenate([self.rows, rows + first], axis=1)
        order = np.argsort(-scores, axis=1, kind="stable")[:, :_NEIGHBOURS]
        self._scores = np.take_along_axis(scores, order, axis=1)
        self.rows = np.take_along_axis(rows, order, axis=1)


def _calibrate(
    index: Any, rows: Int8Rows, queries: Floats, truth: Places, num_lists: int
) -> tuple[int, Calibration]:
    """Measure recall for 1, 2, 4, ... lists, with as many candidates as lose little of it.

    Few questions are asked, and one whose neighbours are in another list finds none of them, so
    what is written for a number of lists is their mean recall less its error.
    """
    probes = [1 << power for power in range(num_lists.bit_length() - 1)] or [1]
    most = min(_FACTORS[-1] * truth.shape[1], rows.shape[0])
    recalls: dict[int, list[npt.NDArray[np.float64]]] = {factor: [] for factor in _FACTORS}
    for probed in probes:
        found, _ = probe(index, queries, probed, most)
        for factor in _FACTORS:
            some = found[:, : factor * truth.shape[1]]
            recalls[factor].append(_recalls(rows, queries, some, truth))
        if recalls[_FACTORS[-1]][-1].mean() >= _ENOUGH:
            probes = probes[: probes.index(probed) + 1]
            break
    best = recalls[_FACTORS[-1]]
    factor = next(
        factor
        for factor in _FACTORS
        if all(
            (most - some).mean() <= _LITTLE_LOST
            for most, some in zip(best, recalls[factor], strict=True)
        )
    )
    least = [some.mean() - _ERRORS * some.std() / len(some) ** 0.5 for some in recalls[factor]]
    measured = zip(probes, np.maximum.accumulate(least).tolist(), strict=True)
    return factor, (*measured, (num_lists, 1.0))


def _recalls(
    rows: Int8Rows, queries: Floats, found: Places, truth: Places
) -> npt.NDArray[np.float64]:
    """Return the share of each query's true rows among its candidates, scored again."""
    hits: list[int] = []
    for query, candidates, wanted in zip(queries, found, truth, strict=True):
        places = candidates[candidates >= 0]
        best, _ = best_of(places, rows.scores(query, places), len(wanted))
        hits.append(len(np.intersect1d(best, wanted)))
    shares: npt.NDArray[np.float64] = np.array(hits) / truth.shape[1]
    return shares
