"""Search an index whose parts are held by Ray actors, when one machine's memory is too little.

Each actor opens its parts from the store and searches them as one process would; the driver joins
what they find. An actor that dies is started again by Ray and opens its parts again. Until it
answers, and when one is slower than a deadline, a search goes on without its parts and says so.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import ray

from longvid.cluster.session import connect
from longvid.errors import ConfigError, StoreError
from longvid.lazy_import import torch
from longvid.store import Hit, Store
from longvid.store.backend import open_objects
from longvid.store.segment_search import ShardPlan, searchable
from longvid.store.vectors import best_hits, open_parts, search_parts


@dataclass(frozen=True, slots=True)
class ShardedHits:
    """What was found, and a sentence for each shard that was not searched."""

    hits: list[Hit]
    missing: tuple[str, ...] = ()


class _Shard:
    """Some parts of an index, in a process of their own."""

    def __init__(self, uri: str, plan: ShardPlan) -> None:
        self._uri, self._plan = uri, plan
        self._parts = open_parts(open_objects(uri), plan.names, plan.width, plan.manifests)

    def search(
        self, query: npt.NDArray[np.float32], top_k: int, video_ids: Sequence[str], recall: float
    ) -> list[Hit]:
        most = self._plan.most_vectors
        return search_parts(self._parts, self._uri, query, top_k, most, video_ids, recall)

    def process_id(self) -> int:
        return os.getpid()


class ShardActors:
    """Actors that hold the parts of one index; several threads may search.

    Args:
        uri: Of the store, which every machine of the cluster can read.
        plans: What each actor holds.
        deadline_seconds: How long a search waits for an actor.
        cpus: Processor share of an actor.

    Raises:
        ClusterError: There is no cluster and none can be started.
    """

    def __init__(
        self, uri: str, plans: Sequence[ShardPlan], *, deadline_seconds: float, cpus: float
    ) -> None:
        connect()
        self._uri = uri
        self._plans = plans
        self._deadline = deadline_seconds
        # Ray starts a dead actor again, and its constructor opens the parts from the store.
        actor: Any = ray.remote(max_restarts=-1, max_task_retries=0, num_cpus=cpus)(_Shard)
        # It needs its plan again then. Ray drops a large one that nobody holds, and never starts
        # the actor anew (github.com/ray-project/ray/issues/53727).
        self._held = [ray.put(plan) for plan in plans]
        self._actors = [actor.remote(uri, plan) for plan in self._held]

    def __len__(self) -> int:
        return len(self._actors)

    def search(
        self, query: npt.NDArray[np.float32], top_k: int, video_ids: Sequence[str], recall: float
    ) -> ShardedHits:
        """Find what `search_parts` finds in all parts, by the actors that answer in time.

        Args: as of `longvid.store.vectors.search_parts`.

        Raises:
            StoreError: A shard's parts are damaged.
        """
        calls = [
            actor.search.remote(query, top_k, tuple(video_ids), recall) for actor in self._actors
        ]
        ready, _ = ray.wait(calls, num_returns=len(calls), timeout=self._deadline)
        answered = set(ready)
        hits: list[Hit] = []
        missing = []
        for number, call in enumerate(calls):
            if call not in answered:
                ray.cancel(call)
                missing.append(self._sentence(number, f"did not answer in {self._deadline:g} s"))
                continue
            try:
                hits += ray.get(call)
            except ray.exceptions.RayActorError:
                missing.append(self._sentence(number, "died and is being started again"))
            except ray.exceptions.RayTaskError as error:
                raise StoreError(f"Shard {number + 1}: {error.cause}") from error
        return ShardedHits(best_hits(hits, top_k), tuple(missing))

    def _sentence(self, number: int, reason: str) -> str:
        names = self._plans[number].names
        parts = (
            "part of the index was" if len(names) == 1 else f"{len(names)} parts of the index were"
        )
        return f"Shard {number + 1} of {len(self)} {reason}; its {parts} not searched."

    def process_ids(self, timeout_seconds: float = 60.0) -> list[int]:
        """Wait until every actor has opened its parts; return their processes' ids.

        Raises:
            StoreError: One of them cannot, or takes longer.
        """
        calls = [actor.process_id.remote() for actor in self._actors]
        ready, late = ray.wait(calls, num_returns=len(calls), timeout=timeout_seconds)
        if late:
            number = calls.index(late[0])
            raise StoreError(self._sentence(number, f"was not ready in {timeout_seconds:g} s"))
        try:
            found: list[int] = ray.get(ready)
        except ray.exceptions.RayError as error:
            raise StoreError(f"A shard of {self._uri} cannot be opened: {error}") from error
        return found

    def wait(self, timeout_seconds: float = 60.0) -> None:
        """Wait until every actor has opened its parts.

        Raises:
            StoreError: One of them cannot, or takes longer.
        """
        self.process_ids(timeout_seconds)

    def close(self) -> None:
        for actor in self._actors:
            ray.kill(actor)


class ShardedSearch:
    """Searches a store by actors; several threads may.

    It searches the videos that the store had when it was made.

    Args:
        store: Folder or URI that every machine of the cluster can read.
        num_shards: Actors, at most one a part of the index.
        deadline_seconds: How long a search waits for a shard.
        cpus: Processor share of an actor.

    Raises:
        ConfigError: A number is out of its range.
        ClusterError: There is no cluster and none can be started.
        StoreError: There is no store, or its index has no part on disk.
    """

    def __init__(
        self, store: str, num_shards: int, *, deadline_seconds: float = 5.0, cpus: float = 0.5
    ) -> None:
        if num_shards < 1 or deadline_seconds <= 0 or cpus <= 0:
            raise ConfigError(
                "A sharded search needs at least one shard, and a deadline and a processor share "
                f"above 0, got {num_shards}, {deadline_seconds} and {cpus}."
            )
        self._store = Store.open(store)
        self._store.refresh()
        plans = [plan for plan in self._store.segment_search.shards(num_shards) if plan.names]
        self._damaged = self._store.damaged()
        if not plans:
            nothing = f"The store {self._store.uri} has no search index; index videos first."
            raise StoreError(next(iter(self._damaged.values()), nothing))
        self._manifests = plans[0].manifests
        self._shards = ShardActors(
            self._store.uri, plans, deadline_seconds=deadline_seconds, cpus=cpus
        )
        self._closed = threading.Event()

    @property
    def num_shards(self) -> int:
        return len(self._shards)

    def search(
        self,
        embedding: torch.Tensor,
        top_k: int,
        video_ids: Sequence[str] = (),
        *,
        recall: float = 0.98,
    ) -> ShardedHits:
        """Find what `Store.search` finds, by all shards that answer before the deadline.

        Raises:
            StoreError: The embedding is of another width, the store does not hold a video, all
                that are asked for are damaged, or a shard's parts are.
        """
        if self._closed.is_set():
            raise StoreError(f"This search of {self._store.uri} was closed; make another one.")
        query = self._store.segment_search.query_of(embedding, top_k, recall)
        video_ids = searchable(self._store.uri, video_ids, self._manifests, self._damaged)
        found = self._shards.search(query, top_k, video_ids, recall)
        return replace(found, hits=self._store.segment_search.merged(found.hits, top_k))

    def damaged(self) -> dict[str, str]:
        """Return what `Store.damaged` said when this search was made."""
        return dict(self._damaged)

    def wait(self, timeout_seconds: float = 60.0) -> None:
        """Wait until every shard has opened its parts.

        Raises:
            StoreError: One of them cannot, or takes longer.
        """
        self._shards.wait(timeout_seconds)

    def close(self) -> None:
        self._closed.set()
        self._shards.close()
