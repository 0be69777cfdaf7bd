"""Decode, encode and write chunks in one process: decoding threads beside one encoding thread.

The local runner has one such worker, and so has every fused actor of the Ray runner.
"""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future
from dataclasses import dataclass, field

from longvid.config import Config, torch_device
from longvid.indexing.decode_workers import DecodeWorkers
from longvid.indexing.frame_queue import QueueClosed
from longvid.indexing.messages import ChunkDone, DecodedItem, Opened, StageSums, Written
from longvid.indexing.segment_pipeline import SegmentPipeline, torch_threads
from longvid.store import Store
from longvid.types import Chunk, Failure, FrameBatch, Segment


@dataclass(slots=True)
class _Pending:
    """A running chunk, and its results so far."""

    result: Future[Written] = field(default_factory=Future)
    segments: list[Segment] = field(default_factory=list)
    gaps: list[Failure] = field(default_factory=list)
    decode: StageSums = field(default_factory=lambda: {"frames": 0, "bytes": 0})
    encode_seconds: float = 0.0


class DecodeEncodeWorker:
    """Indexes chunks. Frames never leave the process, and their number is bounded.

    Weights load while the first chunk is being decoded, and not at all when there is none.

    Args:
        config: Names the parts.
        store: Where chunks are written.
        decoding: The threads that decode; closed with this worker.
        num_torch_threads: Threads of one operation of the encoder; None leaves that to torch.
            Beside busy decoders several threads wait for each other most of the time, which made
            indexing slower than decoding and encoding one after the other.
    """

    def __init__(
        self, config: Config, store: Store, decoding: DecodeWorkers, num_torch_threads: int | None
    ) -> None:
        self._config, self._store, self._decoding = config, store, decoding
        self._num_torch_threads = num_torch_threads
        self._pending: dict[tuple[str, int], _Pending] = {}
        self._lock = threading.Lock()  # guards `_pending` and `_error`
        self._error: BaseException | None = None
        self._loaded: Future[None] = Future()
        self._encoder = threading.Thread(target=self._encode, name="encode")

    def __enter__(self) -> DecodeEncodeWorker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End all threads and decoding processes; running chunks are dropped."""
        self._decoding.close()
        if self._encoder.ident is not None:
            self._encoder.join()

    def open(self, path: str) -> Future[Opened]:
        """Probe a file."""
        return self._decoding.open(path)

    def index(self, chunk: Chunk) -> Future[Written]:
        """Decode a chunk, encode it and write it to the store. Any thread may call this."""
        pending = _Pending()
        with self._lock:
            if self._error is not None:
                pending.result.set_exception(self._error)
                return pending.result
            self._pending[chunk.key] = pending
            self._load()
        self._decoding.decode(chunk)
        return pending.result

    def load(self) -> None:
        """Load the weights now, in the encoding thread."""
        with self._lock:
            self._load()

    def _load(self) -> None:
        if self._encoder.ident is None:
            self._encoder.start()
            # Every chunk waits for the weights, so one processor is left to loading them.
            self._decoding.rest_until(self._loaded)

    def _encode(self) -> None:
        """Encode what the decoding threads give, until they are closed."""
        try:
            with torch_threads(self._num_torch_threads):
                pipeline = SegmentPipeline(self._config, torch_device(self._config.run.device))
                self._loaded.set_result(None)
                while True:
                    match self._decoding.get():
                        case DecodedItem(chunk, item):
                            self._take(pipeline, chunk, item)
                        case ChunkDone(chunk, busy_seconds):
                            self._finish(pipeline, chunk, busy_seconds)
        except QueueClosed:
            return
        except BaseException as error:  # noqa: BLE001  # raised to all who wait for a chunk
            self._fail(error)

    def _take(self, pipeline: SegmentPipeline, chunk: Chunk, item: FrameBatch | Failure) -> None:
        pending = self._pending[chunk.key]
        if isinstance(item, FrameBatch):
            pending.decode["frames"] += len(item)
            pending.decode["bytes"] += item.data.nbytes
            started = time.perf_counter()
            encoded = pipeline.try_segment(chunk.video, item)
            pending.encode_seconds += time.perf_counter() - started
            if isinstance(encoded, Segment):
                pending.segments.append(encoded)
                return
            item = encoded
        pending.gaps.append(item)

    def _finish(self, pipeline: SegmentPipeline, chunk: Chunk, decode_seconds: float) -> None:
        pending = self._pending[chunk.key]  # kept until it is written: `_fail` tells who waits
        pending.decode["busy_seconds"] = decode_seconds
        started = time.perf_counter()
        segments, refused = pipeline.finish_chunk(chunk.video, pending.segments)
        pending.encode_seconds += time.perf_counter() - started
        gaps = pending.gaps + refused
        written = written_chunk(self._store, chunk, segments, gaps, pending.encode_seconds)
        written.sums["decode"] = pending.decode
        with self._lock:
            del self._pending[chunk.key]
        pending.result.set_result(written)

    def _fail(self, error: BaseException) -> None:
        with self._lock:
            self._error = error
            waiting = list(self._pending.values())
            self._pending.clear()
        self._decoding.cancel(error)
        if not self._loaded.done():
            self._loaded.set_exception(error)
        for pending in waiting:
            pending.result.set_exception(error)


def written_chunk(
    store: Store, chunk: Chunk, segments: list[Segment], gaps: list[Failure], encode_seconds: float
) -> Written:
    """Write the segments of a chunk to the store."""
    started = time.perf_counter()
    record = store.write_chunk(chunk.video.video_id, segments) if segments else None
    sums: StageSums = {
        "busy_seconds": encode_seconds + time.perf_counter() - started,
        "frames": sum(segment.num_frames for segment in segments),
        "tokens": sum(len(segment.tokens) for segment in segments),
        "bytes": record.num_bytes if record else 0,
    }
    return Written(chunk.video.video_id, record, tuple(gaps), {"encode": sums})
