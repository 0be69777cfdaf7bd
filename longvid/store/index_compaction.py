"""Join the parts of a search index into few large ones of quantised codes."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from longvid.store.faiss_index import EXACT_BELOW
from longvid.store.index_rows import Rows
from longvid.store.index_shard import Part, make_quantized_part
from longvid.store.objects import Objects

Floats = npt.NDArray[np.float32]

#: Vectors of one quantised part: building it takes some 2 GB, and a killed compaction loses no more
#: than one of them.
LARGEST_QUANTIZED = 1 << 22


class _AliveVectors:
    """The vectors of parts that may be found, end to end."""

    def __init__(self, parts: Sequence[Part]) -> None:
        self._parts = parts
        self._alive = [part.rows_alive() for part in parts]
        self._ends = np.cumsum([len(rows) for rows in self._alive])

    @property
    def shape(self) -> tuple[int, int]:
        return int(self._ends[-1]), self._parts[0].nearest.shape[1]

    def take(self, rows: npt.NDArray[np.int64]) -> Floats:
        bounds = [0, *np.searchsorted(rows, self._ends).tolist()]
        starts = self._ends - [len(alive) for alive in self._alive]
        pieces = []
        for part, alive, start, (first, last) in zip(
            self._parts, self._alive, starts, itertools.pairwise(bounds), strict=True
        ):
            if first < last:
                pieces.append(part.nearest.vectors(alive[rows[first:last] - start]))
        return np.concatenate(pieces)


def groups_to_compact(
    parts: Sequence[Part], *, least: int = EXACT_BELOW, largest: int = LARGEST_QUANTIZED
) -> Iterator[list[Part]]:
    """Yield groups of parts that are worth one quantised part each.

    A quantised part of half the largest size or more, all of whose rows are alive, stays.

    Args:
        parts: Of an index.
        least: Fewer vectors are searched exactly, so they stay as they are.
        largest: Vectors of a group, unless one part alone has more.
    """
    group: list[Part] = []
    for part in parts:
        if part.is_quantized and part.allowed is None and 2 * part.num_alive >= largest:
            continue
        if group and sum(one.num_alive for one in group) + part.num_alive > largest:
            yield from _worthwhile(group, least)
            group = []
        group.append(part)
    yield from _worthwhile(group, least)


def _worthwhile(group: list[Part], least: int) -> Iterator[list[Part]]:
    alone = len(group) == 1 and group[0].is_quantized and group[0].allowed is None
    if sum(part.num_alive for part in group) >= least and not alone:
        yield group


def compacted(objects: Objects, group: Sequence[Part], kind: str) -> Part:
    """Make one quantised part of the living rows of several, and write it.

    Args:
        objects: Of the store.
        group: Parts that are in the store.
        kind: Of the codes, one of `quantized_build.KINDS`.
    """
    rows = Rows.concatenate([part.rows.take(part.rows_alive()) for part in group])
    return make_quantized_part(objects, rows, _AliveVectors(group), kind)
