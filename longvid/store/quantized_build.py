"""Build an index of quantised codes from vectors that are read once, and measure its recall.

Lists and codes are of the vectors less their mean, which moves all scores of a question by one
number. Pictures lie in a narrow cone: with the mean, a list of many subjects is nearest to every
question from that cone, and hides those of one.

The modules that call FAISS are this one, `list_centroids`, `quantized_index` and `faiss_index`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from longvid.errors import ConfigError, StoreError
from longvid.store.faiss_index import MEAN_SAMPLE, load_faiss, probe_queries
from longvid.store.index_rows import Calibration
from longvid.store.int8_rows import Int8Rows, Int8Writer
from longvid.store.list_centroids import find_centroids, nearest_centroids, principal_directions
from longvid.store.quantized_index import QuantizedVectors, best_of, probe

Floats = npt.NDArray[np.float32]
Places = npt.NDArray[np.int64]
Shares = npt.NDArray[np.float64]

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
_TRAINING_PER_LIST = 20
#: Lists for the square root of the vectors; FAISS advises to 4 to 16. More than there are subjects:
#: those that share a list hide each other.
_LISTS = 5
#: Of a product quantiser's 256 centroids a byte, what they learn from and for how long.
_POINTS_PER_CODE = 64
_CODE_ROUNDS = 12
_ROTATION_ROUNDS = 10
#: Product quantisers learn 256 centroids for every byte of a code.
_LEAST_TRAINING = 1024
#: Fewer vectors cannot be coded by one of those centroids each; "sq" needs as many as lists.
_LEAST_CODED, _LEAST_SQ = 256, 25
_BLOCK = 1 << 15
#: Candidates for each row wanted, least first. The first that loses little of the recall is kept.
_FACTORS = (4, 8, 16, 32, 64)
_LITTLE_LOST = 0.005
#: Standard errors that a recall is written less.
_ERRORS = 1.64
#: More lists are not tried where the mean recall is this, or where one that is asked for is reached
#: and lists that were doubled twice gained less.
_ENOUGH, _ASKED, _GAIN = 0.999, 0.985, 0.0005
#: Vectors that are compared with the questions at once, which bounds the scores in memory.
_COMPARED = 1 << 12


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
        StoreError: The vectors are too few for codes.
    """
    num_vectors, width = source.shape
    index = _empty_index(kind, num_vectors, width, seed)
    least = _LEAST_SQ if kind == "sq" else _LEAST_CODED
    if num_vectors < least:
        raise StoreError(
            f"Codes {kind} need at least {least} vectors, got {num_vectors}; so few are searched "
            "exactly as they are: give compact a larger least."
        )
    random = np.random.default_rng(seed)
    num_lists = int(load_faiss().extract_index_ivf(index).nlist)
    wanted = min(num_vectors, max(_LEAST_TRAINING, _TRAINING_PER_LIST * num_lists))
    sample = source.take(np.sort(random.choice(num_vectors, wanted, replace=False)))
    filler = _Filler(index, sample, seed)
    # The sample is in the order of the rows: its first would all be of one video.
    mixed = random.permutation(len(sample))[:MEAN_SAMPLE]
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

    They are looked for in a few principal directions, which takes a fourth of the time; a vector
    between two lists may get the other.
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
        centroids = find_centroids(self._across(sample), int(self._lists.nlist), seed)
        self._lists.quantizer.train(centroids)
        self._lists.quantizer.add(centroids)
        self._lists.train(sample)  # the codes alone: the lists have their centroids
        index.is_trained = True
        self._directions = principal_directions(sample)
        self._centroids: Floats = centroids @ self._directions

    def _across(self, sample: Floats) -> Floats:
        """Return moved vectors without what they have of the mean's direction.

        A question by a picture is mostly the mean that all pictures share. Lists of vectors that
        have nothing else in common point there too, and would be the nearest to each of them.
        """
        mean = self._mean[None]
        if self._rotation is not None:
            mean = self._rotation.apply(mean)
        along = (mean / max(float(np.linalg.norm(mean)), 1e-12)).astype(np.float32)
        across: Floats = sample - (sample @ along.T) * along
        return across

    def add(self, block: Floats) -> None:
        faiss = load_faiss()
        moved: Floats = block - self._mean
        if self._rotation is not None:
            moved = self._rotation.apply(moved)
        nearest, _ = nearest_centroids(moved @ self._directions, self._centroids)
        pointers = faiss.swig_ptr(moved), None, faiss.swig_ptr(nearest)
        self._lists.add_core(len(moved), *pointers)
        self._index.ntotal = self._lists.ntotal


