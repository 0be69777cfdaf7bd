"""One immutable shard of the search index: vectors, and the segment each belongs to."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from longvid.store.faiss_index import EXACT_BELOW, NearestVectors, build_index
from longvid.store.index_rows import Rows, read_rows, write_rows
from longvid.store.layout import VECTORS
from longvid.store.objects import DamagedObjectError, Objects
from longvid.store.parquet import MAX_TABLE_BYTES
from longvid.store.seal import seal_file

__all__ = ["Part", "is_index_name", "make_part", "open_part", "part_is_whole", "remove_parts"]

Floats = npt.NDArray[np.float32]

#: FAISS may order scores that are closer than this either way; they are computed again.
_ROUNDING = 1e-5
_SPARE = 8
_NAME = re.compile(rf"{VECTORS}/part-[0-9a-z]+\.(faiss|parquet)")


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """One part in memory.

    Args:
        name: Of its objects, less their endings.
        nearest: The vectors.
        rows: Which segment each of them belongs to.
        living: The videos whose rows may be found.
        allowed: (rows,) bool, their rows; None when all of them are.
        stored: Whether it is kept in the store.
    """

    name: str
    nearest: NearestVectors
    rows: Rows
    living: frozenset[str]
    allowed: npt.NDArray[np.bool_] | None
    stored: bool

    @property
    def num_alive(self) -> int:
        """Number of rows that may be found."""
        return len(self.rows) if self.allowed is None else int(self.allowed.sum())

    def rows_alive(self) -> npt.NDArray[np.int64]:
        """Return the rows that may be found, in order."""
        if self.allowed is None:
            return np.arange(len(self.rows))
        return np.flatnonzero(self.allowed)

    def with_living(self, living: frozenset[str]) -> Part:
        """Return the part with other videos alive."""
        if living == self.living:
            return self
        whole = len(living) == len(self.rows.video_ids)
        allowed = None if whole else self.rows.of_videos(living)
        return replace(self, living=living, allowed=allowed)

    def search(
        self, query: Floats, num_rows: int, video_ids: Sequence[str], recall: float
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
        """Return at least the rows of the highest scores, and all that tie with the last.

        Equal vectors get equal scores in any place, because scores are computed again row
        by row in double precision: FAISS sums in an order that depends on the place.

        Args:
            query: (E,) float32.
            num_rows: Number wanted.
            video_ids: Restricts the search, which is then exact; empty means all rows.
            recall: As in `VectorIndex.search`.
        """
        allowed = self.allowed
        if video_ids:
            allowed = self.rows.of_videos(self.living.intersection(video_ids))
            recall = 1.0
        available = len(self.rows) if allowed is None else int(allowed.sum())
        if not available:
            # None of the wanted videos is in this part; FAISS cannot be asked for no rows.
            return np.empty(0, np.int64), np.empty(0, np.float32)
        wanted = min(num_rows, available)
        fetched = min(wanted + _SPARE, available)
        found, rough = self.nearest.search(query, fetched, allowed, recall)
        while (
            fetched < available
            and len(found) == fetched
            and rough[wanted - 1] - rough[-1] <= _ROUNDING
        ):
            fetched = min(2 * fetched, available)
            found, rough = self.nearest.search(query, fetched, allowed, recall)
        products = self.nearest.vectors(found).astype(np.float64) * query.astype(np.float64)
        return found, products.sum(axis=1).astype(np.float32)


def make_part(objects: Objects, rows: Rows, vectors: Floats, *, keep: bool) -> Part:
    """Build a part and, if it is to be kept, write it: the index first, the table last."""
    nearest = build_index(vectors, exact_below=EXACT_BELOW)
    rows = replace(rows, calibration=nearest.calibration)
    name = f"{VECTORS}/part-{_digest(rows)}"
    if keep:
        sealed = (0, "")

        def produce(path: str) -> None:
            nonlocal sealed
            nearest.write(path, uri=objects.uri)
            sealed = seal_file(path)

        objects.write_file(f"{name}.faiss", produce)
        rows = replace(rows, index_bytes=sealed[0], index_seal=sealed[1])
        objects.write(f"{name}.parquet", write_rows(rows))
    return Part(name, nearest, rows, frozenset(rows.video_ids), None, keep)


def open_part(objects: Objects, name: str, width: int) -> Part | None:
    """Read a part; None when it is gone, damaged or without seals, and is to be made anew."""
    try:
        data = objects.read(f"{name}.parquet", max_bytes=MAX_TABLE_BYTES)
        rows = None if data is None else read_rows(data)
        if rows is None or objects.size(f"{name}.faiss") != rows.index_bytes:
            return None
        with objects.local_file(f"{name}.faiss") as path:
            if seal_file(path) != (rows.index_bytes, rows.index_seal):
                return None
            nearest = NearestVectors.read(path, rows.calibration)
    except (FileNotFoundError, DamagedObjectError):
        return None
    if nearest is None or nearest.shape != (len(rows), width):
        return None
    return Part(name, nearest, rows, frozenset(rows.video_ids), None, True)


def is_index_name(name: str) -> bool:
    """Tell whether an object of this name belongs to the search index."""
    return _NAME.fullmatch(name) is not None


def part_is_whole(objects: Objects, table: str) -> bool:
    """Compare the index beside a whole table with its seal; one without a seal passes."""
    try:
        data = objects.read(table, max_bytes=MAX_TABLE_BYTES)
        rows = None if data is None else read_rows(data)
        if rows is None:
            return True
        index = table.removesuffix(".parquet") + ".faiss"
        if objects.size(index) != rows.index_bytes:
            return False
        with objects.local_file(index) as path:
            return seal_file(path) == (rows.index_bytes, rows.index_seal)
    except FileNotFoundError:
        return False


def remove_parts(objects: Objects, names: Sequence[str]) -> None:
    """Remove the objects of parts: what makes each visible first."""
    objects.remove([f"{name}{end}" for name in names for end in (".parquet", ".faiss")])


def _digest(rows: Rows) -> str:
    """Name a part by the videos it covers, so that equal parts are one object."""
    names = zip(rows.video_ids, rows.digests, strict=True)
    text = "\n".join(f"{video_id} {digest}" for video_id, digest in names)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
