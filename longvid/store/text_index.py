"""The words of all timed text of a store, searched without reading the text of every video.

    text/lines.parquet    cache: one row a line, in order of video and time
    text/words.parquet    cache: one row a word, with the lines that hold it

Both carry the generation that they were made of: a hash over the names and stamps of the objects
that hold text. A listing tells whether they still fit; only text that is new is read. Whatever
is wrong with them, they are made again.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from longvid.errors import StoreError
from longvid.store.annotations import is_annotation_index, key_of
from longvid.store.layout import (
    TEXT_LINES,
    TEXT_WORDS,
    VIDEOS,
    from_column,
    subtitles_name,
    to_column,
)
from longvid.store.objects import DamagedObjectError
from longvid.store.parquet import MAX_TABLE_BYTES, parse_table, write_table
from longvid.store.timed_text import RECOGNISED, read_text
from longvid.timed_text.lexical_search import LexicalIndex
from longvid.timed_text.words import WORDS_VERSION, indexed_text
from longvid.types import TEXT_SOURCES, TextLine

if TYPE_CHECKING:
    from longvid.store.store import Store

#: A listing, or an index that was made again, is used for this many times as long as it took.
_LASTS = 10.0
_LINES = pa.schema(
    [
        ("video", pa.int32()),
        ("start_seconds", pa.float64()),
        ("end_seconds", pa.float64()),
        ("source", pa.int8()),
        ("language", pa.string()),
        ("text", pa.string()),
        ("length", pa.int32()),
    ]
)
_WORDS = pa.schema(
    [
        ("word", pa.string()),
        ("lines", pa.list_(pa.int32())),
        ("counts", pa.list_(pa.int32())),
    ]
)


@dataclass(frozen=True, slots=True, eq=False)
class TextIndex:
    """The lines of a store and an index over their words.

    Args:
        stamps: What each video's text was when it was read, by video id.
        video_ids: Of the videos that have lines, sorted.
        lines: Of all videos, end to end.
        first: (V + 1,) int64 where the lines of each video begin.
        sources: (N,) int8 place of each line's source among TEXT_SOURCES.
        spans: (N, 2) float64 start and end of each line in seconds.
        words: Over `indexed_text` of the lines.
        damaged: A sentence for each video whose text cannot be read.
    """

    stamps: Mapping[str, str]
    video_ids: tuple[str, ...] = ()
    lines: Sequence[TextLine] = ()
    first: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(1, np.int64))
    sources: npt.NDArray[np.int8] = field(default_factory=lambda: np.zeros(0, np.int8))
    spans: npt.NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 2)))
    words: LexicalIndex = field(default_factory=lambda: LexicalIndex.build([]))
    damaged: Mapping[str, str] = field(default_factory=dict)

    @property
    def generation(self) -> str:
        """Hash of what the index was made of."""
        return _generation(self.stamps)

    @classmethod
    def of(
        cls,
        lines: Mapping[str, Sequence[TextLine]],
        stamps: Mapping[str, str],
        damaged: Mapping[str, str] | None = None,
    ) -> TextIndex:
        """Index the lines of videos, by video id."""
        video_ids = tuple(sorted(video_id for video_id, of in lines.items() if of))
        together = [line for video_id in video_ids for line in lines[video_id]]
        first = np.cumsum([0, *(len(lines[video_id]) for video_id in video_ids)])
        sources = np.array([TEXT_SOURCES.index(line.source) for line in together], np.int8)
        words = LexicalIndex.build(map(indexed_text, together))
        spans = _spans(together)
        return cls(stamps, video_ids, together, first, sources, spans, words, damaged or {})

    @property
    def num_lines(self) -> dict[str, int]:
        counts = np.bincount(self.sources, minlength=len(TEXT_SOURCES)).tolist()
        return {source: count for source, count in zip(TEXT_SOURCES, counts, strict=True) if count}

    def lines_of(self, video_id: str) -> Sequence[TextLine]:
        if video_id not in self.video_ids:
            return ()
        place = self.video_ids.index(video_id)
        return self.lines[self.first[place] : self.first[place + 1]]

    def video_of(self, place: int) -> str:
        return self.video_ids[int(np.searchsorted(self.first, place, side="right")) - 1]

    def allowed(
        self,
        video_ids: Collection[str],
        sources: Collection[str],
        span: tuple[float, float] | None = None,
    ) -> npt.NDArray[np.bool_] | None:
        """Return (N,) which lines are of these videos and sources and overlap a start and an end
        in seconds; None for all of them.
        """
        wanted = frozenset(video_ids)
        allowed: npt.NDArray[np.bool_] | None = None
        if not wanted.issuperset(self.video_ids):
            of_video = np.array([video_id in wanted for video_id in self.video_ids], np.bool_)
            allowed = np.repeat(of_video, np.diff(self.first))
        if not frozenset(sources).issuperset(TEXT_SOURCES):
            of_source = np.array([source in sources for source in TEXT_SOURCES])[self.sources]
            allowed = of_source if allowed is None else allowed & of_source
        if span is not None:
            overlaps = (self.spans[:, 0] < span[1]) & (self.spans[:, 1] > span[0])
            allowed = overlaps if allowed is None else allowed & overlaps
        return allowed


class TextIndexCache:
    """The text index of one store, in memory. Any number of threads may use it."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._index: TextIndex | None = None
        self._saved = ""
        self._stale_after = float("-inf")
        self._lock = threading.RLock()

    def current(self) -> TextIndex:
        """Return an index that is fresh enough: see _LASTS. Writes nothing.

        Raises:
            StoreError: The store refuses.
        """
        with self._lock:
            if self._index is None or time.monotonic() >= self._stale_after:
                started = time.monotonic()
                self._index = self._updated(self._index)
                self._stale_after = time.monotonic() + _LASTS * (time.monotonic() - started)
            return self._index

    def save(self) -> None:
        """Bring the index up to date and write it, unless the one written is equal.

        Raises:
            StoreError: It cannot be written.
        """
        with self._lock:
            self._stale_after = float("-inf")
            index = self.current()
            objects = self._store.objects
            if index.generation == self._saved:
                return
            if not index.stamps:
                objects.remove([TEXT_LINES, TEXT_WORDS])
            else:
                for name, data in _tables(index).items():
                    objects.write(name, data)
            self._saved = index.generation

    def forget(self) -> None:
        """Remove the index, so that all text is read again."""
        with self._lock:
            self._store.objects.remove([TEXT_LINES, TEXT_WORDS])
            self._index, self._saved, self._stale_after = None, "", float("-inf")

    def _updated(self, known: TextIndex | None) -> TextIndex:
        stamps = _stamps(self._store)
        if known is None:
            known = self._loaded()
        if known.stamps == stamps and not known.damaged:
            return known
        lines: dict[str, Sequence[TextLine]] = {}
        damaged: dict[str, str] = {}
        for video_id, stamp in stamps.items():
            if known.stamps.get(video_id) == stamp and video_id not in known.damaged:
                lines[video_id] = known.lines_of(video_id)
                continue
            try:
                lines[video_id] = read_text(self._store, video_id)
            except StoreError as error:
                damaged[video_id] = str(error)
        if known.stamps == stamps and known.damaged == damaged:
            return known
        return TextIndex.of(lines, stamps, damaged)

    def _loaded(self) -> TextIndex:
        """Return the index that the store keeps, an empty one where there is none that is whole."""
        try:
            index = _parsed(self._store)
        except (DamagedObjectError, ValueError, KeyError, TypeError, IndexError):
            return TextIndex({})
        self._saved = index.generation
        return index


