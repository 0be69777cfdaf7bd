"""The k nearest of many vectors in little memory: quantised codes propose, int8 vectors decide.

Inverted lists of codes are probed for candidates, which are scored again from the vectors
themselves. Those are kept as int8 rows, each with its scale, in a file that is mapped: a search
reads the rows of its candidates and no others. `quantized_build` makes them, and measures how many
lists and candidates a recall takes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from longvid.store.faiss_index import lists_probed, load_faiss
from longvid.store.index_rows import Calibration
from longvid.store.int8_rows import Int8Rows

Floats = npt.NDArray[np.float32]
Places = npt.NDArray[np.int64]

_BLOCK = 1 << 15
#: Fewer allowed rows than this are all compared: codes would have to be probed widely for them.
_SCANNED_BELOW = 1 << 15


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
            rows = None if allowed is None else np.flatnonzero(allowed)
            return self._scan(query, num_rows, rows)
        most = num_rows * self.factor
        rows = probe(self.index, query[None], num_probed, most, allowed)[0][0]
        rows = np.sort(rows[rows >= 0])  # in the order of the file
        return best_of(rows, self.rows.scores(query, rows), num_rows)

    def by_codes(self, query: Floats, num_rows: int, recall: float) -> tuple[Places, Floats]:
        """Return rows and the scores of their codes, which are rough: a search's first half."""
        found, scores = probe(self.index, query[None], self.num_probed(recall), num_rows)
        return found[0], scores[0]

    def num_probed(self, recall: float) -> int:
        """See `lists_probed`."""
        return lists_probed(self.calibration, recall)

    def _scan(self, query: Floats, num_rows: int, rows: Places | None) -> tuple[Places, Floats]:
        """Compare a query with rows one by one, None for all: the slow twin of probing lists."""
        best_rows, best_scores = np.empty(0, np.int64), np.empty(0, np.float32)
        count = self.shape[0] if rows is None else len(rows)
        for first in range(0, count, _BLOCK):
            last = min(first + _BLOCK, count)
            block = slice(first, last) if rows is None else rows[first:last]
            places = np.arange(first, last) if rows is None else rows[first:last]
            best_rows, best_scores = best_of(
                np.concatenate([best_rows, places]),
                np.concatenate([best_scores, self.rows.scores(query, block)]),
                num_rows,
            )
        return best_rows, best_scores


def probe(
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
    parameters = faiss.SearchParametersIVF(sel=selector, nprobe=num_probed)
    if isinstance(faiss.downcast_index(faiss.extract_index_ivf(index).quantizer), faiss.IndexHNSW):
        # Parts of before: their graph of centroids is looked through more widely than FAISS would.
        parameters.quantizer_params = faiss.SearchParametersHNSW(efSearch=max(64, 4 * num_probed))
    if isinstance(index, faiss.IndexPreTransform):
        parameters = faiss.SearchParametersPreTransform(index_params=parameters)
    scores, rows = index.search(queries, min(num_rows, int(index.ntotal)), params=parameters)
    return rows, scores


def best_of(rows: Places, scores: Floats, num_rows: int) -> tuple[Places, Floats]:
    """Return the rows of the highest scores, best first, equal ones in order of row."""
    if len(rows) > num_rows:
        kept = np.argpartition(-scores, num_rows - 1)[:num_rows]
        rows, scores = rows[kept], scores[kept]
    order = np.lexsort((rows, -scores))
    return rows[order], scores[order]
