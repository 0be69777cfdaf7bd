"""Writers and readers in several processes and threads, all in one store at once."""

from __future__ import annotations

import multiprocessing
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.context import BaseContext

import pytest

from longvid.store import Store
from longvid.types import Failure
from tests.reference.search import search_slowly
from tests.unit.store.conftest import MakeStore
from tests.unit.store.synthetic import WIDTH, add_video, make_segment, make_video

VIDEOS = [f"{i:032x}" for i in range(12)]


@pytest.fixture(scope="module")
def processes() -> Iterator[ProcessPoolExecutor]:
    context: BaseContext = multiprocessing.get_context("forkserver")
    # The preload makes each worker a fork of a process that has imported everything already.
    context.set_forkserver_preload(["longvid.store", "tests.unit.store.synthetic"])  # type: ignore[attr-defined]  # of this context
    with ProcessPoolExecutor(2, mp_context=context) as pool:
        yield pool


def both(
    pool: ProcessPoolExecutor, work: Callable[..., None], *arguments: tuple[object, ...]
) -> None:
    for future in [pool.submit(work, *given) for given in arguments]:
        future.result(timeout=120)


def index_all(uri: str, video_ids: list[str], name: str, sizes: tuple[int, ...], seed: int) -> None:
    store = Store.create(
        uri, fingerprint="shared", config={}, space="test-space", embedding_width=WIDTH
    )
    for video_id in video_ids:
        if not store.has(video_id):
            add_video(store, video_id, path=f"/{name}/{video_id}.mp4", chunks=sizes, seed=seed)
        else:
            store.add_path(video_id, f"/{name}/{video_id}.mp4")
        store.record_failures([Failure(video_id, f"/{name}", "decode", "corrupt", "Broken.")])
        store.refresh()


@pytest.mark.parametrize("alike", [True, False], ids=["alike", "other plan and last bits"])
def test_two_jobs_over_the_same_videos(
    processes: ProcessPoolExecutor, make_store: MakeStore, alike: bool
) -> None:
    uri = make_store(fingerprint="shared").uri
    other = ((3, 2), 0) if alike else ((1, 1, 3), 1)
    both(
        processes,
        index_all,
        (uri, VIDEOS, "one", (3, 2), 0),
        (uri, VIDEOS[::-1], "two", *other),
    )
    store = make_store(fingerprint="shared")
    assert [finding.message for finding in store.verify()] == []
    videos = store.videos()
    assert sorted(stored.video.video_id for stored in videos) == VIDEOS
    for stored in videos:
        name = f"{stored.video.video_id}.mp4"
        assert stored.paths == (f"/one/{name}", f"/two/{name}")
        assert stored.num_segments == 5
    assert len(store.load([(v, i) for v in VIDEOS for i in range(5)])) == 60
    assert sum(failure.attempts for failure in store.failures()) == 24
    query = make_segment(VIDEOS[0], 0).frame_embeddings[0]
    assert store.search(query, 60) == search_slowly(store, query, 60)
    if alike:
        alone = make_store("alone", fingerprint="shared")
        index_all(alone.uri, VIDEOS, "one", (3, 2), 0)
        index_all(alone.uri, VIDEOS, "two", (3, 2), 0)
        assert store.digest() == alone.digest()


def write_chunks(uri: str, first: int) -> None:
    store = Store.open(uri)
    for index in range(first, 20, 2):
        store.write_chunk(VIDEOS[0], [make_segment(VIDEOS[0], index)])


def test_two_processes_write_chunks_of_one_video(
    processes: ProcessPoolExecutor, make_store: MakeStore
) -> None:
    shared, alone = make_store("shared"), make_store("alone")
    both(processes, write_chunks, (shared.uri, 0), (shared.uri, 1))
    for store in (shared, alone):
        records = [store.write_chunk(VIDEOS[0], [make_segment(VIDEOS[0], i)]) for i in range(20)]
        store.finish(make_video(VIDEOS[0]), records)
    assert shared.digest() == alone.digest()
    assert shared.verify() == []


def create(uri: str, fingerprint: str) -> None:
    Store.create(uri, fingerprint=fingerprint, config={}, space="s", embedding_width=4)


def test_two_processes_make_one_store(
    processes: ProcessPoolExecutor, make_store: MakeStore
) -> None:
    for i in range(10):
        uri = f"{make_store('beside').uri}-{i}"
        futures = [processes.submit(create, uri, fingerprint) for fingerprint in ("one", "two")]
        refused = [future for future in futures if future.exception(timeout=60)]
        assert len(refused) == 1
        assert "index into another folder" in str(refused[0].exception())
        assert Store.open(uri).fingerprint in ("one", "two")


def test_asking_goes_on_while_videos_come_and_go(
    processes: ProcessPoolExecutor, make_store: MakeStore
) -> None:
    writer = make_store(fingerprint="shared")
    add_video(writer, "f" * 32)
    reader = make_store(fingerprint="shared")
    query = make_segment("f" * 32, 1).frame_embeddings[0]
    stop, errors, found = threading.Event(), [], [0]

    def ask() -> None:
        while not stop.is_set():
            hits = reader.search(query, 3)
            if (hits[0].video_id, hits[0].segment_index) != ("f" * 32, 1):
                errors.append(hits)
            reader.load([("f" * 32, hits[0].segment_index)])
            found[0] = max(found[0], len(reader.videos()))

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    both(processes, index_all, (writer.uri, VIDEOS, "one", (3, 2), 0))
    until = time.monotonic() + 60
    while found[0] < 2 and time.monotonic() < until:  # a busy reader lists the videos anew late
        time.sleep(0.01)
    writer.remove(VIDEOS[:6])
    writer.rebuild()
    stop.set()
    for thread in threads:
        thread.join()
    assert errors == []
    assert found[0] > 1
    reader.refresh()  # without it, news may take ten times as long as a listing to be seen
    assert len(reader.videos()) == 7
    assert reader.search(query, 50) == search_slowly(writer, query, 50)
