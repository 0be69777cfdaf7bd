"""The k vectors nearest to a query, by FAISS: exact when few, inverted lists when many.

This is the only module that calls FAISS. It knows vectors and row numbers, not segments.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from longvid.errors import StoreError
from longvid.store.index_rows import Calibration

Floats = npt.NDArray[np.float32]

#: From this many vectors on, an index trades exactness for speed.
EXACT_BELOW = 100_000

_NEIGHBOURS = 50
#: Recall is measured with so many questions about one picture, and as many about two.
_PICTURES = 256
#: Vectors whose mean stands for that of all, and among which each question's nearest is found.
MEAN_SAMPLE = 8192
_TRAINING_PER_LIST = 32
#: How far questions are turned away from what they are about: texts lie in another cone than
#: pictures.
_QUERY_COSINE = 0.4


def load_faiss() -> ModuleType:
    """Import FAISS.

    Raises:
        StoreError: It is not installed.
    """
    try:
        import faiss
    except (ImportError, RuntimeError) as error:  # the latter is faiss-gpu without CUDA
        raise StoreError(
            "Searching a store needs FAISS, which cannot be imported "
            f"({error}); run pip install faiss-cpu, or faiss-gpu where there are GPUs."
        ) from error
    module: ModuleType = faiss
    return module


@dataclass(slots=True, eq=False)
class NearestVectors:
    """A FAISS index and the recall it was measured to have."""

    index: Any
    calibration: Calibration = ()

    @property
    def shape(self) -> tuple[int, int]:
        return int(self.index.ntotal), int(self.index.d)

    @classmethod
    def read(cls, path: str, calibration: Calibration) -> NearestVectors | None:
        """Read an index file; None if it is not whole."""
        faiss = load_faiss()
        try:
            # Mapped, not copied: processes of one machine share its pages. FAISS before 1.11
            # cannot, and reads it into memory.
            index = faiss.read_index(path, getattr(faiss, "IO_FLAG_MMAP_IFC", 0))
        except RuntimeError:
            return None
        return cls(index, calibration)

    def write(self, path: str, *, uri: str) -> None:
        """Write an index file.

        Raises:
            StoreError: The disk is full, or refuses otherwise.
        """
        try:
            load_faiss().write_index(self.index, path)
        except RuntimeError as error:
            raise StoreError(
                f"The search index of the store {uri} could not be written ({error}); everything "
                "else is intact. Free some space and run the same command again."
            ) from error

    def vectors(self, rows: npt.NDArray[np.int64]) -> Floats:
        """Return the vectors at some rows, (K, E) float32."""
        found: Floats = self.index.reconstruct_batch(rows)
        return found

    def search(
        self,
        query: Floats,
        num_rows: int,
        allowed: npt.NDArray[np.bool_] | None = None,
        recall: float = 1.0,
    ) -> tuple[npt.NDArray[np.int64], Floats]:
        """Return rows and inner products, best first.

        Args:
            query: (E,) float32.
            num_rows: How many are wanted; fewer come back when no more are found.
            allowed: (rows,) bool, or None for all. What is not allowed is skipped, not sifted
                out afterwards.
            recall: See `num_probed`.
        """
        faiss = load_faiss()
        selector = None
        if allowed is not None:
            selector = faiss.IDSelectorBitmap(np.packbits(allowed, bitorder="little"))
        if self.calibration:
            num_probed = self.num_probed(recall)
            parameters = faiss.SearchParametersIVF(sel=selector, nprobe=num_probed)
        else:
            parameters = faiss.SearchParameters(sel=selector)
        scores, rows = self.index.search(query[None], num_rows, params=parameters)
        found = rows[0] >= 0
        return rows[0][found], scores[0][found]

    def num_probed(self, recall: float) -> int:
        """See `lists_probed`."""
        return lists_probed(self.calibration, recall)


def lists_probed(calibration: Calibration, recall: float) -> int:
    """Return the fewest lists that were measured to reach a recall; 1.0 means all lists.

    Raises:
        StoreError: The recall is no number.
    """
    require_recall(recall)
    if recall >= 1.0:
        return calibration[-1][0]
    return next(probed for probed, reached in calibration if reached >= recall)


def require_recall(recall: float) -> None:
    """Refuse a recall that is no number.

    Raises:
        StoreError: It is none.
    """
    if math.isnan(recall):
        raise StoreError(f"recall is {recall}; ask for a share from 0 to 1.")


def build_index(vectors: Floats, *, exact_below: int, seed: int = 0) -> NearestVectors:
    """Index vectors: flat below `exact_below`, else inverted lists with measured recall.

    Lists are made on GPUs where faiss-gpu is installed and sees any.

    Args:
        vectors: (V, E) float32.
        exact_below: From how many vectors on lists are used.
        seed: Of the training sample and the queries that measure recall.
    """
    faiss = load_faiss()
    num_vectors, width = vectors.shape
    flat = faiss.IndexFlatIP(width)
    if num_vectors < exact_below:
        flat.add(vectors)
        return NearestVectors(flat)
    random = np.random.default_rng(seed)
    # About 4 sqrt(V), as FAISS advises: with fewer, subjects that share a list hide each other.
    num_lists = 1 << round(np.log2(4 * np.sqrt(num_vectors)))
    index = faiss.IndexIVFFlat(flat, width, num_lists, faiss.METRIC_INNER_PRODUCT)
    index.cp.seed = seed + 1
    sample = random.choice(
        num_vectors, min(num_vectors, _TRAINING_PER_LIST * num_lists), replace=False
    )
    index.cp.min_points_per_centroid = 1
    fill = _fill_on_gpus if faiss.get_num_gpus() else _fill
    fill(index, vectors[np.sort(sample)], vectors)
    index.make_direct_map()
    return NearestVectors(index, _calibrate(index, vectors, num_lists, random))


def _fill(index: Any, sample: Floats, vectors: Floats) -> None:
    """Find the lists' centroids by a sample, and put every vector into the nearest list."""
    index.train(sample)
    index.add(vectors)


