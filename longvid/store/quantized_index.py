"""The k nearest of many vectors in little memory: quantised codes propose, int8 vectors decide.

Inverted lists of codes are probed for candidates, which are scored again from the vectors
themselves. Those are kept as int8 rows, each with its scale, in a file that is mapped: a search
reads the rows of its candidates and no others. How many lists and candidates a recall takes is
measured against the vectors as they were given, while the index is built.

The only other module that calls FAISS is `faiss_index`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from longvid.errors import ConfigError
from longvid.store.faiss_index import load_faiss, probe_queries
from longvid.store.index_rows import Calibration

__all__ = [
    "KINDS",
    "Int8Rows",
    "QuantizedVectors",
    "VectorSource",
    "build_quantized",
    "require_codes",
]

Floats = npt.NDArray[np.float32]
Places = npt.NDArray[np.int64]

#: Codes of FAISS by name: product quantisation to a byte for 8 dimensions, the same after a learned
#: rotation (OPQ), and a byte a dimension.
KINDS = {"pq": "IVF{lists}_HNSW32,PQ{bytes}", "opq": "OPQ{bytes},IVF{lists}_HNSW32,PQ{bytes}",
         "sq": "IVF{lists}_HNSW32,SQ8"}  # fmt: skip
_DIMENSIONS_A_BYTE = 8
_NEIGHBOURS = 50
_TRAINING_PER_LIST = 20
_CLUSTERING_ROUNDS = 8
_ROTATION_ROUNDS = 10
#: Product quantisers learn 256 centroids for every byte of a code.
_LEAST_TRAINING = 1024
_BLOCK = 1 << 15
#: Candidates for each row wanted, least first. The first that loses little of the recall is kept.
_FACTORS = (4, 8, 16, 32, 64)
_LITTLE_LOST = 0.005
#: Fewer allowed rows than this are all compared: codes would have to be probed widely for them.
_SCANNED_BELOW = 1 << 15


class VectorSource(Protocol):
    """Vectors that are read in parts."""

    @property
    def shape(self) -> tuple[int, int]:
        """How many of which width."""

    def take(self, rows: Places) -> Floats:
        """Return the vectors of some sorted rows, (K, E) float32."""


class Int8Rows:
    """Vectors as int8, each with the scale that gives it back, in a mapped file.

    The file holds (V, E) int8, then (V,) float32 scales, little-endian.

    Args:
        path: Of the file.
        shape: (V, E).
    """

    def __init__(self, path: str, shape: tuple[int, int]) -> None:
        self.shape = shape
        self._codes = np.memmap(path, np.int8, "r", 0, shape)
        self._scales = np.memmap(path, "<f4", "r", shape[0] * shape[1], (shape[0],))

    @staticmethod
    def num_bytes(shape: tuple[int, int]) -> int:
        """Return the size of a file of that many vectors."""
        return shape[0] * (shape[1] + 4)

    def vectors(self, rows: Places) -> Floats:
        """Return the vectors of some rows, (K, E) float32."""
        found: Floats = self._codes[rows].astype(np.float32) * self._scales[rows, None]
        return found

    def scores(self, query: Floats, rows: Places) -> Floats:
        """Return the inner products of some rows and a query, (K,) float32."""
        found: Floats = (self._codes[rows].astype(np.float32) @ query) * self._scales[rows]
        return found


class _Int8Writer:
    """Writes what `Int8Rows` reads, block by block."""

    def __init__(self, path: str) -> None:
        self._file = open(path, "wb")  # noqa: SIM115  closed by `close`
        self._scales: list[Floats] = []

    def add(self, vectors: Floats) -> None:
        scales = np.abs(vectors).max(axis=1) / 127
        codes = np.rint(vectors / np.maximum(scales, 1e-12)[:, None]).astype(np.int8)
        self._file.write(codes.tobytes())
        self._scales.append(scales.astype("<f4"))

    def close(self) -> None:
        self._file.write(np.concatenate(self._scales).tobytes())
        self._file.close()


@dataclass(slots=True, eq=False)
class QuantizedVectors:
    """Codes, the vectors they stand for, and the recall that was measured.

    Args:
        index: Of FAISS.
        rows: The vectors.
        calibration: (lists probed, recall) pairs; the last is the recall 1.0 of comparing all.
        factor: Candidates scored again for each row that is wanted.
    """

    index: Any
    rows: Int8Rows
    calibration: Calibration
    factor: int

    @property
    def shape(self) -> tuple[int, int]:
        """How many vectors of which width."""
        return self.rows.shape

    @classmethod
    def read(
        cls, path: str, rows: Int8Rows, calibration: Calibration, factor: int
    ) -> QuantizedVectors | None:
        """Map an index file; None if it is not whole or of other vectors."""
        faiss = load_faiss()
        try:
            index = faiss.read_index(path, faiss.IO_FLAG_MMAP)
        except RuntimeError:
            return None
        if (int(index.ntotal), int(index.d)) != rows.shape:
            return None
        return cls(index, rows, calibration, factor)

    def vectors(self, rows: Places) -> Floats:
        """Return the vectors at some rows, (K, E) float32, off by at most half an int8 step."""
        return self.rows.vectors(rows)

    def search(
        self,
        query: Floats,
        num_rows: int,
        allowed: npt.NDArray[np.bool_] | None = None,
        recall: float = 1.0,
    ) -> tuple[Places, Floats]:
        """Return rows and inner products, best first.

        Args:
            query: (E,) float32.
            num_rows: How many are wanted; fewer come back when no more are found.
            allowed: (rows,) bool, or None for all.
            recall: Share of the true nearest to be found, as measured; 1.0, or more than was
                measured for any number of lists, compares the query with every allowed row.
        """
        few = allowed is not None and int(allowed.sum()) <= max(_SCANNED_BELOW, num_rows)
        num_probed = self.num_probed(recall)
        if few or num_probed == self.calibration[-1][0]:
            rows = np.arange(self.shape[0]) if allowed is None else np.flatnonzero(allowed)
            return self._scan(query, num_rows, rows)
        most = num_rows * self.factor
        rows = _probe(self.index, query[None], num_probed, most, allowed)[0][0]
        rows = np.sort(rows[rows >= 0])  # in the order of the file
        return _best(rows, self.rows.scores(query, rows), num_rows)

    def by_codes(self, query: Floats, num_rows: int, recall: float) -> tuple[Places, Floats]:
        """Return rows and the scores of their codes, which are rough: a search's first half."""
        found, scores = _probe(self.index, query[None], self.num_probed(recall), num_rows)
        return found[0], scores[0]

    def num_probed(self, recall: float) -> int:
        """Return the fewest lists that were measured to reach a recall; 1.0 means all lists."""
        if recall >= 1.0:
            return self.calibration[-1][0]
        return next(probed for probed, reached in self.calibration if reached >= recall)

    def _scan(self, query: Floats, num_rows: int, rows: Places) -> tuple[Places, Floats]:
        """Compare a query with rows one by one: the slow twin of probing lists."""
        best_rows, best_scores = np.empty(0, np.int64), np.empty(0, np.float32)
        for first in range(0, len(rows), _BLOCK):
            block = rows[first : first + _BLOCK]
            best_rows, best_scores = _best(
                np.concatenate([best_rows, block]),
                np.concatenate([best_scores, self.rows.scores(query, block)]),
                num_rows,
            )
        return best_rows, best_scores


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
    index.train(sample)
    queries = probe_queries(sample, random)
    del sample
    truth = _Truth(queries)
    writer = _Int8Writer(rows_path)
    for first, block in _blocks(source):
        index.add(block)
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
    num_lists = 1 << round(np.log2(4 * np.sqrt(num_vectors)))
    text = KINDS[kind].format(lists=num_lists, bytes=width // _DIMENSIONS_A_BYTE)
    index = faiss.index_factory(width, text, faiss.METRIC_INNER_PRODUCT)
    lists = faiss.extract_index_ivf(index)
    lists.cp.seed = seed + 1
    lists.cp.niter = _CLUSTERING_ROUNDS
    lists.cp.min_points_per_centroid = 1
    if kind != "sq":
        faiss.downcast_index(lists).pq.cp.min_points_per_centroid = 1
    if kind == "opq":
        faiss.downcast_VectorTransform(index.chain.at(0)).niter = _ROTATION_ROUNDS
    return index


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
    """Measure recall for 1, 2, 4, ... lists, with as many candidates as lose little of it."""
    probes = [1 << power for power in range(num_lists.bit_length() - 1)] or [1]
    most = min(_FACTORS[-1] * truth.shape[1], rows.shape[0])
    recalls: dict[int, list[float]] = {}
    for probed in probes:
        found, _ = _probe(index, queries, probed, most)
        for factor in _FACTORS:
            recalls.setdefault(factor, []).append(
                _recall(rows, queries, found[:, : factor * truth.shape[1]], truth)
            )
    best = recalls[_FACTORS[-1]]
    factor = next(
        factor
        for factor in _FACTORS
        if all(b - r <= _LITTLE_LOST for b, r in zip(best, recalls[factor], strict=True))
    )
    measured = zip(probes, np.maximum.accumulate(recalls[factor]).tolist(), strict=True)
    return factor, (*measured, (num_lists, 1.0))


def _recall(rows: Int8Rows, queries: Floats, found: Places, truth: Places) -> float:
    """Return the share of the true rows among the best candidates, after scoring again."""
    hits = 0
    for query, candidates, wanted in zip(queries, found, truth, strict=True):
        places = candidates[candidates >= 0]
        best, _ = _best(places, rows.scores(query, places), len(wanted))
        hits += len(np.intersect1d(best, wanted))
    return hits / truth.size


def _probe(
    index: Any,
    queries: Floats,
    num_probed: int,
    num_rows: int,
    allowed: npt.NDArray[np.bool_] | None = None,
) -> tuple[Places, Floats]:
    """Return the rows of the best codes in some lists, and their scores.

    Returns:
        (B, K) int64, -1 where there are fewer, and (B, K) float32.
    """
    faiss = load_faiss()
    selector = None
    if allowed is not None:
        selector = faiss.IDSelectorBitmap(np.packbits(allowed, bitorder="little"))
    centroids = faiss.SearchParametersHNSW(efSearch=max(32, 2 * num_probed))
    parameters = faiss.SearchParametersIVF(
        sel=selector, nprobe=num_probed, quantizer_params=centroids
    )
    if isinstance(index, faiss.IndexPreTransform):
        parameters = faiss.SearchParametersPreTransform(index_params=parameters)
    scores, rows = index.search(queries, min(num_rows, int(index.ntotal)), params=parameters)
    return rows, scores


def _best(rows: Places, scores: Floats, num_rows: int) -> tuple[Places, Floats]:
    """Return the rows of the highest scores, best first, equal ones in order of row."""
    if len(rows) > num_rows:
        kept = np.argpartition(-scores, num_rows - 1)[:num_rows]
        rows, scores = rows[kept], scores[kept]
    order = np.lexsort((rows, -scores))
    return rows[order], scores[order]
