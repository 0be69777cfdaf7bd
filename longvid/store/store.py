"""A store: where indexed videos live between indexing and asking.

Writers of one store need not know of each other. `write_chunk` adds immutable objects, `finish`
makes a video visible by writing its manifest last, and a process killed in between leaves the store
as it was, plus objects that nobody sees and that the next run uses or replaces. It keeps the time
of the stream; what it gives is in the time of a player (`player_time`).
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from longvid.config import StoreOptions
from longvid.lazy_import import torch
from longvid.store.annotations import Annotations
from longvid.store.backend import open_objects
from longvid.store.catalog import StoredVideo
from longvid.store.catalog_cache import CatalogCache
from longvid.store.catalog_seals import seal_unsealed
from longvid.store.chunk_record import ChunkRecord
from longvid.store.digest import store_digest
from longvid.store.failures import FailureLog
from longvid.store.faiss_index import EXACT_BELOW
from longvid.store.find_video import find_video
from longvid.store.header import Header, make_header, require_header, seal_header
from longvid.store.objects import Objects
from longvid.store.player_time import in_player_time, shown_video
from longvid.store.quantized_build import require_codes
from longvid.store.run_log import write_run
from longvid.store.segment_reader import SegmentReader
from longvid.store.segment_search import SegmentSearch
from longvid.store.status import StoreStatus, summarise
from longvid.store.text_index import TextIndexCache
from longvid.store.vectors import Hit
from longvid.store.verify import Finding, clean, verify
from longvid.store.video_objects import VideoObjects
from longvid.store.video_paths import stored_path
from longvid.types import Failure, Segment, Video


class Store:
    """Indexed videos at one place, all made by the same configuration.

    Make one with `Store.create` or `Store.open`. A store can be sent to another process.
    """

    def __init__(self, objects: Objects, header: Header) -> None:
        #: Where the store's objects are kept, for the modules that read and write others.
        self.objects = objects
        self._header = header
        self._videos = VideoObjects(objects, header)
        self._failures = FailureLog(objects)
        self._catalogs = CatalogCache(objects)
        self._search = SegmentSearch(objects, header, self._catalogs)
        #: All timed text, indexed by its words.
        self.texts = TextIndexCache(self)
        self._refreshing = threading.RLock()
        self._reader = SegmentReader(objects)

    @classmethod
    def create(
        cls,
        uri: str | os.PathLike[str],
        *,
        fingerprint: str,
        config: Mapping[str, object],
        space: str,
        embedding_width: int,
        options: StoreOptions | None = None,
    ) -> Store:
        """Make a store, or open an existing one with the same configuration.

        Args:
            uri: A folder, or a URI that fsspec knows.
            fingerprint: Of everything that decides what segments look like.
            config: What the fingerprint was made of, for people and for asking.
            space: Name of the token space.
            embedding_width: E.
            options: How segments are kept; None means the defaults.

        Raises:
            StoreError: The store there has another configuration, or cannot be written.
        """
        objects = open_objects(uri)
        kept = options or StoreOptions()
        wanted = Header(fingerprint, space, embedding_width, kept, dict(config))
        header = make_header(objects, wanted)
        objects.remove_temporaries()
        return cls(objects, header)

    @classmethod
    def open(cls, uri: str | os.PathLike[str]) -> Store:
        """Open a store.

        Raises:
            StoreError: There is none, it is of a newer format, or it cannot be read.
        """
        objects = open_objects(uri)
        return cls(objects, require_header(objects))

    def __reduce__(self) -> tuple[object, tuple[str, Header]]:
        return _reopen, (self.uri, self._header)

    def __repr__(self) -> str:
        return f"Store({self.uri!r}, fingerprint={self.fingerprint!r})"

    @property
    def uri(self) -> str:
        """An absolute path, or a URI."""
        return self.objects.uri

    @property
    def fingerprint(self) -> str:
        """Of everything that decides what segments look like."""
        return self._header.fingerprint

    @property
    def config(self) -> Mapping[str, object]:
        """What the fingerprint was made of."""
        return self._header.config

    @property
    def space(self) -> str:
        """Name of the token space."""
        return self._header.space

    @property
    def embedding_width(self) -> int:
        """E, the width of embeddings."""
        return self._header.embedding_width

    @property
    def options(self) -> StoreOptions:
        """How segments are kept."""
        return self._header.options

    @property
    def annotations(self) -> Annotations:
        """Objects of the videos besides their segments, each kind with its own fingerprint."""
        return Annotations(self.objects)

    def write_chunk(self, video_id: str, segments: Sequence[Segment]) -> ChunkRecord:
        """Write the segments of one chunk as one object; return what `finish` needs to know.

        Equal segments give equal bytes. Several processes may write chunks of one video.

        Args:
            video_id: Of every segment.
            segments: In order of their index, at least one.

        Raises:
            StoreError: The segments are of another store or video, or cannot be written.
        """
        return self._videos.write_chunk(video_id, segments)

    def finish(
        self,
        video: Video,
        records: Sequence[ChunkRecord],
        gaps: Sequence[Failure] = (),
        *,
        source_bytes: int = 0,
        replace: bool = False,
    ) -> None:
        """Make a video visible: its name first, its manifest last.

        Of two writers of one video, the first manifest stands, unless `replace` is given.

        Args:
            video: As probed.
            records: Of all its chunks, in any order.
            gaps: Spans that could not be indexed.
            source_bytes: Size of the video file, if known.
            replace: Put this in place of what the store already holds of the video.

        Raises:
            StoreError: There is no chunk, two of them overlap, one is missing, or the store
                cannot be written.
        """
        self.add_path(video.video_id, video.path)
        self._videos.finish(video, records, gaps, source_bytes, replace=replace)
        self._catalogs.changed()

    def has(self, video_id: str) -> bool:
        """Tell whether a video is finished. Reads its manifest and no cache."""
        return self._videos.has(video_id)

    def add_path(self, video_id: str, path: str) -> None:
        """Add a name under which a video was found; local paths are kept as absolute ones."""
        if self._videos.add_path(video_id, stored_path(path)):
            self._catalogs.changed()

    def remove_path(self, video_id: str, path: str) -> None:
        """Forget a name of a video, as given or made absolute; the video stays without names."""
        for name in {path, stored_path(path)}:
            self._videos.remove_path(video_id, name)
        self._catalogs.changed()

    def tag(self, video_id: str, tags: Mapping[str, str]) -> None:
        """Give a video values by key, as {"camera": "2"}; an empty value takes its key away.

        Raises:
            StoreError: No such video, a tag is no short text, or they cannot be written.
        """
        if self._videos.tag(video_id, tags):
            self._catalogs.changed()

    def record_run(self, summary: Mapping[str, object]) -> None:
        """Write a summary of a run, of plain JSON types, under a name that begins with the time."""
        write_run(self.objects, summary)

    def remove(self, video_ids: Iterable[str]) -> None:
        """Remove videos: first what makes each visible, then its objects; failures stay on record.

        Raises:
            StoreError: The store holds nothing of a video, or refuses.
        """
        try:
            self._videos.remove(video_ids)
        finally:
            self._catalogs.changed()

    def videos(self) -> list[StoredVideo]:
        """Return the finished videos in order of path; of several names, those that exist first."""
        videos = [shown_video(entry.stored) for entry in self._catalogs.current().entries.values()]
        return sorted(videos, key=lambda stored: (stored.video.path, stored.video.video_id))

    def damaged(self) -> dict[str, str]:
        """Return a sentence for each video, by id, or object with a name, that is damaged.

        Such a video is not among `videos`, or not found by `search`.
        """
        catalog = self._catalogs.current()
        return {**self._search.left_out(catalog), **catalog.damaged, **catalog.damaged_names}

    def names(self) -> dict[str, str]:
        """Return the video id of each name."""
        entries = self._catalogs.current().entries.items()
        return {path: video_id for video_id, entry in entries for path in entry.stored.paths}

    def find(self, name: str, *, damaged: bool = False) -> str:
        """Return the id of the video of this path, file name, id or unique beginning of an id.

        Args:
            name: As a person gives it.
            damaged: Whether to find damaged videos too, by id, as `remove` needs.

        Raises:
            StoreError: No video, or more than one, has that name; or it is damaged.
        """
        sentences = self._catalogs.current().damaged
        return find_video(self.videos(), name, self.uri, sentences, may_be_damaged=damaged)

    def clock_start_seconds(self, video_id: str) -> float:
        """Return that of a `Video`; 0 of one that is not in the store."""
        return self._catalogs.current().clock_start_seconds(video_id)

    def load(self, keys: Sequence[tuple[str, int]]) -> list[Segment]:
        """Read one segment a key (video id, segment index) from their chunks, in the order given.

        Raises:
            StoreError: A segment is not in the store, or its object is damaged.
        """
        return self._reader.load(keys)

    def around(self, keys: Collection[tuple[str, int]], reach: int) -> list[tuple[str, int]]:
        """Return the keys with those of stored segments at most `reach` before or after, sorted."""
        return self._reader.around(keys, reach)

    def search(
        self,
        embedding: torch.Tensor,
        top_k: int,
        video_ids: Sequence[str] = (),
        *,
        recall: float = 0.98,
        span: tuple[float, float] | None = None,
        num_videos: int = 0,
    ) -> list[Hit]:
        """Find the segments whose best vector has the greatest inner product with a query.

        Exact below 100 000 vectors and whenever `video_ids` or a `span` are given.

        Args:
            embedding: (E,) in the space of the frame embeddings.
            top_k: Most segments to return.
            video_ids: Restricts the search; empty means the whole store. Those that are damaged
                are left out, and `damaged` names them.
            recall: Share of the true best that a search in a larger store must find, as measured
                when its index was built; 1.0 searches it exactly.
            span: Restricts the search to segments that overlap this start and end in seconds.
            num_videos: In a store of 100 000 vectors or more, compare the segments of this many
                videos alone, found by vectors of whole videos first; 0 visits every video.

        Returns:
            Best first; equal scores in order of video id and segment index.

        Raises:
            StoreError: The embedding is of another width or not finite, a video is not in the
                store, all that are asked for are damaged, or FAISS is not installed.
        """
        return self._search.search(embedding, top_k, video_ids, recall, span, num_videos)

    def status(self) -> StoreStatus:
        """Add up what the store holds."""
        damaged = {**self.damaged(), **self.damaged_failures()}
        return summarise(self.objects, self.videos(), damaged, len(self.failures()))

    def digest(self) -> str:
        """Hash everything that two runs over the same videos must agree on, 32 hex digits.

        That is the fingerprint, every manifest with the checksums of its chunks, the names,
        subtitles and annotations; not pictures, caches, failures or settings that change no
        result.
        """
        return store_digest(self.objects, self.fingerprint)

    def record_failures(self, failures: Sequence[Failure]) -> None:
        """Record failures, with local paths made absolute; attempts at the same add up."""
        self._failures.record(failures)

    def failures(self, kind: str | None = None) -> list[Failure]:
        """Return the current failures, in order of path; `kind` keeps one of FAILURE_KINDS."""
        failures = self._failures.read(kind)
        if not any(failure.is_gap for failure in failures):
            return failures
        clock_start = self._catalogs.current().clock_start_seconds
        return [in_player_time(failure, clock_start(failure.video_id)) for failure in failures]

    def damaged_failures(self) -> dict[str, str]:
        """Return a sentence for each object of failures whose rows are lost, by name."""
        return self._failures.damaged()

    def clear_failures(
        self, names: Collection[str] | None = None, only: Callable[[Failure], bool] | None = None
    ) -> None:
        """Forget the failures of these video ids or paths, None means all, that `only` chooses."""
        self._failures.clear(names, only)

    def refresh(self) -> None:
        """Bring the catalog and the search indexes up to date, reading only what changed, and seal
        what is of a store from before there were seals.

        Raises:
            StoreError: They cannot be written.
        """
        with self._refreshing:
            seal_header(self.objects)
            catalog = self._catalogs.save()
            if seal_unsealed(self.objects, catalog):
                catalog = self._catalogs.save()
            self._search.refresh(catalog)
            self.texts.save()

    def rebuild(self) -> None:
        """Make the catalog and the search indexes again from the manifests and the text."""
        with self._refreshing:
            self._catalogs.forget()
            self._search.clear()
            self.texts.forget()
            self.refresh()

    def compact(self, codes: str = "pq", *, least: int = EXACT_BELOW) -> int:
        """Make few large parts of quantised codes of the search index, which take less memory.

        Searches go on meanwhile. A compaction that was killed goes on where it was. Returns how
        many parts were made.

        Args:
            codes: "pq" (a byte for 8 dimensions), "opq" (rotated first) or "sq" (a byte for one).
            least: Fewer vectors stay as they are, and are searched exactly.

        Raises:
            ConfigError: There are no such codes, or the width does not divide into them.
            StoreError: They cannot be written, or the vectors are too few for codes.
        """
        require_codes(codes, self.embedding_width)
        with self._refreshing:
            self.refresh()
            return self._search.compact(codes, least)

    @property
    def segment_search(self) -> SegmentSearch:
        """The search, for those who hold parts of its index elsewhere."""
        return self._search

    def verify(self) -> list[Finding]:
        """Compare every object with its checksum; an empty list means that all is well."""
        return verify(self.objects)

    def clean(self) -> list[str]:
        """Remove what killed writers left, and return the names; only while nobody writes."""
        return clean(self.objects)


def _reopen(uri: str, header: Header) -> Store:
    return Store(open_objects(uri), header)
