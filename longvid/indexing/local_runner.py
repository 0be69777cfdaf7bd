"""The index side on one machine.

The stages are the same for every runner: `Reader.open` → `try_plan_chunks` → a decoder → a
`SegmentPipeline` → `Ledger`. `longvid.cluster` puts them on Ray.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import ExitStack, closing
from dataclasses import replace
from queue import SimpleQueue

from longvid.config import Config, torch_device
from longvid.indexing.decode_encode_worker import DecodeEncodeWorker
from longvid.indexing.decode_workers import DecodeWorkers
from longvid.indexing.ledger import Ledger, empty_input_error, exhausted_paths, open_store
from longvid.indexing.listed_paths import ListedPaths
from longvid.indexing.messages import Opened, Written
from longvid.indexing.report import IndexReport, Progress
from longvid.indexing.text_threads import TextThreads
from longvid.inputs import Listing
from longvid.remote_files import file_bytes, is_remote
from longvid.sample import try_plan_chunks
from longvid.types import Failure


def run_local(
    paths: Iterable[str],
    store_uri: str,
    config: Config,
    on_progress: Callable[[Progress], None] | None = None,
    again: Collection[str] = (),
    tags: Mapping[str, str] | None = None,
) -> IndexReport:
    """Index videos on this machine: decoding processes beside one encoder.

    The next chunk of an open video is decoded before another file is opened, so that one long
    film occupies every decoder and few videos are open at a time.

    Args:
        paths: Local files or URIs.
        store_uri: Folder or URI of the store.
        config: The whole configuration.
        on_progress: Called in this thread whenever a file was opened or a chunk finished.
        again: Videos to index anew although the store holds them.
        tags: Given to every video, those that the store holds among them.
    """
    started = time.perf_counter()
    # Before the store is made: a decoder that cannot be used leaves none behind.
    with ExitStack() as running, DecodeWorkers(config) as decoding:
        store = open_store(store_uri, config)
        ledger = Ledger(store, config.run, again, tags)
        listed = running.enter_context(closing(ListedPaths(paths)))
        if on_progress is not None:
            on_progress(_with_listing(ledger.progress, listed))
        text = running.enter_context(TextThreads(config, store))
        one_thread = 1 if torch_device(config.run.device) == "cpu" else None
        with DecodeEncodeWorker(config, store, decoding, one_thread) as worker:
            run = _Run(listed, config, worker, ledger)
            for _ in run.steps(2 * decoding.num_threads):
                for video in ledger.finished:
                    text.submit(video)
                ledger.finished.clear()
                if on_progress is not None:
                    on_progress(_with_listing(ledger.progress, listed))
        failures, text_note = text.finish()
        ledger.failures.extend(failures)
    skipped = paths.notes() if isinstance(paths, Listing) else ()
    if not run.num_paths:
        raise empty_input_error(skipped)
    store.refresh()
    seconds = time.perf_counter() - started
    store.record_run({"runner": "local", **ledger.summary(seconds)})
    note = "; ".join(filter(None, (config.encoder.note(), text_note)))
    return replace(ledger.report(seconds, note), skipped=skipped)


def _with_listing(progress: Progress, listed: ListedPaths) -> Progress:
    return replace(
        progress,
        videos_listed=listed.num_listed,
        listing_done=listed.is_complete,
        bytes_listed=listed.num_bytes,
    )


class _Run:
    """The running files and chunks."""

    def __init__(
        self, paths: Iterable[str], config: Config, worker: DecodeEncodeWorker, ledger: Ledger
    ) -> None:
        self.num_paths = 0
        self._paths = iter(paths)
        self._config, self._worker, self._ledger = config, worker, ledger
        self._given_up = exhausted_paths(ledger.store, config.run.max_attempts)
        self._num_running = 0
        self._done: SimpleQueue[Future[Opened] | Future[Written]] = SimpleQueue()

    def steps(self, num_tasks: int) -> Iterator[None]:
        """Do the work; yield after every file that was opened and every chunk that was written.

        Args:
            num_tasks: Files are opened while fewer tasks are running: twice the threads, so that
                each has one running and one queued.
        """
        while True:
            while self._num_running < num_tasks and self._open_next():
                pass
            if not self._num_running:
                return
            result = self._done.get().result()
            self._num_running -= 1
            match result:
                case Opened():
                    self._start(result)
                case Written():
                    for path in self._ledger.chunk_done(result):
                        self._submit(self._worker.open(path))
            yield

    def _open_next(self) -> bool:
        """Open the next file; False when there is none."""
        path = next(self._paths, None)
        if path is None:
            return False
        self.num_paths += 1
        if path in self._given_up:
            self._ledger.count_bytes(path, file_bytes(path))
            self._ledger.skip(path)
        else:
            self._submit(self._worker.open(path))
        return True

    def _start(self, opened: Opened) -> None:
        """Plan an opened video and submit its chunks, unless the store has its content.

        All chunks at once: while the encoder is busy or still loading, the size of the frame queue
        holds decoding back.
        """
        if not is_remote(opened.path):
            self._ledger.count_bytes(opened.path, opened.state.num_bytes if opened.state else 0)
        chunks = try_plan_chunks(opened.found, self._config.sample)
        if isinstance(chunks, Failure):
            self._ledger.fail(chunks)
        elif self._ledger.start(chunks[0].video, len(chunks), opened):
            for chunk in chunks:
                self._submit(self._worker.index(chunk))

    def _submit(self, task: Future[Opened] | Future[Written]) -> None:
        self._num_running += 1
        task.add_done_callback(self._done.put)