def _blocks(source: VectorSource) -> Iterator[tuple[int, Floats]]:
    for first in range(0, source.shape[0], _BLOCK):
        yield first, source.take(np.arange(first, min(first + _BLOCK, source.shape[0])))


class _Truth:
    """The rows nearest to some queries, of blocks that come one after the other."""

    def __init__(self, queries: Floats) -> None:
        self._queries = queries
        self._scores = np.full((len(queries), _NEIGHBOURS), -np.inf, np.float32)
        self._rows = np.full((len(queries), _NEIGHBOURS), -1, np.int64)

    @property
    def rows(self) -> Places:
        """(Q, K) the rows, best first."""
        return self._rows[:, (self._rows >= 0).all(axis=0)]

    def add(self, first: int, block: Floats) -> None:
        for start in range(0, len(block), _COMPARED):
            scores = self._queries @ block[start : start + _COMPARED].T
            for query in np.flatnonzero(scores.max(axis=1) > self._scores[:, -1]):
                [better] = np.nonzero(scores[query] > self._scores[query, -1])
                found = np.concatenate([self._scores[query], scores[query, better]])
                rows = np.concatenate([self._rows[query], better + first + start])
                order = np.argsort(-found, kind="stable")[:_NEIGHBOURS]
                self._scores[query], self._rows[query] = found[order], rows[order]


def _calibrate(
    index: Any, rows: Int8Rows, queries: Floats, truth: Places, num_lists: int
) -> tuple[int, Calibration]:
    """Measure recall for 1, 2, 4, ... lists, with as many candidates as lose little of it."""
    most = min(_FACTORS[-1] * truth.shape[1], rows.shape[0])
    recalls: dict[int, list[Shares]] = {factor: [] for factor in _FACTORS}
    probes: list[int] = []
    means: list[float] = []
    for power in range(max(1, num_lists.bit_length() - 1)):
        probes.append(1 << power)
        found, _ = probe(index, queries, probes[-1], most)
        for factor, shares in zip(_FACTORS, _recalls(rows, queries, found, truth), strict=True):
            recalls[factor].append(shares)
        reached = recalls[_FACTORS[-1]][-1]
        means.append(float(reached.mean()))
        is_stuck = len(means) > 2 and means[-1] - means[-3] < _GAIN
        if means[-1] >= _ENOUGH or (is_stuck and safe_recall(reached) >= _ASKED):
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
    least = [safe_recall(shares) for shares in recalls[factor]]
    measured = zip(probes, np.maximum.accumulate(least).tolist(), strict=True)
    return factor, (*measured, (num_lists, 1.0))


def _recalls(rows: Int8Rows, queries: Floats, found: Places, truth: Places) -> Shares:
    """Return the share of each query's true rows among its first candidates, scored again.

    (F, Q), a row for each of `_FACTORS`. The candidates of a smaller one are the first of a larger.
    """
    wanted_each = truth.shape[1]
    hits = np.zeros((len(_FACTORS), len(queries)))
    for query, (candidates, wanted) in enumerate(zip(found, truth, strict=True)):
        places = candidates[candidates >= 0]
        scores = rows.scores(queries[query], places)
        for row, factor in enumerate(_FACTORS):
            first = factor * wanted_each
            best, _ = best_of(places[:first], scores[:first], wanted_each)
            hits[row, query] = len(np.intersect1d(best, wanted, assume_unique=True))
    shares: Shares = hits / wanted_each
    return shares


def safe_recall(shares: Shares) -> float:
    """Return a recall that is reached nineteen times in twenty, by the kind that is served worst.

    One question whose neighbours are in a list that is not probed finds none of them, so a mean
    of few questions says little: it is less its error, and each kind has 256.

    Args:
        shares: (Q,) of the true nearest that were found for each of `probe_queries`.
    """
    return min(
        float(some.mean() - _ERRORS * some.std() / len(some) ** 0.5)
        for some in np.array_split(shares, 2)
    )
