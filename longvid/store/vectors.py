"""Find segments by inner product: a FAISS index over the segments' search vectors.

The index is a set of immutable parts: `vectors/part-*.faiss`, and beside it a `.parquet` table of
the segment that each row belongs to, with the seal of both. A part that does not fit its seals is
made anew. A refresh adds a part for what is new and merges small parts now and then, so adding to
a large store is cheap, and two processes that refresh at once only repeat each other's work. Rows
whose manifest is gone or replaced are dead: searches skip them, and a part with many of them is
made anew. A video with a damaged chunk is left out and named, and the others are found.

Parts under 100 000 vectors are searched exactly. Larger ones are inverted files (IVF) that
carry the recall measured when they were built, for each number of lists probed. Where a million
float vectors are too much, `compact` makes parts of quantised codes of them, with the vectors as
int8 in a mapped file (`quantized_index`); such a part is made anew by `compact` alone.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from longvid.errors import StoreError
from longvid.store.index_compaction import LARGEST_QUANTIZED, compacted, groups_to_compact
from longvid.store.index_rows import Rows, TimeFilter
from longvid.store.index_shard import (
    STEMS,
    Part,
    is_index_name,
    make_part,
    of_parts,
    open_part,
    remove_parts,
)
from longvid.store.layout import VECTORS
from longvid.store.objects import Objects
from longvid.store.segment_vectors import LARGEST_PART

Floats = npt.NDArray[np.float32]

#: Parts of one size class are merged when there are this many of them.
_FAN_OUT = 8
#: A part is made anew when this share of its rows is dead.
_DEAD_SHARE = 0.25


@dataclass(frozen=True, slots=True)
class Hit:
    """A segment found, with the inner product of its best vector and the query."""

    video_id: str
    segment_index: int
    start_seconds: float
    end_seconds: float
    score: float

    @property
    def key(self) -> tuple[str, int]:
        """Video and index, which name the segment."""
        return self.video_id, self.segment_index


@dataclass(frozen=True, slots=True)
class _State:
    """Parts, and the videos they cover by manifest checksum. Replaced, never changed.

    `left_out` has a sentence for each video that is damaged, and so in no part.
    """

    parts: tuple[Part, ...] = ()
    manifests: Mapping[str, str] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)


#: Gives rows and vectors of some videos, a part's worth at a time. Its arguments are their ids, the
#: checksum of each manifest by id, and where it puts a sentence for each video that is damaged.
Gather = Callable[[Sequence[str], Mapping[str, str], dict[str, str]], Iterable[tuple[Rows, Floats]]]


class VectorIndex:
    """A search index of a store. Searches go on, on the parts there were, while it refreshes.

    Args:
        objects: Of the store.
        width: E.
        gather: Reads the vectors of videos that are in no part.
        stem: What the names of its parts begin with, one of `index_shard.STEMS`.
    """

    def __init__(
        self, objects: Objects, width: int, gather: Gather, *, stem: str = STEMS[0]
    ) -> None:
        self._objects = objects
        self._width = width
        self._gather = gather
        self._stem = stem
        self._state = _State()

    def covers(self, manifests: Mapping[str, str]) -> bool:
        """Tell whether the index covers exactly these videos, by manifest checksum."""
        return self._state.manifests == manifests

    @property
    def left_out(self) -> Mapping[str, str]:
        """A sentence for each video that cannot be searched, because it is damaged."""
        return self._state.left_out

    def refresh(self, manifests: Mapping[str, str], *, keep: bool) -> None:
        """Cover exactly these videos.

        Args:
            manifests: Checksum of the manifest by video id.
            keep: Write new parts to the store and remove those that are no longer needed;
                otherwise the store is only read and new parts live in memory.

        Raises:
            StoreError: FAISS is not installed, or the store refuses.
        """
        adopted, unusable = self._adopt(keep)
        parts = _mark_alive(adopted, manifests)
        covered = {video_id for part in parts for video_id in part.living}
        missing = sorted(manifests.keys() - covered)
        left_out: dict[str, str] = {}
        for rows, vectors in self._gather(missing, manifests, left_out):
            parts.append(make_part(self._objects, rows, vectors, keep=keep, stem=self._stem))
        dead = [part for part in parts if not part.num_alive]
        parts = [part for part in parts if part.num_alive]
        while group := _group_to_merge([part for part in parts if keep or not part.stored]):
            rows = Rows.concatenate([part.rows.take(part.rows_alive()) for part in group])
            vectors = np.concatenate([part.nearest.vectors(part.rows_alive()) for part in group])
            merged = make_part(self._objects, rows, vectors, keep=keep, stem=self._stem)
            dead += group
            parts = [*(part for part in parts if part not in group), merged]
        if keep:
            needed = {part.name for part in parts}
            gone = {part.name for part in dead} | unusable
            remove_parts(self._objects, sorted(gone - needed))
        self._state = _State(tuple(parts), dict(manifests), left_out)

    def compact(self, kind: str, *, least: int, largest: int = LARGEST_QUANTIZED) -> int:
        """Replace parts by few large ones of quantised codes, one after the other.

        Each is in the store and searched before the next is begun, so a compaction that was
        killed goes on where it was, and searches go on meanwhile.

        Args:
            kind: Of the codes, one of `quantized_build.KINDS`.
            least, largest: Vectors of a part that is made.

        Returns:
            How many parts were made.
        """
        stored = [part for part in self._state.parts if part.stored]
        groups = list(groups_to_compact(stored, least=least, largest=largest))
        for group in groups:
            made = compacted(self._objects, group, kind)
            kept = [part for part in self._state.parts if part not in group]
            self._state = replace(self._state, parts=(*kept, made))
            remove_parts(self._objects, [part.name for part in group if part.name != made.name])
        return len(groups)

    @property
    def num_vectors(self) -> int:
        return sum(part.num_alive for part in self._state.parts)

    def of_each(self, video_ids: Collection[str]) -> Iterator[tuple[Rows, Floats]]:
        """Yield the rows and vectors of some videos, one video after the other."""
        for part in self._state.parts:
            for place, video_id in enumerate(part.rows.video_ids):
                if video_id in part.living and video_id in video_ids:
                    rows = part.rows.of_place(place)
                    yield part.rows.take(rows), part.nearest.vectors(rows)

    def part_names(self) -> list[str]:
        """Return the names of the parts in the store, largest first."""
        stored = [part for part in self._state.parts if part.stored]
        return [part.name for part in sorted(stored, key=lambda part: -part.num_alive)]

    def clear(self) -> None:
        self._state = _State()
        listed = self._objects.listing(VECTORS, is_index_name)
        names = [i.name for i in listed if i.name.startswith(f"{VECTORS}/{self._stem}-")]
        # The table makes a part visible, so it goes first.
        self._objects.remove(sorted(names, key=lambda name: not name.endswith(".parquet")))

    def search(
        self,
        query: Floats,
        top_k: int,
        most_vectors: int,
        video_ids: Sequence[str],
        recall: float,
        times: TimeFilter | None = None,
    ) -> list[Hit]:
        """Return the best segments, best first; equal scores in order of video and segment.

        Args:
            query: (E,) float32.
            top_k: Segments wanted.
            most_vectors: How many vectors a segment can have at most.
            video_ids: Restricts the search, which is then exact; empty means everywhere.
            recall: Share of the true nearest that parts too large for exact search must find, as
                measured when they were built; 1.0 searches them exactly.
            times: Restricts the search, which is then exact; None for all times.
        """
        uri, parts = self._objects.uri, self._state.parts
        return search_parts(parts, uri, query, top_k, most_vectors, video_ids, recall, times)

    def _adopt(self, keep: bool) -> tuple[list[Part], set[str]]:
        """Return the parts in the store, with those in memory if the store gets no more.

        The second value names the parts in the store that are damaged or have no seals.
        """
        names = {
            info.name.removesuffix(".parquet")
            for info in self._objects.listing(VECTORS, is_index_name)
            if info.name.startswith(f"{VECTORS}/{self._stem}-") and info.name.endswith(".parquet")
        }
        opened = {part.name: part for part in self._state.parts if part.stored}
        parts, unusable = [], set()
        for name in sorted(names):
            part = opened.get(name) or open_part(self._objects, name, self._width)
            if part is None:
                unusable.add(name)
            else:
                parts.append(part)
        if not keep:
            parts += [part for part in self._state.parts if not part.stored]
        return parts, unusable


def search_parts(
    parts: Sequence[Part],
    uri: str,
    query: Floats,
    top_k: int,
    most_vectors: int,
    video_ids: Sequence[str],
    recall: float,
    times: TimeFilter | None = None,
) -> list[Hit]:
    """Search some parts of an index; arguments and result as of `VectorIndex.search`.

    Args:
        parts: All of an index, or those of a shard.
        uri: Of the store, for what is said of damage.

    Raises:
        StoreError: A score is no number.
    """

    def search(part: Part) -> tuple[npt.NDArray[np.int64], Floats]:
        return part.search(query, top_k * most_vectors, video_ids, recall, times)

    best: list[Hit] = []
    for part, (found, scores) in zip(parts, of_parts(parts, search), strict=True):
        if not np.isfinite(scores).all():
            raise StoreError(
                f"The search index of the store {uri} gave scores that are not numbers; make it "
                f"again with: longvid store rebuild --store {uri}"
            )
        rows = zip(found.tolist(), scores.tolist(), strict=True)
        best += [Hit(*part.rows.span(row), score) for row, score in rows]
    return best_hits(best, top_k)


def best_hits(hits: Iterable[Hit], top_k: int) -> list[Hit]:
    """Return the best hit of each segment, best first; equal scores in order of segment."""
    best: dict[tuple[str, int], Hit] = {}
    for hit in hits:
        key = hit.key
        if key not in best or best[key].score < hit.score:
            best[key] = hit
    in_order = sorted(best.values(), key=lambda hit: (-hit.score, hit.video_id, hit.segment_index))
    return in_order[:top_k]


def open_parts(
    objects: Objects, names: Sequence[str], width: int, manifests: Mapping[str, str]
) -> list[Part]:
    """Open some parts that are in a store, with the rows alive that its videos have.

    Raises:
        StoreError: One of them is gone or damaged.
    """
    parts = []
    for name in names:
        part = open_part(objects, name, width)
        if part is None:
            raise StoreError(
                f"{name} of the store {objects.uri} is missing or damaged; make the index again "
                f"with: longvid store rebuild --store {objects.uri}"
            )
        parts.append(part)
    return _mark_alive(parts, manifests)


def _mark_alive(parts: Sequence[Part], manifests: Mapping[str, str]) -> list[Part]:
    """Choose the videos that each part covers: of present manifests, and each once."""
    covered: set[str] = set()
    marked = []
    for part in parts:
        living = frozenset(
            video_id
            for video_id, digest in zip(part.rows.video_ids, part.rows.digests, strict=True)
            if manifests.get(video_id) == digest and video_id not in covered
        )
        covered |= living
        marked.append(part.with_living(living))
    return marked


def _group_to_merge(parts: Sequence[Part]) -> list[Part]:
    """Choose parts that are worth one: many of a size class, or one with many dead rows."""
    parts = [part for part in parts if not part.is_quantized]
    for part in parts:
        if part.num_alive < (1 - _DEAD_SHARE) * len(part.rows):
            return [part]
    classes: dict[int, list[Part]] = {}
    for part in parts:
        classes.setdefault(_size_class(part.num_alive), []).append(part)
    for group in classes.values():
        if len(group) >= _FAN_OUT and sum(part.num_alive for part in group) <= LARGEST_PART:
            return group
    return []


def _size_class(num_vectors: int) -> int:
    """Number the classes 0 to 999, to 7 999, to 63 999 vectors, and so on."""
    size_class = 0
    while num_vectors >= 1000:
        num_vectors //= _FAN_OUT
        size_class += 1
    return size_class
