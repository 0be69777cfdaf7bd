"""A store: where indexed videos live between indexing and asking.

Writers of one store need not know of each other. `write_chunk` adds immutable objects, `finish`
makes a video visible by writing its manifest last, and a process killed anywhere in between
leaves the store as it was, plus objects that nobody sees and that the next run uses or replaces.
This module knows nothing of questions, models or video files.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import secrets
import threading
import time
from collections.abc import Collection, Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from longvid.config import StoreOptions
from longvid.errors import StoreError
from longvid.lazy_import import torch
from longvid.store import catalog as catalogs
from longvid.store.annotations import Annotations
from longvid.store.catalog import Catalog, StoredVideo
from longvid.store.chunkfile import ChunkRecord, encode_chunk
from longvid.store.failures import FailureLog
from longvid.store.find_video import find_video
from longvid.store.header import Header
from longvid.store.layout import (
    CATALOG,
    HEADER,
    RUNS,
    VIDEOS,
    dump_json,
    manifest_name,
    path_name,
)
from longvid.store.manifest import Manifest, make_manifest
from longvid.store.objects import Objects, open_objects
from longvid.store.pictures import PICTURES, publish_pictures, write_pictures
from longvid.store.segment_reader import SegmentReader
from longvid.store.status import StoreStatus, summarise
from longvid.store.subtitles import subtitle_sums
from longvid.store.vectors import Hit, VectorIndex, exact_search
from longvid.store.verify import Finding, clean, verify
from longvid.types import Failure, Segment, Video

__all__ = ["Store"]

#: A listing is used again for this many times as long as it took: in a store of any size a
#: tenth of the time goes into looking for news, and news are seen that soon.
_LISTING_LASTS = 10.0


class Store:
    """Indexed videos at one place, all made by the same configuration.

    Make one with `Store.create` or `Store.open`. A store can be sent to another process.
    """

    def __init__(self, objects: Objects, header: Header) -> None:
        self._objects = objects
        self._header = header
        self._failures = FailureLog(objects)
        self._catalog = Catalog()
        self._saved: Catalog | None = None
        self._vectors = VectorIndex(objects, header.embedding_width)
        self._stale_after = float("-inf")
        self._num_changes = self._changes_listed = 0
        self._lock = threading.RLock()
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
        """Make a store, or open the one that is there if it is of the same make.

        Args:
            uri: A folder, or a URI that fsspec knows.
            fingerprint: Of everything that decides what segments look like.
            config: What the fingerprint was made of, for people and for asking.
            space: Name of the token space.
            embedding_width: E.
            options: How segments are kept; None means the defaults.

        Raises:
            StoreError: The store there is of another make, or cannot be written.
        """
        objects = open_objects(uri)
        kept = options or StoreOptions()
        wanted = Header(fingerprint, space, embedding_width, kept, dict(config))
        if objects.size(HEADER) is None:
            if objects.holds_anything() and objects.size(HEADER) is None:
                raise StoreError(
                    f"{objects.uri} holds files but no {HEADER}, so it is no longvid store; "
                    "choose a new or empty folder for the store."
                )
            objects.write(HEADER, wanted.to_json(), exclusive=True)
        store = cls.open(uri)
        store._require_same_make(wanted)
        objects.remove_temporaries()
        return store

    @classmethod
    def open(cls, uri: str | os.PathLike[str]) -> Store:
        """Open a store.

        Raises:
            StoreError: There is none, it is of a newer format, or it cannot be read.
        """
        objects = open_objects(uri)
        data = objects.read(HEADER)
        if data is None:
            raise StoreError(
                f"There is no store at {objects.uri}; make one with: longvid index PATH --store "
                f"{objects.uri}"
            )
        return cls(objects, Header.from_json(data, objects.uri))

    def __reduce__(self) -> tuple[object, tuple[str, Header]]:
        return _reopen, (self.uri, self._header)

    def __repr__(self) -> str:
        return f"Store({self.uri!r}, fingerprint={self.fingerprint!r})"

    @property
    def uri(self) -> str:
        """Where it lies: an absolute path, or a URI."""
        return self._objects.uri

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
        return Annotations(self._objects)

    # Writing

    def write_chunk(self, video_id: str, segments: Sequence[Segment]) -> ChunkRecord:
        """Write the segments of one chunk as one object, equal input to equal bytes.

        Several processes may write chunks of one video. Nothing is visible before `finish`.

        Args:
            video_id: Of every segment.
            segments: In order of their index, at least one.

        Returns:
            What `finish` needs to know of the chunk.

        Raises:
            StoreError: The segments are of another store or video, or cannot be written.
        """
        name, data, record = encode_chunk(video_id, segments, self._header)
        # The name holds the content's hash: an object of that name and size is the same.
        if self._objects.size(name) != len(data):
            self._objects.write(name, data)
        pictures = write_pictures(self.annotations, video_id, segments)
        return dataclasses.replace(record, pictures=pictures)

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

        When two writers finish one video, the first manifest stands, unless `replace` is given,
        and the objects that it does not name are removed.

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
        manifest = make_manifest(video, records, gaps, source_bytes)
        self.add_path(video.video_id, video.path)
        if replace or not self.has(video.video_id):
            self._require_chunks(manifest)
            parts = [record.pictures for record in records if record.pictures is not None]
            publish_pictures(self.annotations, video.video_id, parts)
            name, data = manifest_name(video.video_id), manifest.to_json()
            written = self._objects.write(name, data, exclusive=not replace)
            if not written and not self.has(video.video_id):  # what is there is not whole
                self._objects.write(name, data)
        self._changed()
        self._remove_leftovers(video.video_id)

    def has(self, video_id: str) -> bool:
        """Tell whether a video is finished. Reads one object; knows nothing of caches."""
        manifest = Manifest.from_json(self._objects.read(manifest_name(video_id)))
        return manifest is not None and manifest.video_id == video_id

    def add_path(self, video_id: str, path: str) -> None:
        """Say under which name a video was found; it may have any number of names."""
        name, data = path_name(video_id, path), dump_json({"path": path})
        if self._objects.size(name) != len(data):
            self._objects.write(name, data)
            self._changed()

    def remove_path(self, video_id: str, path: str) -> None:
        """Forget a name of a video; the video stays, even without any name."""
        self._objects.remove([path_name(video_id, path)])
        self._changed()

    def record_run(self, summary: Mapping[str, object]) -> None:
        """Keep what a run did, in numbers, under a name that begins with the time.

        Args:
            summary: Plain JSON types.
        """
        when = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        self._objects.write(f"{RUNS}/{when}-{secrets.token_hex(4)}.json", dump_json(summary))

    def remove(self, video_ids: Iterable[str]) -> None:
        """Remove videos: first what makes each visible, then its objects.

        Failures stay on record; `clear_failures` forgets them.

        Raises:
            StoreError: The store holds nothing of a video, or refuses.
        """
        for video_id in video_ids:
            manifest = manifest_name(video_id)
            folder = manifest.rpartition("/")[0]
            names = {info.name for info in self._objects.listing(folder)}
            if not names:
                raise StoreError(
                    f"The store {self.uri} holds no video {video_id}, so it cannot be removed; "
                    "longvid status lists what is there."
                )
            self._objects.remove([manifest, *sorted(names - {manifest})])
            self._changed()

    # Reading

    def videos(self) -> list[StoredVideo]:
        """Return the finished videos, in order of path."""
        entries = self._current().entries.values()
        return sorted(
            (entry.stored for entry in entries), key=lambda s: (s.video.path, s.video.video_id)
        )

    def names(self) -> dict[str, str]:
        """Return the video that each name stands for."""
        entries = self._current().entries.items()
        return {path: video_id for video_id, entry in entries for path in entry.stored.paths}

    def find(self, name: str) -> str:
        """Return the id of the video of this path, file name, id or unique beginning of an id.

        Raises:
            StoreError: No video, or more than one, goes by that name.
        """
        return find_video(self.videos(), name, self.uri)

    def load(self, keys: Sequence[tuple[str, int]]) -> list[Segment]:
        """Read segments, and nothing else, from their chunks.

        Args:
            keys: (video id, segment index) each.

        Returns:
            One segment a key, in the order given.

        Raises:
            StoreError: A segment is not in the store, or its object is damaged.
        """
        return self._reader.load(keys)

    def around(self, keys: Collection[tuple[str, int]], reach: int) -> list[tuple[str, int]]:
        """Return the keys with those of stored segments at most `reach` before or after, sorted.

        Args:
            keys: (video id, segment index) each.
            reach: In segments; 0 returns the keys alone.
        """
        return self._reader.around(keys, reach)

    def search(
        self,
        embedding: torch.Tensor,
        top_k: int,
        video_ids: Sequence[str] = (),
        *,
        recall: float = 0.98,
    ) -> list[Hit]:
        """Find the segments whose best vector has the greatest inner product with a query.

        Exact below 100 000 vectors and whenever `video_ids` are given.

        Args:
            embedding: (E,) in the space of the frame embeddings.
            top_k: Most segments to return.
            video_ids: Restricts the search; empty means the whole store.
            recall: Share of the true best that a search in a larger store must find, as measured
                when its index was built; 1.0 searches it exactly.

        Returns:
            Best first; equal scores in order of video id and segment index.

        Raises:
            StoreError: The embedding is of another width, a video is not in the store, or FAISS
                is not installed.
        """
        query = self._query(embedding, top_k)
        with self._lock:
            manifests = self._current().manifests()
            if not self._vectors.covers(manifests):
                self._vectors.refresh(manifests, keep=False)
        self._require_known(video_ids, manifests)
        most = self.options.vectors_per_segment
        return self._vectors.search(query, top_k, most, video_ids, recall)

    def search_slowly(
        self, embedding: torch.Tensor, top_k: int, video_ids: Sequence[str] = ()
    ) -> list[Hit]:
        """Search by reading every vector from its chunk: what `search` must equal."""
        manifests = self._current().manifests()
        self._require_known(video_ids, manifests)
        query = self._query(embedding, top_k)
        return exact_search(self._objects, manifests, query, top_k, video_ids)

    def status(self) -> StoreStatus:
        """Add up what the store holds."""
        return summarise(self._objects, self._current(), num_failures=len(self.failures()))

    def digest(self) -> str:
        """Hash all that two runs over the same videos must agree on, 32 hexadecimal digits.

        That is the fingerprint, every manifest with the checksums of its chunks, the names,
        subtitles and annotations; neither pictures for people, nor the caches, nor the failures,
        which say when things happened, nor settings that change how a run goes but not what it
        makes.
        """
        total = hashlib.blake2b(self.fingerprint.encode(), digest_size=16)
        entries = catalogs.refresh(self._objects, Catalog()).entries
        sums = subtitle_sums(self._objects, tuple(entries))
        annotations = self.annotations.checksums()
        for (video_id, entry), said in zip(entries.items(), sums, strict=True):
            names = " ".join(entry.listed.path_names)
            total.update(f"{video_id} {entry.manifest} {names} {said}\n".encode())
            lines = annotations.get(video_id, ())
            kept = [line for line in lines if f"/{PICTURES}/" not in line]
            total.update("".join(f"{line}\n" for line in kept).encode())
        return total.hexdigest()

    # Failures

    def record_failures(self, failures: Sequence[Failure]) -> None:
        """Put failures on record; attempts at the same video, stage and gap add up."""
        self._failures.record(failures)

    def failures(self, kind: str | None = None) -> list[Failure]:
        """Return what is on record, in order of path; `kind` keeps one of FAILURE_KINDS."""
        return self._failures.read(kind)

    def clear_failures(self, names: Collection[str] | None = None) -> None:
        """Forget the failures of these video ids or paths; None means all."""
        self._failures.clear(names)

    # Caches

    def refresh(self) -> None:
        """Bring the catalog and the search index up to date, reading only what changed.

        Raises:
            StoreError: They cannot be written.
        """
        with self._lock:
            self._update_catalog(keep=True)
            self._vectors.refresh(self._catalog.manifests(), keep=True)

    def rebuild(self) -> None:
        """Make the catalog and the search index anew from the manifests.

        Raises:
            StoreError: They cannot be written.
        """
        with self._lock:
            self._objects.remove([CATALOG])
            self._vectors.clear()
            self._catalog, self._saved = Catalog(), Catalog()
            self.refresh()

    def verify(self) -> list[Finding]:
        """Compare every object with its manifest; an empty list means that all is well."""
        return verify(self._objects)

    def clean(self) -> list[str]:
        """Remove what killed writers left, and say what; only while nobody writes."""
        return clean(self._objects)

    # How it is done

    def _require_same_make(self, wanted: Header) -> None:
        remedy = "index into another folder, or use the store's own configuration."
        if self.fingerprint != wanted.fingerprint:
            raise StoreError(
                f"The store {self.uri} was made with fingerprint {self.fingerprint} and this "
                f"configuration has {wanted.fingerprint}; {remedy}"
            )
        for name in ("space", "embedding_width", "options"):
            there, given = getattr(self._header, name), getattr(wanted, name)
            if name == "options":  # which pictures are kept may change from run to run
                there = dataclasses.replace(there, pictures=given.pictures)
            if there != given:
                raise StoreError(
                    f"The store {self.uri} has {name} {there!r} and this configuration has "
                    f"{given!r}; {remedy}"
                )

    def _require_chunks(self, manifest: Manifest) -> None:
        for chunk in manifest.chunks:
            name = manifest.chunk_path(chunk)
            if self._objects.size(name) != chunk.num_bytes:
                raise StoreError(
                    f"{name} is missing from the store {self.uri} or not whole, so the video "
                    "cannot be finished; index it again."
                )

    def _remove_leftovers(self, video_id: str) -> None:
        """Remove the chunks that the manifest which stands does not name."""
        manifest = Manifest.from_json(self._objects.read(manifest_name(video_id)))
        named = {manifest.chunk_path(chunk) for chunk in manifest.chunks} if manifest else set()
        if named:
            listing = self._objects.listing(
                f"{VIDEOS}/{video_id}", lambda name: name.endswith(".safetensors")
            )
            self._objects.remove(sorted({info.name for info in listing} - named))

    def _query(self, embedding: torch.Tensor, top_k: int) -> npt.NDArray[np.float32]:
        if tuple(embedding.shape) != (self.embedding_width,):
            raise StoreError(
                f"The query's embedding is {tuple(embedding.shape)} and the store {self.uri} "
                f"holds embeddings of width {self.embedding_width}; ask with the configuration "
                "that the store was made with."
            )
        if top_k < 1:
            raise StoreError(f"top_k is {top_k}; ask for at least one segment.")
        query: npt.NDArray[np.float32] = embedding.detach().cpu().float().contiguous().numpy()
        return query

    def _require_known(self, video_ids: Sequence[str], manifests: Mapping[str, str]) -> None:
        for video_id in video_ids:
            if video_id not in manifests:
                raise StoreError(
                    f"The store {self.uri} holds no video {video_id}; longvid status lists what "
                    "is there."
                )

    def _changed(self) -> None:
        """Make the next question list the videos anew, even if a listing is under way."""
        self._num_changes += 1

    def _current(self) -> Catalog:
        """Return a catalog that is fresh enough: see _LISTING_LASTS."""
        with self._lock:
            own_news = self._num_changes != self._changes_listed
            if own_news or time.monotonic() >= self._stale_after:
                self._update_catalog(keep=False)
            return self._catalog

    def _update_catalog(self, *, keep: bool) -> None:
        """List the videos and read what changed; write the cache only if asked to.

        A reader does not write the catalog: it may not be allowed to, and need not.
        """
        started = time.monotonic()
        self._changes_listed = self._num_changes
        if self._saved is None:
            self._catalog = self._saved = catalogs.load(self._objects)
        self._catalog = catalogs.refresh(self._objects, self._catalog)
        self._stale_after = time.monotonic() + _LISTING_LASTS * (time.monotonic() - started)
        gone = keep and self._objects.size(CATALOG) is None
        if keep and (gone or self._catalog is not self._saved):
            catalogs.save(self._objects, self._catalog)
            self._saved = self._catalog


def _reopen(uri: str, header: Header) -> Store:
    return Store(open_objects(uri), header)