def _stamps(store: Store) -> dict[str, str]:
    """Return what the text of each video is now, by video id: its objects and their stamps."""
    found: dict[str, list[str]] = {}
    for info in store.objects.listing(VIDEOS, _holds_text):
        if is_annotation_index(info.name):
            key = key_of(info.name)
            video_id = key.video_id if key.kind in RECOGNISED else ""
        else:
            video_id = info.name.split("/")[1]
            video_id = video_id if info.name == subtitles_name(video_id) else ""
        if video_id:
            found.setdefault(video_id, []).append(f"{info.name} {info.stamp}")
    return {video_id: _hash("\n".join(sorted(of))) for video_id, of in sorted(found.items())}


def _holds_text(name: str) -> bool:
    return name.endswith("/subtitles.json") or is_annotation_index(name)


def _spans(lines: Sequence[TextLine]) -> npt.NDArray[np.float64]:
    return np.array([(line.start_seconds, line.end_seconds) for line in lines], np.float64).reshape(
        -1, 2
    )


def _generation(stamps: Mapping[str, str]) -> str:
    return _hash(json.dumps([WORDS_VERSION, *sorted(stamps.items())]))


def _hash(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _tables(index: TextIndex) -> dict[str, bytes]:
    """Return the two tables of an index, by the names of their objects."""
    numbers = np.repeat(np.arange(len(index.video_ids), dtype=np.int32), np.diff(index.first))
    lines = pa.table(
        {
            "video": numbers,
            "start_seconds": [line.start_seconds for line in index.lines],
            "end_seconds": [line.end_seconds for line in index.lines],
            "source": index.sources,
            "language": [line.language for line in index.lines],
            "text": [to_column(line.text) for line in index.lines],
            "length": index.words.lengths,
        },
        _LINES,
    )
    words, starts = index.words, pa.array(index.words.starts, pa.int32())
    postings = pa.table(
        {
            "word": list(map(to_column, words.vocabulary)),
            "lines": pa.ListArray.from_arrays(starts, pa.array(words.documents)),
            "counts": pa.ListArray.from_arrays(starts, pa.array(words.counts)),
        },
        _WORDS,
    )
    described = {
        "generation": index.generation,
        "videos": json.dumps(index.video_ids),
        "stamps": json.dumps(dict(index.stamps)),
        "damaged": json.dumps(dict(index.damaged)),
    }
    return {
        TEXT_WORDS: write_table([postings], _WORDS, described),
        TEXT_LINES: write_table([lines], _LINES, described),
    }


def _parsed(store: Store) -> TextIndex:
    """Read the two tables.

    Raises:
        ValueError: There are none, they are not whole, or they are not of one generation.
    """
    tables = []
    for name in (TEXT_LINES, TEXT_WORDS):
        data = store.objects.read(name, max_bytes=MAX_TABLE_BYTES)
        if data is None:
            raise ValueError(f"there is no {name}")
        tables.append(parse_table(data, must_be_sealed=True))
    lines, words = tables
    described = {key.decode(): value.decode() for key, value in lines.schema.metadata.items()}
    stamps = json.loads(described["stamps"])
    wanted = _generation(stamps).encode()
    if any(table.schema.metadata[b"generation"] != wanted for table in tables):
        raise ValueError("the tables are not of one generation")
    columns = (lines[name].to_pylist() for name in ("start_seconds", "end_seconds", "text"))
    sources = lines["source"].to_numpy().astype(np.int8)
    rows = zip(*columns, sources.tolist(), lines["language"].to_pylist(), strict=True)
    video_ids = tuple(json.loads(described["videos"]))
    sizes = np.bincount(lines["video"].to_numpy(), minlength=len(video_ids))
    postings = words["lines"].combine_chunks()
    together = [
        TextLine(start, end, from_column(text), TEXT_SOURCES[source], language)
        for start, end, text, source, language in rows
    ]
    return TextIndex(
        stamps,
        video_ids,
        together,
        np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
        sources,
        _spans(together),
        LexicalIndex(
            {from_column(word): number for number, word in enumerate(words["word"].to_pylist())},
            postings.offsets.to_numpy().astype(np.int64),
            postings.values.to_numpy(),
            words["counts"].combine_chunks().values.to_numpy(),
            lines["length"].to_numpy(),
        ),
        json.loads(described["damaged"]),
    )
