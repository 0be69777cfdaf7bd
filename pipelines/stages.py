"""The stages that a job's actors run: callables from row to row, as Ray Data wants them.

A row carries a chunk from stage to stage; what cannot be read travels as a `Failure` in its row,
so no stage ever raises for a broken video. What a stage does is longvid's; here it is only fed,
counted and guarded.
"""

from __future__ import annotations

import pickle
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from queue import SimpleQueue
from typing import Any

import ray
import torch

from longvid.config import Config, torch_device
from longvid.indexing import SegmentPipeline, tried_out
from longvid.listing import list_videos
from longvid.reader import Reader
from longvid.sample import plan_chunks
from longvid.store import Store
from longvid.types import Chunk, Failure, FrameBatch, Video
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

    def close(self) -> None:
        """End the child process that opens files."""
        self._reader.close()

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
    """Chunk → its decoded frames and gaps, once there is room for them.

    Args:
        config: Names the decoder.
        supervisor: Bounds the frames that wait.
        num_readers: Chunks that are decoded at a time, when so many threads call.
    """

    def __init__(self, config: Config, supervisor: Any, num_readers: int = 1) -> None:
        self._readers: SimpleQueue[Reader] = SimpleQueue()
        for _ in range(num_readers):
            self._readers.put(Reader(config))
        self._supervisor = supervisor
        self._process = uuid.uuid4().hex
        self._metrics = StageMetrics("decode")

    def __call__(self, packed: Row) -> Row:
        """Decode one chunk in a child process of this actor's own."""
        content = content_of(packed)
        return row(**self.add_frames(content)) if "chunk" in content else packed

    def add_frames(self, content: dict[str, Any]) -> dict[str, Any]:
        """Return the content with the chunk's frames and gaps, as "decoded"."""
        reader = self._readers.get()
        try:
            return {**content, "decoded": self._decoded(reader, content["chunk"])}
        finally:
            self._readers.put(reader)

    def _decoded(self, reader: Reader, chunk: Chunk) -> list[FrameBatch | Failure]:
        item = item_name(chunk)
        if not begin(self._supervisor, "decode", item, len(chunk.segments), self._process):
            return [_poison_gap("decode", chunk)]
        started = time.perf_counter()
        decoded = list(reader.decode(chunk))
        batches = [batch for batch in decoded if isinstance(batch, FrameBatch)]
        sums = {
            "busy_seconds": time.perf_counter() - started,
            "frames": sum(map(len, batches)),
            "bytes": sum(batch.data.nbytes for batch in batches),
        }
        self._metrics.add(sums, [gap for gap in decoded if isinstance(gap, Failure)])
        self._supervisor.end.remote("decode", item, sums)
        return decoded


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
        return row(**self.write(content)) if "chunk" in content else packed

    def write(self, content: dict[str, Any]) -> dict[str, Any]:
        """Return the content with the "record" of what was written and the "gaps", frames gone."""
        chunk: Chunk = content["chunk"]
        decoded: list[FrameBatch | Failure] = content["decoded"]
        rest = {name: value for name, value in content.items() if name != "decoded"}
        item = item_name(chunk)
        if not begin(self._supervisor, "encode", item):
            return {**rest, "record": None, "gaps": [_poison_gap("encode", chunk)]}
        started = time.perf_counter()
        segments, gaps = self._pipeline.try_chunk(chunk.video, decoded)
        record = self._store.write_chunk(chunk.video.video_id, segments) if segments else None
        sums = {
            "busy_seconds": time.perf_counter() - started,
            "frames": sum(segment.num_frames for segment in segments),
            "tokens": sum(len(segment.tokens) for segment in segments),
            "bytes": record.num_bytes if record else 0,
        }
        self._metrics.add(sums, [gap for gap in gaps if gap.stage == "encode"])
        self._supervisor.end.remote("encode", item, sums)
        return {**rest, "record": record, "gaps": gaps}


class DecodeAndEncode:
    """Chunk → an object in the store, in one process: frames never leave it.

    It is called by more threads than decode, so that what is decoded can wait for the encoder
    while decoding goes on, and first of all while the weights load.

    Args:
        config: Names the parts.
        store_uri: Where the objects go.
        supervisor: Bounds the frames that wait.
        num_decoders: Chunks that are decoded at a time, each in a child process of its own.
    """

    def __init__(self, config: Config, store_uri: str, supervisor: Any, num_decoders: int) -> None:
        self._decode = Decode(config, supervisor, num_decoders)
        self._threads = max(1, int(config.ray.encode_cpus))
        # One thread for all that touches the models: they are loaded and used one at a time.
        self._encoder = ThreadPoolExecutor(1, "encode")
        self._loading = self._encoder.submit(self._load, config, store_uri, supervisor)

    def _load(self, config: Config, store_uri: str, supervisor: Any) -> Encode:
        # Ray counts the share of the decoders in, which are processes of their own.
        torch.set_num_threads(self._threads)
        return Encode(config, store_uri, supervisor)

    def __call__(self, packed: Row) -> Row:
        """Decode, encode, compress and write one chunk."""
        content = content_of(packed)
        if "chunk" not in content:
            return packed
        content = self._decode.add_frames(content)
        return row(**self._encoder.submit(self._write, content).result())

    def _write(self, content: dict[str, Any]) -> dict[str, Any]:
        return self._loading.result().write(content)


def item_name(chunk: Chunk) -> str:
    """Name a chunk for the supervisor, alike however often it is worked on."""
    return f"{chunk.video.video_id} {chunk.segments[0].segment_index}"


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
