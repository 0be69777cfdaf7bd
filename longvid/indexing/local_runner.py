"""The index wing on one machine: decoding processes beside one encoder.

The stages are the same whoever runs them: `open_video` → `try_plan_chunks` → a decoder → a
`SegmentPipeline` → `Ledger`. `longvid.cluster` puts them on Ray.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable
from concurrent.futures import Future, ThreadPoolExecutor

from longvid.config import Config, torch_device
from longvid.indexing.decode_workers import DecodingThreads
from longvid.indexing.ledger import Ledger, no_video_named, open_store, tried_out
from longvid.indexing.report import IndexReport, Progress
from longvid.indexing.segment_pipeline import SegmentPipeline, encoding_threads
from longvid.sample import try_plan_chunks
from longvid.types import Failure, FrameBatch, Segment

__all__ = ["run_local"]


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
    waiting = iter(paths)
    encoded: dict[tuple[str, int], tuple[list[Segment], list[Failure]]] = {}
    running = 0
    num_paths = 0

    # Weights load while the first chunk is being decoded, and not at all when there is none.
    loading: Future[SegmentPipeline] | None = None
    with (
        ThreadPoolExecutor(1, "load") as loader,
        encoding_threads(device),
        # Before the store is made: a decoder that cannot be used leaves none behind.
        DecodingThreads(config) as threads,
    ):
        store = open_store(store_uri, config)
        ledger = Ledger(store, config.run.max_failure_rate, again)
        given_up = tried_out(store, config.run.max_attempts)
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
                planned = try_plan_chunks(result, config.sample)
                if isinstance(planned, Failure):
                    ledger.fail(planned)
                elif ledger.start(planned[0].video, len(planned)):
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
