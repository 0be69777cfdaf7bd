"""The stages that a job's actors run.

What cannot be read is returned as a `Failure`, so no stage raises for a broken video. The work is
that of `longvid.indexing`; here it is called and counted. Every stage has `load`, which a job waits
for before it gives the actor work: what is raised there ends the job.
"""

from __future__ import annotations

import pickle
import time
from collections.abc import Sequence

from longvid.cluster.stage_metrics import StageMetrics
from longvid.config import Config, torch_device
from longvid.indexing.decode_encode_worker import DecodeEncodeWorker, written_chunk
from longvid.indexing.decode_workers import DecodeWorkers
from longvid.indexing.messages import Opened, StageSums, Written
from longvid.indexing.segment_pipeline import SegmentPipeline
from longvid.indexing.video_reader import Reader
from longvid.store import Store
from longvid.types import Chunk, Failure, FrameBatch


class Probe:
    """Paths → what each file is."""

    def __init__(self, config: Config) -> None:
        self._reader = Reader(config)
        self._metrics = StageMetrics("probe")

    def load(self) -> None:
        """Do nothing: there are no weights."""

    def run(self, paths: Sequence[str]) -> list[Opened]:
        """Hash and open some files."""
        return [self._open(path) for path in paths]

    def close(self) -> None:
        """End the child process that opens files."""
        self._reader.close()

    def _open(self, path: str) -> Opened:
        opened = self._reader.open(path)
        failures = [opened.found] if isinstance(opened.found, Failure) else []
        self._metrics.add({"busy_seconds": opened.busy_seconds}, failures)
        return opened


class Decode:
    """Chunk → its decoded frames and gaps, for `Encode` in another process."""

    def __init__(self, config: Config) -> None:
        self._reader = Reader(config)
        self._metrics = StageMetrics("decode")

    def load(self) -> None:
        """Do nothing: there are no weights."""

    def run(self, chunk: Chunk) -> tuple[bytes, StageSums]:
        """Decode one chunk in a child process of this actor's own."""
        started = time.perf_counter()
        decoded = list(self._reader.decode(chunk))
        batches = [batch for batch in decoded if isinstance(batch, FrameBatch)]
        sums: StageSums = {
            "busy_seconds": time.perf_counter() - started,
            "frames": sum(map(len, batches)),
            "bytes": sum(batch.data.nbytes for batch in batches),
        }
        self._metrics.add(sums, [gap for gap in decoded if isinstance(gap, Failure)])
        return pickle.dumps(decoded, protocol=pickle.HIGHEST_PROTOCOL), sums


class Encode:
    """Decoded chunk → an object in the store, and the record of it."""

    def __init__(self, config: Config, store_uri: str) -> None:
        self._config = config
        self._store = Store.open(store_uri)
        self._metrics = StageMetrics("encode")

    def load(self) -> None:
        self._pipeline = SegmentPipeline(self._config, torch_device(self._config.run.device))

    def run(self, chunk: Chunk, frames: bytes) -> Written:
        """Encode, compress and write what `Decode.run` gave for a chunk."""
        started = time.perf_counter()
        segments, gaps = self._pipeline.try_chunk(chunk.video, pickle.loads(frames))
        seconds = time.perf_counter() - started
        written = written_chunk(self._store, chunk, segments, gaps, seconds)
        self._metrics.add(written.sums["encode"], _of_stage("encode", gaps))
        return written


class DecodeAndEncode:
    """Chunk → an object in the store, in one process: frames never leave it.

    It is called by more threads than decode, so that chunks are queued while others are decoded.

    Args:
        config: Names the parts.
        store_uri: Where the objects go.
        num_decoders: Chunks that are decoded at a time, each in a child process of its own.
    """

    def __init__(self, config: Config, store_uri: str, num_decoders: int) -> None:
        self._worker = DecodeEncodeWorker(
            config,
            Store.open(store_uri),
            DecodeWorkers(config, num_decoders),
            # Ray counts the share of the decoders in, which are processes of their own.
            max(1, int(config.ray.encode_cpus)),
        )
        self._metrics = {stage: StageMetrics(stage) for stage in ("decode", "encode")}

    def load(self) -> None:
        """Begin to load the weights; decoding need not wait until they are loaded."""
        self._worker.load()

    def run(self, chunk: Chunk) -> Written:
        """Decode, encode, compress and write one chunk."""
        written = self._worker.index(chunk).result()
        for stage, metrics in self._metrics.items():
            metrics.add(written.sums[stage], _of_stage(stage, written.gaps))
        return written


def _of_stage(stage: str, gaps: Sequence[Failure]) -> list[Failure]:
    return [gap for gap in gaps if gap.stage == stage]


def refresh(store_uri: str) -> None:
    """Bring a store's catalog and search index up to date.

    Both grow with the number of videos in the store, so this is no work for the driver.
    """
    Store.open(store_uri).refresh()
