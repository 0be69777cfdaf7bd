"""The stages that a job's actors run: callables from row to row, as Ray Data wants them.

A row carries a chunk from stage to stage; what cannot be read travels as a `Failure` in its row,
so no stage ever raises for a broken video. What a stage does is longvid's; here it is only fed,
counted and guarded.
"""

from __future__ import annotations

import pickle
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import ray

from longvid.config import Config, torch_device
from longvid.indexing import SegmentPipeline, tried_out
from longvid.listing import list_videos
from longvid.reader import Reader
from longvid.sample import plan_chunks
from longvid.store import ChunkRecord, Store
from longvid.types import Chunk, Failure, FrameBatch, Segment, Video
from pipelines.metrics import StageMetrics
from pipelines.supervisor import begin

__all__ = [
    "Decode",
    "DecodeAndEncode",
    "Encode",
    "List",
    "Probe",
    "Row",
    "content_of",
    "item_name",
    "row",
]

Row = dict[str, Any]
"""What travels between stages: one pickled cell, whose size Ray's backpressure can count."""

_PATHS_PER_ROW = 16


def row(**content: Any) -> Row:
    """Pack what one row carries."""
    return {"content": pickle.dumps(content, protocol=pickle.HIGHEST_PROTOCOL)}


def content_of(packed: Row) -> dict[str, Any]:
    """Unpack a row."""
    content: dict[str, Any] = pickle.loads(packed["content"])
    return content


class List:
    """Inputs → rows of some paths each: a listing of any length is never held as a whole.

    Args:
        supervisor: Is told how many paths there are so far.
    """

    def __init__(self, supervisor: Any) -> None:
        self._supervisor = supervisor

    def __call__(self, packed: Row) -> Iterator[Row]:
        """List everything that is named."""
        paths: list[str] = []
        num_paths = 0
        for path in list_videos(content_of(packed)["inputs"]):
            paths.append(path)
            if len(paths) == _PATHS_PER_ROW:
                num_paths += len(paths)
                self._supervisor.listed.remote(num_paths)
                yield row(paths=paths)
                paths = []
        if paths:
            self._supervisor.listed.remote(num_paths + len(paths))
            yield row(paths=paths)


class Probe:
    """Paths → a row a chunk, and one row that says what became of the other paths."""

    def __init__(self, config: Config, store_uri: str, supervisor: Any) -> None:
        self._config = config
        self._reader = Reader(config)
        self._store = Store.open(store_uri)
        self._given_up = tried_out(self._store, config.run.max_attempts)
        self._supervisor = supervisor
        self._metrics = StageMetrics("probe")

    def __call__(self, packed: Row) -> Iterator[Row]:
        """Open and plan some files."""
        paths: list[str] = content_of(packed)["paths"]
        skipped: list[str] = []
        failures: list[Failure] = []
        duplicates: list[Video] = []
        for path in paths:
            if path in self._given_up:
                skipped.append(path)
                continue
            video = self._open(path)
            if isinstance(video, Failure):
                failures.append(video)
            # Claimed first, looked up second: a finished video is no longer claimed by anyone.
            elif not ray.get(
                self._supervisor.claim.remote(video.video_id, video.path)
            ) or self._store.has(video.video_id):
                duplicates.append(video)
            else:
                chunks = plan_chunks(video, self._config.sample)
                for chunk in chunks:
                    yield row(chunk=chunk, num_chunks=len(chunks))
        yield row(num_paths=len(paths), skipped=skipped, failures=failures, duplicates=duplicates)

    def _open(self, path: str) -> Video | Failure:
        if not begin(self._supervisor, "probe", path):
            return _poison("probe", "", path)
        started = time.perf_counter()
        video = self._reader.open(path)
        sums = {"busy_seconds": time.perf_counter() - started}
        self._metrics.add(sums, [video] if isinstance(video, Failure) else [])
        self._supervisor.end.remote("probe", path, sums)
        return video


