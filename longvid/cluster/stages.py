"""The stages that a job's actors run.

What cannot be read is returned as a `Failure`, so no stage ever raises for a broken video. What a
stage does is longvid's; here it is only fed and counted. Every stage has `load`, which a job awaits
before it gives the actor work: what is raised there ends the job.
"""

from __future__ import annotations

import pickle
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from queue import SimpleQueue

from longvid.cluster.metrics import StageMetrics
from longvid.config import Config, torch_device
from longvid.indexing.segment_pipeline import SegmentPipeline
from longvid.indexing.video_reader import Reader
from longvid.lazy_import import torch
from longvid.store import ChunkRecord, Store
from longvid.types import Chunk, Failure, FrameBatch, Video

__all__ = ["Decode", "DecodeAndEncode", "Encode", "Probe", "Sums", "Written", "refresh"]

Sums = dict[str, float]
"""Figures of one item: busy_seconds, and any of frames, tokens and bytes."""


@dataclass(frozen=True, slots=True)
class Written:
    """What became of a chunk.

    Args:
        record: Of the object in the store, None if nothing of the chunk could be read.
        gaps: What could not be decoded or encoded.
        sums: By stage.
    """

    record: ChunkRecord | None
    gaps: list[Failure]
    sums: dict[str, Sums]


class Probe:
    """Paths → what each file is."""

    def __init__(self, config: Config) -> None:
        self._reader = Reader(config)
        self._metrics = StageMetrics("probe")

    def load(self) -> None:
        """Do nothing: there are no weights."""

    def run(self, paths: Sequence[str]) -> list[tuple[Video | Failure, Sums]]:
        """Hash and open some files."""
        return [self._open(path) for path in paths]

    def close(self) -> None:
        """End the child process that opens files."""
        self._reader.close()

    def _open(self, path: str) -> tuple[Video | Failure, Sums]:
        started = time.perf_counter()
        video = self._reader.open(path)
        sums = {"busy_seconds": time.perf_counter() - started}
        self._metrics.add(sums, [video] if isinstance(video, Failure) else [])
        return video, sums


class Decode:
    """Chunk → its decoded frames and gaps.

    Args:
        config: Names the decoder.
        num_readers: Chunks that are decoded at a time, when so many threads call.
    """

    def __init__(self, config: Config, num_readers: int = 1) -> None:
        self._config = config
        self._readers: SimpleQueue[Reader] = SimpleQueue()
        for _ in range(num_readers):
            self.add_reader()
        self._metrics = StageMetrics("decode")

    def add_reader(self) -> None:
        """Let one chunk more be decoded at a time."""
        self._readers.put(Reader(self._config))

    def load(self) -> None:
        """Do nothing: there are no weights."""

    def run(self, chunk: Chunk) -> tuple[bytes, Sums]:
        """Decode one chunk in a child process of this actor's own, for `Encode.run`."""
        decoded, sums = self.decode(chunk)
        return pickle.dumps(decoded, protocol=pickle.HIGHEST_PROTOCOL), sums

    def decode(self, chunk: Chunk) -> tuple[list[FrameBatch | Failure], Sums]:
        """Decode one chunk."""
        reader = self._readers.get()
        started = time.perf_counter()
        try:
            decoded = list(reader.decode(chunk))
        finally:
            self._readers.put(reader)
        batches = [batch for batch in decoded if isinstance(batch, FrameBatch)]
        sums = {
            "busy_seconds": time.perf_counter() - started,
            "frames": sum(map(len, batches)),
            "bytes": sum(batch.data.nbytes for batch in batches),
        }
        self._metrics.add(sums, [gap for gap in decoded if isinstance(gap, Failure)])
        return decoded, sums


class Encode:
    """Decoded chunk → an object in the store, and the record of it."""

    def __init__(self, config: Config, store_uri: str) -> None:
        self._config = config
        self._store = Store.open(store_uri)
        self._metrics = StageMetrics("encode")

    def load(self) -> None:
        """Load the weights."""
        self._pipeline = SegmentPipeline(self._config, torch_device(self._config.run.device))

    def run(self, chunk: Chunk, frames: bytes) -> Written:
        """Encode, compress and write what `Decode.run` gave for a chunk."""
        return self.write(chunk, pickle.loads(frames))

    def write(self, chunk: Chunk, decoded: Sequence[FrameBatch | Failure]) -> Written:
        """Encode, compress and write one chunk."""
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
        return Written(record, gaps, {"encode": sums})


class DecodeAndEncode:
    """Chunk → an object in the store, in one process: frames never leave it.

    It is called by more threads than decode, so that what is decoded can wait for the encoder
    while decoding goes on, and first of all while the weights load.

    Args:
        config: Names the parts.
        store_uri: Where the objects go.
        num_decoders: Chunks that are decoded at a time, each in a child process of its own.
    """

    def __init__(self, config: Config, store_uri: str, num_decoders: int) -> None:
        # One thread for all that touches the models: they are loaded and used one at a time.
        self._encoder = ThreadPoolExecutor(1, "encode")
        self._loading = self._encoder.submit(self._load, config, store_uri)
        # Everything waits for the weights, so a processor is left to them until they are there.
        beside = max(1, num_decoders - 1)
        self._decode = Decode(config, beside)
        if beside < num_decoders:
            self._loading.add_done_callback(lambda _: self._decode.add_reader())

    @staticmethod
    def _load(config: Config, store_uri: str) -> Encode:
        # Ray counts the share of the decoders in, which are processes of their own.
        torch.set_num_threads(max(1, int(config.ray.encode_cpus)))
        encode = Encode(config, store_uri)
        encode.load()
        return encode

    def load(self) -> None:
        """Do nothing: decoding need not wait until the weights are loaded."""

    def run(self, chunk: Chunk) -> Written:
        """Decode, encode, compress and write one chunk."""
        decoded, sums = self._decode.decode(chunk)
        written = self._encoder.submit(self._write, chunk, decoded).result()
        return Written(written.record, written.gaps, {"decode": sums, **written.sums})

    def _write(self, chunk: Chunk, decoded: list[FrameBatch | Failure]) -> Written:
        return self._loading.result().write(chunk, decoded)


def refresh(store_uri: str) -> None:
    """Bring a store's catalog and search index up to date.

    Both grow with the number of videos in the store, so this is no work for the driver.
    """
    Store.open(store_uri).refresh()