def _fill_on_gpus(index: Any, sample: Floats, vectors: Floats) -> None:
    """Do what `_fill` does with the nearest centroids found on all GPUs, which is nearly all of it.

    faiss-gpu is needed. The index itself stays where it is: whoever searches maps it from its
    file, and a GPU's memory belongs to the models.
    """
    faiss = load_faiss()
    centroids = faiss.index_cpu_to_all_gpus(faiss.IndexFlatIP(index.d))
    index.clustering_index = centroids
    index.train(sample)
    index.clustering_index = None  # it would outlive what it points to
    _, nearest = faiss.index_cpu_to_all_gpus(index.quantizer).search(vectors, 1)
    lists = np.ascontiguousarray(nearest[:, 0])
    index.add_core(len(vectors), faiss.swig_ptr(vectors), None, faiss.swig_ptr(lists))


def _calibrate(
    index: Any, vectors: Floats, num_lists: int, random: np.random.Generator
) -> Calibration:
    """Measure the recall of the 50 nearest for 1, 2, 4, ... lists probed."""
    faiss = load_faiss()
    sample = vectors[random.choice(len(vectors), min(len(vectors), MEAN_SAMPLE), replace=False)]
    queries = probe_queries(sample, random, _QUERY_COSINE)
    wanted = min(_NEIGHBOURS, len(vectors))
    _, truth = faiss.knn(queries, vectors, wanted, metric=faiss.METRIC_INNER_PRODUCT)
    calibration = []
    num_probed = 1
    while num_probed < num_lists:
        parameters = faiss.SearchParametersIVF(nprobe=num_probed)
        _, found = index.search(queries, wanted, params=parameters)
        hits = sum(len(np.intersect1d(a, b)) for a, b in zip(truth, found, strict=True))
        calibration.append((num_probed, hits / truth.size))
        num_probed *= 2
    return (*calibration, (num_lists, 1.0))


def probe_queries(sample: Floats, random: np.random.Generator, cosine: float) -> Floats:
    """Return questions that are hard to serve, to measure recall with: (Q, E) float32.

    The first half are pictures: each is a stored one turned away from what sets it apart, and has
    the mean of all pictures in it. The others are texts, which lie elsewhere: about what two
    pictures have in common less the mean.

    Args:
        sample: (S, E) float32, stored vectors in a random order; the first become questions.
        random: Turns them away.
        cosine: How far.
    """
    mean = sample[:MEAN_SAMPLE].mean(axis=0)
    moved = sample - mean
    lengths = np.linalg.norm(moved[:_PICTURES], axis=1, keepdims=True)
    moved = _unit(moved)
    pictures = moved[:_PICTURES]
    likeness = pictures @ moved.T
    np.fill_diagonal(likeness, -1)
    about = np.concatenate([pictures, _unit(pictures + moved[likeness.argmax(axis=1)])])
    noise = random.standard_normal(about.shape, dtype=np.float32)
    queries: Floats = (cosine * about + np.sqrt(1 - cosine**2) * _unit(noise)).astype(np.float32)
    queries[: len(pictures)] += (cosine / np.maximum(lengths, 1e-12)) * mean
    return queries


def _unit(vectors: Floats) -> Floats:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: Floats = vectors / np.maximum(lengths, 1e-12)
    return unit