class Decode:
    """Chunk → its decoded frames and gaps, once there is room for them."""

    def __init__(self, config: Config, supervisor: Any) -> None:
        self._reader = Reader(config)
        self._supervisor = supervisor
        self._metrics = StageMetrics("decode")

    def __call__(self, packed: Row) -> Row:
        """Decode one chunk in this actor's own child process."""
        content = content_of(packed)
        if "chunk" not in content:
            return packed
        chunk: Chunk = content["chunk"]
        item = item_name(chunk)
        if not begin(self._supervisor, "decode", item, len(chunk.segments)):
            content["decoded"] = [_poison_gap("decode", chunk)]
            return row(**content)
        started = time.perf_counter()
        decoded = list(self._reader.decode(chunk))
        content["decoded"] = decoded
        packed = row(**content)
        sums = {
            "busy_seconds": time.perf_counter() - started,
            "frames": sum(len(batch) for batch in decoded if isinstance(batch, FrameBatch)),
            "bytes": len(packed["content"]),
        }
        self._metrics.add(sums, [gap for gap in decoded if isinstance(gap, Failure)])
        self._supervisor.end.remote("decode", item, sums)
        return packed


class Encode:
    """Decoded chunk → an object in the store, and the record of it."""

    def __init__(self, config: Config, store_uri: str, supervisor: Any) -> None:
        self._pipeline = SegmentPipeline(config, torch_device(config.run.device))
        self._store = Store.open(store_uri)
        self._supervisor = supervisor
        self._metrics = StageMetrics("encode")

    def __call__(self, packed: Row) -> Row:
        """Encode, compress and write one chunk."""
        content = content_of(packed)
        if "chunk" not in content:
            return packed
        chunk: Chunk = content["chunk"]
        item = item_name(chunk)
        if not begin(self._supervisor, "encode", item):
            return self._done(content, None, [_poison_gap("encode", chunk)])
        started = time.perf_counter()
        segments, gaps = self._pipeline.try_chunk(chunk.video, content["decoded"])
        record = self._store.write_chunk(chunk.video.video_id, segments) if segments else None
        sums = _sums(started, segments, record)
        self._metrics.add(sums, [gap for gap in gaps if gap.stage == "encode"])
        self._supervisor.end.remote("encode", item, sums)
        return self._done(content, record, gaps)

    @staticmethod
    def _done(content: dict[str, Any], record: ChunkRecord | None, gaps: Sequence[Failure]) -> Row:
        content.pop("decoded", None)
        return row(**content, record=record, gaps=gaps)


class DecodeAndEncode(Encode):
    """Chunk → an object in the store, in one process: frames never leave it."""

    def __init__(self, config: Config, store_uri: str, supervisor: Any) -> None:
        super().__init__(config, store_uri, supervisor)
        self._reader = Reader(config)

    def __call__(self, packed: Row) -> Row:
        """Decode, encode, compress and write one chunk, segment by segment."""
        content = content_of(packed)
        if "chunk" not in content:
            return packed
        chunk: Chunk = content["chunk"]
        item = item_name(chunk)
        if not begin(self._supervisor, "encode", item):
            return self._done(content, None, [_poison_gap("encode", chunk)])
        started = time.perf_counter()
        segments, gaps = self._pipeline.try_chunk(chunk.video, self._reader.decode(chunk))
        record = self._store.write_chunk(chunk.video.video_id, segments) if segments else None
        sums = _sums(started, segments, record)
        self._metrics.add(sums, gaps)
        self._supervisor.end.remote("encode", item, sums)
        return self._done(content, record, gaps)


def item_name(chunk: Chunk) -> str:
    """Name a chunk for the supervisor, alike however often it is worked on."""
    return f"{chunk.video.video_id} {chunk.segments[0].segment_index}"


def _sums(
    started: float, segments: Sequence[Segment], record: ChunkRecord | None
) -> dict[str, float]:
    return {
        "busy_seconds": time.perf_counter() - started,
        "frames": sum(segment.num_frames for segment in segments),
        "tokens": sum(len(segment.tokens) for segment in segments),
        "bytes": record.num_bytes if record else 0,
    }


def _poison(stage: str, video_id: str, path: str) -> Failure:
    return Failure(
        video_id,
        path,
        stage,
        "worker-crash",
        f"The process that does {stage} died every time that it worked on {path}; the job went on "
        "without it.",
    )


def _poison_gap(stage: str, chunk: Chunk) -> Failure:
    failure = _poison(stage, chunk.video.video_id, chunk.video.path)
    return replace(failure, start_seconds=chunk.start_seconds, end_seconds=chunk.end_seconds)
