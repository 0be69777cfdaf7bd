"""Kill a writer at any moment: the store opens, shows only whole videos, and a re-run finishes it.

Writers are killed by SIGKILL, half of them at a moment drawn from a seed, the others right before
or in the middle of a file operation drawn from it, so that no gap between two operations is too
short to be hit. LONGVID_KILLS sets how many points of each kind are drawn, LONGVID_SEED the seed.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import time
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import Any

import pytest

from longvid.errors import StoreError
from longvid.store import Store
from longvid.types import Failure
from tests.reference.search import search_slowly
from tests.unit.store.synthetic import WIDTH, assert_same, make_segment, make_video

KILLS = int(os.environ.get("LONGVID_KILLS", "12"))
SEED = int(os.environ.get("LONGVID_SEED", "20250101"))
VIDEOS = [f"{i:032x}" for i in range(4)]
CHUNKS = ((0, 1), (2,), (3, 4))
OPERATIONS = ("open", "write", "fsync", "replace", "link", "unlink", "mkdir")


def make(folder: str) -> Store:
    return Store.create(
        folder, fingerprint="kill", config={}, space="test-space", embedding_width=WIDTH
    )


def index_all(folder: str) -> None:
    """Do what an indexing run does with its store."""
    store = make(folder)
    for number, video_id in enumerate(VIDEOS):
        if not store.has(video_id):
            index_one(store, video_id, has_gap=number % 2 == 1)
        # A finished video that is met again, under whatever name, is listed under that name.
        store.add_path(video_id, f"/again/{video_id}.mp4")
        store.refresh()


def index_one(store: Store, video_id: str, *, has_gap: bool) -> None:
    records = [
        store.write_chunk(video_id, [make_segment(video_id, i, num_tokens=300) for i in chunk])
        for chunk in CHUNKS
    ]
    store.clear_failures([video_id])
    if has_gap:
        gap = Failure(video_id, f"/{video_id}.mp4", "decode", "corrupt", "Gap.", 1, 9.0, 10.0)
        store.record_failures([gap])
    store.finish(make_video(video_id), records)


def die_at(folder: str, operation: int) -> None:
    """Index until the given file operation, half of a write included, then die."""
    count = 0

    def counted(name: str) -> Any:
        original = getattr(os, name)

        def call(*arguments: Any, **named: Any) -> Any:
            nonlocal count
            count += 1
            if count == operation:
                if name == "write":
                    original(arguments[0], bytes(arguments[1])[: len(arguments[1]) // 2])
                os.kill(os.getpid(), signal.SIGKILL)
            return original(*arguments, **named)

        return call

    for name in OPERATIONS:
        setattr(os, name, counted(name))
    index_all(folder)
    Path(f"{folder}.operations").write_text(str(count))


def check_survivor(folder: str, undisturbed: Store) -> int:
    """Require that what is visible is whole; return how many videos are."""
    if not (Path(folder) / "store.json").exists():
        with pytest.raises(StoreError, match="There is no store"):
            Store.open(folder)
        return 0
    store = Store.open(folder)
    for stored in store.videos():
        video_id = stored.video.video_id
        assert stored.num_segments == 5
        for segment in store.load([(video_id, i) for i in range(5)]):
            assert_same(segment, make_segment(video_id, segment.segment_index, num_tokens=300))
    assert {finding.kind for finding in store.verify()} <= {"orphan"}
    query = make_segment(VIDEOS[0], 0).frame_embeddings[0]
    assert store.search(query, 30) == search_slowly(store, query, 30)
    assert len(store.failures()) <= len(undisturbed.failures())
    return len(store.videos())


def files(folder: str, *parts: str) -> dict[str, bytes]:
    root = Path(folder)
    return {
        str(path.relative_to(root)): path.read_bytes()
        for part in parts
        for path in sorted(root.glob(part))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def context() -> BaseContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["longvid.store", "faiss", "tests.unit.store.synthetic"])
    return context


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Store:
    folder = str(tmp_path_factory.mktemp("undisturbed") / "store")
    index_all(folder)
    return Store.open(folder)


@pytest.mark.parametrize("manner", ["at an operation", "at a moment"])
def test_a_killed_writer_costs_nothing_but_its_last_video(
    manner: str, context: Any, undisturbed: Store, tmp_path: Path
) -> None:
    index_all(str(tmp_path / "warm"))
    num_files = len(files(str(tmp_path / "warm"), "videos/**/*"))
    process = context.Process(target=die_at, args=(str(tmp_path / "counted"), -1))
    process.start()
    process.join()
    operations = int((tmp_path / "counted.operations").read_text())
    drawn = random.Random(SEED)
    points = drawn.sample(range(1, operations + 1), KILLS)
    expected = files(undisturbed.uri, "store.json", "videos/**/*")
    survivors = []
    for number, point in enumerate(points):
        folder = str(tmp_path / f"store{number}")
        if manner == "at an operation":
            process = context.Process(target=die_at, args=(folder, point))
            process.start()
        else:
            process = context.Process(target=index_all, args=(folder,))
            process.start()
            # By files, not by time alone: the machine may be busier than when it was measured.
            wanted = drawn.randrange(num_files)
            while process.is_alive() and len(files(folder, "videos/**/*")) < wanted:
                time.sleep(0.001)
            time.sleep(0.01 * drawn.random())
            process.kill()
        process.join()
        if manner == "at an operation":
            assert process.exitcode == -signal.SIGKILL
        survivors.append(check_survivor(folder, undisturbed))
        index_all(folder)
        store = Store.open(folder)
        assert store.digest() == undisturbed.digest()
        assert files(folder, "store.json", "videos/**/*") == expected
        assert files(folder, ".tmp/*") == {}
        assert store.verify() == []
        assert {f.video_id for f in store.failures()} <= {
            f.video_id for f in undisturbed.failures()
        }
    print(f"seed {SEED}: {KILLS} kills {manner}, videos that survived: {sorted(survivors)}")
    assert len(set(survivors)) > 1
