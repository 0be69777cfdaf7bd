"""Search over shards held by Ray actors: the same results, and without those of a dead one."""

from __future__ import annotations

import dataclasses
import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from longvid.config import StoreOptions
from longvid.errors import ConfigError, StoreError
from longvid.store import Store
from tests.unit.store.synthetic import WIDTH, add_video

ray = pytest.importorskip("ray")

from longvid.cluster.search_shards import ShardActors, ShardedSearch  # noqa: E402  needs ray

pytestmark = pytest.mark.ray

VIDEOS = [letter * 32 for letter in "abcd"]


@pytest.fixture(scope="module", autouse=True)
def own_cluster() -> Iterator[None]:
    """A small cluster of its own: that of another module may be full or on its way out."""
    ray.shutdown()
    ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="WARNING",
    )
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    made = Store.create(
        tmp_path_factory.mktemp("shards") / "store",
        fingerprint="f" * 32,
        config={},
        space="test-space",
        embedding_width=WIDTH,
        options=StoreOptions(),
    )
    for video_id in VIDEOS:  # a part each
        add_video(made, video_id, chunks=(8, 8))
        made.refresh()
    return made


@pytest.fixture(scope="module")
def shards(store: Store) -> Iterator[ShardedSearch]:
    search = ShardedSearch(store.uri, 4, deadline_seconds=30, cpus=0.1)
    search.wait()
    yield search
    search.close()


def queries() -> torch.Tensor:
    generator = torch.Generator().manual_seed(7)
    return torch.nn.functional.normalize(torch.randn(6, WIDTH, generator=generator), dim=1)


def test_shards_find_what_one_index_finds(store: Store, shards: ShardedSearch) -> None:
    assert shards.num_shards == 4
    for query in queries():
        for top_k, video_ids in ((1, ()), (9, ()), (500, ()), (5, tuple(VIDEOS[1:3]))):
            found = shards.search(query, top_k, video_ids)
            assert found.hits == store.search(query, top_k, video_ids)
            assert found.missing == ()


def test_a_killed_shard_is_left_out_said_and_back(store: Store, shards: ShardedSearch) -> None:
    query = queries()[0]
    os.kill(shards._shards.process_ids()[1], signal.SIGKILL)
    found = shards.search(query, 64)
    if found.missing:  # the call may also have waited for the new process
        assert found.missing[0].startswith("Shard 2 of 4 ")
        assert len(found.hits) == 48
    for _ in range(60):
        found = shards.search(query, 64)
        if not found.missing:
            break
        time.sleep(0.5)
    assert found.hits == store.search(query, 64)


def test_a_shard_of_many_videos_is_back_too(store: Store) -> None:
    # Ray keeps what an actor of a few videos is made of with the actor, and a large plan apart.
    [plan] = store.segment_search.shards(1)
    others = {f"{number:032x}": "0" * 32 for number in range(5000)}
    plan = dataclasses.replace(plan, manifests={**others, **plan.manifests})
    shards = ShardActors(store.uri, [plan], deadline_seconds=30, cpus=0.1)
    query = queries()[0].numpy()
    before = shards.search(query, 64, (), 0.98)
    os.kill(shards.process_ids()[0], signal.SIGKILL)
    shards.search(query, 64, (), 0.98)
    for _ in range(60):
        found = shards.search(query, 64, (), 0.98)
        if not found.missing:
            break
        time.sleep(0.5)
    assert found == before
    shards.close()


def test_a_slow_shard_is_bounded_by_the_deadline(store: Store) -> None:
    # On a busy machine the other shard may need a second.
    search = ShardedSearch(store.uri, 2, deadline_seconds=2.0, cpus=0.1)
    search.wait()
    blocked = search._shards._actors[0].__ray_call__.remote(lambda actor: time.sleep(60))
    found = search.search(queries()[0], 64)
    assert found.missing == (
        "Shard 1 of 2 did not answer in 2 s; its 2 parts of the index were not searched.",
    )
    assert len(found.hits) == 32
    del blocked
    search.close()
    with pytest.raises(StoreError, match="closed"):
        search.search(queries()[0], 1)


def test_what_cannot_be_searched_is_refused(store: Store, shards: ShardedSearch) -> None:
    with pytest.raises(StoreError, match="width"):
        shards.search(torch.ones(3), 1)
    for search in (store.search, shards.search):
        with pytest.raises(StoreError, match="holds no video ffff"):
            search(queries()[0], 1, ("f" * 32,))
    with pytest.raises(ConfigError, match="shard"):
        ShardedSearch(store.uri, 0)


def test_a_damaged_video_is_left_out_and_named_as_by_the_store(
    store: Store, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(store.uri, tmp_path / "copy"))
    lost, whole = VIDEOS[:2]
    for chunk in copy.glob(f"videos/{lost}/segments-*"):
        chunk.write_bytes(chunk.read_bytes()[:100])
    shutil.rmtree(copy / "vectors")
    search = ShardedSearch(str(copy), 2, deadline_seconds=30, cpus=0.1)
    search.wait()
    query, one = queries()[0], Store.open(copy)
    for video_ids in ((), (lost, whole)):
        found = search.search(query, 500, video_ids)
        assert found.hits == one.search(query, 500, video_ids)
        assert {hit.video_id for hit in found.hits} == set(video_ids or VIDEOS) - {lost}
    assert list(search.damaged()) == [lost]
    assert search.damaged() == one.damaged()
    for asked in (search.search, one.search):
        with pytest.raises(StoreError, match="is damaged"):
            asked(query, 5, (lost,))
    search.close()
    for chunk in copy.glob("videos/*/segments-*"):
        chunk.write_bytes(b"")
    shutil.rmtree(copy / "vectors")
    with pytest.raises(StoreError, match="is damaged"):
        ShardedSearch(str(copy), 2)


def test_a_store_without_an_index_is_refused(tmp_path: Path) -> None:
    Store.create(
        tmp_path / "empty", fingerprint="f" * 32, config={}, space="s", embedding_width=WIDTH
    )
    with pytest.raises(StoreError, match="no search index"):
        ShardedSearch(str(tmp_path / "empty"), 2)
