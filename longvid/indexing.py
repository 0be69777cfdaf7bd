"""The index wing: video files in, a store out. No question is known here.

The stages are the same whoever runs them: `open_video` → `plan_chunks` → a decoder → a
`SegmentPipeline` → `Ledger`. `run_local` folds them on this machine, decoding processes and the
encoder at work side by side; `pipelines/` puts the same stages on Ray.
"""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

from longvid.config import Config, torch_device
from longvid.decoding import DecodingThreads
from longvid.errors import ConfigError, FailureRateError, OpError
from longvid.fetching import file_bytes
from longvid.lazy import torch
from longvid.listing import VIDEO_SUFFIXES
from longvid.sample import plan_chunks
from longvid.spoken import SubtitleKeeper
from longvid.store import ChunkRecord, Store
from longvid.types import Failure, FrameBatch, Segment, Video

__all__ = [
    "IndexReport",
    "Ledger",
    "Progress",
    "SegmentPipeline",
    "encoding_threads",
    "no_video_named",
    "open_store",
    "run_local",
    "tried_out",
]

#: So many videos must have ended before their share of failures says anything.
_LEAST_TRIED = 20


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a run stands.

    Args:
        videos_indexed, videos_skipped, videos_failed: Finished, by how they ended.
        videos_open: Being decoded now.
        video_seconds: Seconds of video in finished videos.
        seconds_done, seconds_known: Seconds of video worked through, of those in opened videos.
        current: Path last worked on.
        videos_listed: Named so far, 0 where that is not counted.
        decode_utilisation, encode_utilisation: Share of the recent time in which those who decode
            or encode were at work, None where that is not measured.
    """

    videos_indexed: int = 0
    videos_skipped: int = 0
    videos_failed: int = 0
    videos_open: int = 0
    video_seconds: float = 0.0
    seconds_done: float = 0.0
    seconds_known: float = 0.0
    current: str = ""
    videos_listed: int = 0
    decode_utilisation: float | None = None
    encode_utilisation: float | None = None

    @property
    def videos_done(self) -> int:
        """However they ended."""
        return self.videos_indexed + self.videos_skipped + self.videos_failed

    def seconds_left(self, seconds: float) -> float | None:
        """Estimate how long the run will still take, None where nobody can tell.

        Videos that are not opened yet are taken to be as long as the others on average.

        Args:
            seconds: Wall time so far.
        """
        opened = self.videos_done + self.videos_open
        if not self.videos_listed or not self.seconds_done or not opened:
            return None
        unopened = (self.videos_listed - opened) * self.seconds_known / opened
        left = max(0.0, unopened) + self.seconds_known - self.seconds_done
        return seconds * left / self.seconds_done


@dataclass(frozen=True, slots=True)
class IndexReport:
    """What a run did.

    Args:
        store: Where the result lies.
        videos_indexed: Videos that were decoded and are in the store now.
        videos_skipped: Videos that were in the store already, or had failed too often.
        videos_failed: Videos of which nothing could be indexed.
        segments, frames, tokens: Written by this run.
        video_seconds: Seconds of video indexed by this run.
        failures: Whole videos and gaps.
        seconds: Wall time.
        note: A caveat that a person must see, or "".
    """

    store: str
    videos_indexed: int
    videos_skipped: int
    videos_failed: int
    segments: int
    frames: int
    tokens: int
    video_seconds: float
    failures: tuple[Failure, ...]
    seconds: float
    note: str


def open_store(uri: str, config: Config) -> Store:
    """Make the store of a configuration, or open it if it is there and of the same make.

    No weights are loaded for it.
    """
    return Store.create(
        uri,
        fingerprint=config.fingerprint(),
        config=config.to_dict(),
        space=config.encoder.space(),
        embedding_width=config.encoder.embedding_width(),
        options=config.store,
    )


class SegmentPipeline:
    """Reduce, encode and compress the frames of one segment: the index side's arithmetic.

    Args:
        config: Names the parts.
        device: Where models run.
    """

    def __init__(self, config: Config, device: str) -> None:
        self.reducer = config.reducer.setup(device)
        self.encoder = config.encoder.setup(device)
        self.compressors = [part.setup(device) for part in config.compressors]

    def __call__(self, batch: FrameBatch) -> Segment:
        """Turn one batch into one segment."""
        segment: Segment = self.encoder(self.reducer(batch))
        for compress in self.compressors:
            segment = compress(segment)
        return segment

    def try_chunk(
        self, video: Video, decoded: Iterable[FrameBatch | Failure]
    ) -> tuple[list[Segment], list[Failure]]:
        """Encode a whole chunk, turning a model's failure on one segment into a gap.

        Args:
            video: The video that the chunk belongs to.
            decoded: What the decoder yields for it.
        """
        results = [
            self.try_segment(video, item) if isinstance(item, FrameBatch) else item
            for item in decoded
        ]
        segments = [result for result in results if isinstance(result, Segment)]
        return segments, [result for result in results if isinstance(result, Failure)]

    def try_segment(self, video: Video, batch: FrameBatch) -> Segment | Failure:
        """Encode one segment; what torch or a part refuses of its tokens becomes a gap."""
        try:
            return self(batch)
        except (RuntimeError, OpError) as error:
            memory = isinstance(error, torch.OutOfMemoryError)
            return Failure(
                video.video_id,
                video.path,
                "encode",
                "out-of-memory" if memory else "model",
                f"The encoder failed on {video.path} at {batch.start_seconds:.1f} s: "
                f"{str(error).splitlines()[0]}",
                start_seconds=batch.start_seconds,
                end_seconds=batch.end_seconds,
            )


@dataclass(slots=True)
class _OpenVideo:
    video: Video
    num_chunks: int
    chunks_left: int
    records: list[ChunkRecord] = field(default_factory=list)
    gaps: list[Failure] = field(default_factory=list)
    other_paths: list[str] = field(default_factory=list)


class Ledger:
    """Keeps account of the videos in work and finishes each when its last chunk is in.

    It holds only videos in work, so its memory does not grow with the length of the list. Both
    runners use it; it is called from one thread.

    Args:
        store: Where finished videos are recorded.
        max_failure_rate: Share of failed videos above which the run is stopped.
        again: Videos that are indexed anew although the store holds them. What it holds stays
            until the new is complete.
    """

    def __init__(
        self, store: Store, max_failure_rate: float = 1.0, again: Collection[str] = ()
    ) -> None:
        self.store = store
        self._subtitles = SubtitleKeeper(store)
        self.progress = Progress()
        self.failures: list[Failure] = []
        self.segments = self.frames = self.tokens = self.num_bytes = 0
        self._max_failure_rate = max_failure_rate
        self._again = set(again)
        # What the names meant before this run: one that means something else now has moved on.
        self._owners = store.names()
        self._open: dict[str, _OpenVideo] = {}

    def start(self, video: Video, num_chunks: int) -> bool:
        """Open a video; False when its content has another name in work or in the store."""
        anew = video.video_id in self._again
        if video.video_id in self._open:
            self._open[video.video_id].other_paths.append(video.path)
        elif not anew and self.store.has(video.video_id):
            self._subtitles.add_name(video.video_id, video.path)
            self._add_path(video.video_id, video.path)
        else:
            self._open[video.video_id] = _OpenVideo(video, num_chunks, num_chunks)
            self._count(videos_open=1, seconds_known=video.duration_seconds, current=video.path)
            return True
        self.skip(video.path)
        return False

    def skip(self, path: str) -> None:
        """Count a video that is not tried."""
        self._count(videos_skipped=1, current=path)

    def fail(self, failure: Failure) -> None:
        """Record a video that never opened."""
        self._record([failure])
        self._count_failed(failure.path)

    def chunk_done(
        self, video_id: str, record: ChunkRecord | None, gaps: Sequence[Failure]
    ) -> None:
        """Take in a written chunk (None if nothing of it could be read) and its gaps."""
        entry = self._open[video_id]
        entry.chunks_left -= 1
        done = entry.video.duration_seconds / entry.num_chunks
        self._count(seconds_done=done, current=entry.video.path)
        entry.gaps.extend(gaps)
        if record is not None:
            entry.records.append(record)
            self.segments += len(record.segments)
            self.frames += sum(segment.num_frames for segment in record.segments)
            self.tokens += sum(segment.num_tokens for segment in record.segments)
            self.num_bytes += record.num_bytes
        if entry.chunks_left == 0:
            del self._open[video_id]
            self._finish(entry)

    def _finish(self, entry: _OpenVideo) -> None:
        video = entry.video
        if not entry.records:
            first = entry.gaps[0]
            self._record([replace(first, start_seconds=None, end_seconds=None)])
            self._count_failed(video.path, videos_open=-1)
            return
        gaps = sorted(entry.gaps, key=lambda gap: gap.start_seconds or 0.0)
        self.store.clear_failures([video.video_id, video.path])
        self._subtitles.keep(video.video_id, [video.path, *entry.other_paths])
        self.store.finish(
            video,
            entry.records,
            gaps,
            source_bytes=file_bytes(video.path),
            replace=video.video_id in self._again,
        )
        self._again.discard(video.video_id)
        for path in [video.path, *entry.other_paths]:
            self._add_path(video.video_id, path)
        self._record(gaps)
        self._count(
            videos_indexed=1,
            videos_open=-1,
            video_seconds=video.duration_seconds,
            current=video.path,
        )

    def _add_path(self, video_id: str, path: str) -> None:
        """Name a video, and take the name from the video that had it: the file was changed."""
        self.store.add_path(video_id, path)
        before = self._owners.pop(path, video_id)
        if before != video_id:
            self.store.remove_path(before, path)

    def _record(self, failures: Sequence[Failure]) -> None:
        if failures:
            self.store.record_failures(failures)
            self.failures.extend(failures)

    def _count_failed(self, path: str, **changes: float) -> None:
        self._count(videos_failed=1, current=path, **changes)
        failed = self.progress.videos_failed
        tried = failed + self.progress.videos_indexed
        if tried >= _LEAST_TRIED and failed > self._max_failure_rate * tried:
            raise FailureRateError(
                f"{failed} of {tried} videos failed, more than run.max_failure_rate = "
                f"{self._max_failure_rate:g} allows; what was finished is kept. See longvid "
                f"failures --store {self.store.uri}, mend the cause and run the same command again."
            )

    def _count(self, *, current: str, **changes: float) -> None:
        values = {name: getattr(self.progress, name) + by for name, by in changes.items()}
        self.progress = replace(self.progress, current=current, **values)

    def summary(self, seconds: float) -> dict[str, Any]:
        """Count what the run did, in plain JSON types, for `Store.record_run`."""
        return {
            "seconds": seconds,
            "videos_indexed": self.progress.videos_indexed,
            "videos_skipped": self.progress.videos_skipped,
            "videos_failed": self.progress.videos_failed,
            "video_seconds": self.progress.video_seconds,
            "segments": self.segments,
            "frames": self.frames,
            "tokens": self.tokens,
            "bytes": self.num_bytes,
            "failures_by_kind": dict(Counter(failure.kind for failure in self.failures)),
        }

    def report(self, seconds: float, note: str) -> IndexReport:
        """Sum the run up."""
        return IndexReport(
            store=self.store.uri,
            videos_indexed=self.progress.videos_indexed,
            videos_skipped=self.progress.videos_skipped,
            videos_failed=self.progress.videos_failed,
            segments=self.segments,
            frames=self.frames,
            tokens=self.tokens,
            video_seconds=self.progress.video_seconds,
            failures=tuple(self.failures),
            seconds=seconds,
            note=note,
        )


def run_local(
    paths: Iterable[str],
    store_uri: str,
    config: Config,
    on_progress: Callable[[Progress], None] | None = None,
    again: Collection[str] = (),
) -> IndexReport:
    """Run the index wing on this machine: decoding processes beside one encoder.

    The next chunk of an open video is decoded before another file is opened, so that one long
    film occupies every decoder and few videos are open at a time.

    Args:
        paths: Local files; consumed as needed.
        store_uri: Where the store lies.
        config: The whole configuration.
        on_progress: Called in this thread whenever a video changed state.
        again: Videos to index anew although the store holds them.
    """
    started = time.perf_counter()
    device = torch_device(config.run.device)
    store = open_store(store_uri, config)
    ledger = Ledger(store, config.run.max_failure_rate, again)
    waiting = iter(paths)
    encoded: dict[tuple[str, int], tuple[list[Segment], list[Failure]]] = {}
    given_up = tried_out(store, config.run.max_attempts)
    running = 0
    num_paths = 0

    # Weights load while the first chunk is being decoded, and not at all when there is none.
    loading: Future[SegmentPipeline] | None = None
    with (
        ThreadPoolExecutor(1, "load") as loader,
        encoding_threads(device),
        DecodingThreads(config) as threads,
    ):
        while True:
            # Twice as many tasks as threads: one in work, one at hand when it is done.
            while running < 2 * threads.num_threads:
                path = next(waiting, None)
                if path is None:
                    break
                num_paths += 1
                if path in given_up:
                    ledger.skip(path)
                    continue
                threads.submit_open(path)
                running += 1
            if not running:
                break
            task, result = threads.get()
            if isinstance(task, str):
                running -= 1
                if isinstance(result, Failure):
                    ledger.fail(result)
                else:
                    planned = plan_chunks(result, config.sample)
                    if ledger.start(result, len(planned)):
                        if loading is None:
                            loading = loader.submit(SegmentPipeline, config, device)
                            # Everything waits for the weights: a processor is left to them.
                            threads.rest_until(loading)
                        # All at once: while the encoder is busy or still loading, the queue's
                        # size is what holds decoding back, not this thread.
                        for chunk in planned:
                            threads.submit_decode(chunk)
                        running += len(planned)
            else:
                video_id = task.video.video_id
                segments, gaps = encoded.setdefault(
                    (video_id, task.segments[0].segment_index), ([], [])
                )
                if isinstance(result, FrameBatch) and loading is not None:
                    result = loading.result().try_segment(task.video, result)
                if isinstance(result, Segment):
                    segments.append(result)
                elif isinstance(result, Failure):
                    gaps.append(result)
                else:
                    running -= 1
                    del encoded[video_id, task.segments[0].segment_index]
                    record = store.write_chunk(video_id, segments) if segments else None
                    ledger.chunk_done(video_id, record, gaps)
            if on_progress is not None:
                on_progress(ledger.progress)
    if not num_paths:
        raise no_video_named()
    store.refresh()
    seconds = time.perf_counter() - started
    store.record_run({"runner": "local", **ledger.summary(seconds)})
    return ledger.report(seconds, config.encoder.note())


@contextlib.contextmanager
def encoding_threads(device: str) -> Iterator[None]:
    """Give the encoder one thread while decoding processes occupy the other processors.

    Threads of one operation wait for each other; beside busy decoders they wait for most of the
    time, which made indexing slower than decoding and encoding one after the other.
    """
    before = torch.get_num_threads()
    if device == "cpu":
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def no_video_named() -> ConfigError:
    """Say that a list named nothing."""
    return ConfigError(
        "No video is named: give files, or a folder that holds files ending in "
        f"{', '.join(sorted(VIDEO_SUFFIXES))}."
    )


def tried_out(store: Store, max_attempts: int) -> frozenset[str]:
    """Return the paths that failed so often that a run leaves them alone."""
    return frozenset(
        failure.path
        for failure in store.failures()
        if failure.attempts >= max_attempts and not failure.is_gap
    )
