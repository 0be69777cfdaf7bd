"""One immutable shard of the search index: vectors, and the segment each belongs to."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from longvid.errors import StoreError
from longvid.store.faiss_index import EXACT_BELOW, NearestVectors, build_index
from longvid.store.index_rows import Rows, TimeFilter, read_rows, write_rows
from longvid.store.int8_rows import Int8Rows
from longvid.store.layout import VECTORS
from longvid.store.objects import DamagedObjectError, Objects
from longvid.store.parquet import MAX_TABLE_BYTES
from longvid.store.quantized_build import VectorSource, build_quantized
from longvid.store.quantized_index import QuantizedVectors
from longvid.store.seal import seal_file

Floats = npt.NDArray[np.float32]
_Found = TypeVar("_Found")

#: FAISS may order scores that are closer than this either way; they are computed again.
_ROUNDING = 1e-5
_SPARE = 8
#: Names of parts begin so: those of segments, and those of whole videos.
STEMS = ("part", "videos")
#: Parts of fewer vectors together are searched sooner than threads are started.
_SIDE_BY_SIDE = 1 << 18
_NAME = re.compile(rf"{VECTORS}/({'|'.join(STEMS)})-[0-9a-z]+\.(faiss|int8|parquet)")


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
    nearest: NearestVectors | QuantizedVectors
    rows: Rows
    living: frozenset[str]
    allowed: npt.NDArray[np.bool_] | None
    stored: bool

    @property
    def is_quantized(self) -> bool:
        """Whether its vectors are searched by codes."""
        return isinstance(self.nearest, QuantizedVectors)

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
        self,
        query: Floats,
        num_rows: int,
        video_ids: Sequence[str],
        recall: float,
        times: TimeFilter | None = None,
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
        """Return at least the rows of the highest scores, and all that tie with the last.

        Equal vectors get equal scores in any place, because scores are computed again row
        by row in double precision: FAISS sums in an order that depends on the place.

        Args:
            query: (E,) float32.
            num_rows: Number wanted.
            video_ids: Restricts the search, which is then exact; empty means all rows.
            recall: As in `VectorIndex.search`.
            times: Restricts the search too, which is then exact; None for all times.
        """
        allowed = self.allowed
        if video_ids:
            allowed = self.rows.of_videos(self.living.intersection(video_ids))
            recall = 1.0
        if times is not None:
            inside = self.rows.within(times)
            allowed = inside if allowed is None else allowed & inside
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


def of_parts(parts: Sequence[Part], find: Callable[[Part], _Found]) -> list[_Found]:
    """Return what is found in each part; several that are large are searched side by side."""
    if sum(len(part.rows) for part in parts) < _SIDE_BY_SIDE or len(parts) < 2:
        return [find(part) for part in parts]
    with ThreadPoolExecutor(min(len(parts), os.cpu_count() or 1)) as pool:
        return list(pool.map(find, parts))


def make_part(
    objects: Objects, rows: Rows, vectors: Floats, *, keep: bool, stem: str = STEMS[0]
) -> Part:
    """Build a part and, if it is to be kept, write it: the index first, the table last."""
    nearest = build_index(vectors, exact_below=EXACT_BELOW)
    rows = replace(rows, calibration=nearest.calibration)
    name = f"{VECTORS}/{stem}-{_digest(rows)}"
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


def make_quantized_part(objects: Objects, rows: Rows, source: VectorSource, kind: str) -> Part:
    """Build a part of codes and write it: the vectors first, the table last.

    Args:
        objects: Of the store.
        rows: Which segment each vector belongs to.
        source: The vectors.
        kind: One of `quantized_build.KINDS`.

    Raises:
        ConfigError: The width does not suit the codes.
        StoreError: The store cannot be written.
    """
    name = f"{VECTORS}/{STEMS[0]}-{_digest(rows)}{kind}"
    sealed = [(0, ""), (0, "")]
    built: list[QuantizedVectors] = []

    def write_vectors(path: str) -> None:
        built.append(build_quantized(source, path, kind=kind))
        sealed[0] = seal_file(path)

    def write_codes(path: str) -> None:
        NearestVectors(built[0].index).write(path, uri=objects.uri)
        sealed[1] = seal_file(path)

    objects.write_file(f"{name}.int8", write_vectors)
    objects.write_file(f"{name}.faiss", write_codes)
    rows = replace(
        rows,
        calibration=built[0].calibration,
        factor=built[0].factor,
        codes_seal=sealed[0][1],
        index_bytes=sealed[1][0],
        index_seal=sealed[1][1],
    )
    built.clear()  # the codes are mapped from their file from here on
    objects.write(f"{name}.parquet", write_rows(rows))
    part = open_part(objects, name, source.shape[1])
    if part is None:
        raise StoreError(
            f"{name} of the store {objects.uri} could not be read back; free some space and run "
            "the same command again."
        )
    return part


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
            nearest = _read_index(objects, name, path, rows, width)
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
            if seal_file(path) != (rows.index_bytes, rows.index_seal):
                return False
        if not rows.factor:
            return True
        with objects.local_file(table.removesuffix(".parquet") + ".int8") as path:
            return seal_file(path)[1] == rows.codes_seal
    except FileNotFoundError:
        return False


def remove_parts(objects: Objects, names: Sequence[str]) -> None:
    """Remove the objects of parts: what makes each visible first."""
    objects.remove([f"{name}{end}" for name in names for end in (".parquet", ".faiss", ".int8")])


def _read_index(
    objects: Objects, name: str, path: str, rows: Rows, width: int
) -> NearestVectors | QuantizedVectors | None:
    """Read the index at a path; None if it is not whole.

    The file with the vectors of a quantised index is compared in size. Its seal is compared by
    `longvid store verify` alone: a search reads few of its rows, and reading all of them would take
    longer than anything that follows.
    """
    if not rows.factor:
        return NearestVectors.read(path, rows.calibration)
    shape = (len(rows), width)
    if objects.size(f"{name}.int8") != Int8Rows.num_bytes(shape):
        return None
    with objects.local_file(f"{name}.int8") as codes:
        stored = Int8Rows(codes, shape)
    return QuantizedVectors.read(path, stored, rows.calibration, rows.factor)


def _digest(rows: Rows) -> str:
    """Name a part by the videos it covers, so that equal parts are one object."""
    names = zip(rows.video_ids, rows.digests, strict=True)
    text = "\n".join(f"{video_id} {digest}" for video_id, digest in names)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
