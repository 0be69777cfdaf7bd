"""Vectors as int8 rows, each with its scale, in a file that is mapped.

A store of `store.embeddings = "int8"` keeps its search vectors so, and they come back as they were.
Those of float types are rounded: a value by at most half a step, max(abs(row)) / 254, and a score
by about 0.0005.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Places = npt.NDArray[np.int64]

_AT_ONCE = 512


class Int8Rows:
    """Vectors as int8, each with the scale that gives it back, in a mapped file.

    The file holds (V, E) int8, then (V,) float32 scales, little-endian.
    """

    def __init__(self, path: str, shape: tuple[int, int]) -> None:
        self.shape = shape
        # Plain arrays over the mapping: numpy's own class for it costs more than a small search.
        self._codes = np.asarray(np.memmap(path, np.int8, "r", 0, shape))
        self._scales = np.asarray(np.memmap(path, "<f4", "r", shape[0] * shape[1], (shape[0],)))

    @staticmethod
    def num_bytes(shape: tuple[int, int]) -> int:
        """Return the size of a file of that many vectors."""
        return shape[0] * (shape[1] + 4)

    def vectors(self, rows: Places) -> Floats:
        """Return the vectors of some rows, (K, E) float32."""
        found: Floats = self._codes[rows].astype(np.float32) * self._scales[rows, None]
        return found

    def scores(self, query: Floats, rows: Places | slice) -> Floats:
        """Return the inner products of some rows and a query, (K,) float32."""
        vectors = self._codes[rows].astype(np.float32)
        # A product by BLAS wakes its threads, and waits 30 ms for them where others keep the
        # processor busy: too long for the few candidates of a search.
        products = vectors @ query if isinstance(rows, slice) else np.einsum("ij,j", vectors, query)
        found: Floats = products * self._scales[rows]
        return found


def to_int8(vectors: Floats) -> tuple[npt.NDArray[np.int8], Floats]:
    """Return vectors as int8 with the scale of each; those that a store keeps so come back as are.

    Args:
        vectors: (K, E) float32.

    Returns:
        (K, E) int8 and (K,) float32, whose product is off by at most half a scale.
    """
    scales: Floats = np.maximum(vectors.max(axis=1), -vectors.min(axis=1)) / np.float32(127)
    steps = 1 / np.maximum(scales, np.float32(1e-12))
    codes = np.empty(vectors.shape, np.int8)
    for first in range(0, len(vectors), _AT_ONCE):  # what the processor's own memory holds
        some = slice(first, first + _AT_ONCE)
        np.rint(vectors[some] * steps[some, None], out=codes[some], casting="unsafe")
    return codes, scales


class Int8Writer:
    """Writes what `Int8Rows` reads, block by block."""

    def __init__(self, path: str) -> None:
        """Begin the file; `close` ends it."""
        self._file = open(path, "wb")  # noqa: SIM115  closed by `close`
        self._scales: list[Floats] = []

    def add(self, vectors: Floats) -> None:
        """Write some more vectors, (K, E) float32."""
        codes, scales = to_int8(vectors)
        self._file.write(codes.data)
        self._scales.append(scales.astype("<f4"))

    def close(self) -> None:
        self._file.write(np.concatenate(self._scales).tobytes())
        self._file.close()
