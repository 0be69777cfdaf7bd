"""Pools of actors: each has a bounded number of calls, and one that died is replaced."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any, cast

import ray
from ray.actor import ActorHandle

from longvid.cluster.actor import Actor
from longvid.errors import ClusterError

#: What Ray raises when an actor or its machine is gone, or cannot be reached.
ACTOR_LOST = (
    ray.exceptions.RayActorError,
    ray.exceptions.WorkerCrashedError,
    ray.exceptions.OutOfMemoryError,
)
#: An actor that died this often before it was ready will not become ready.
_MAX_STARTS = 5


@dataclass(slots=True, eq=False)
class Worker:
    """One actor."""

    actor: ActorHandle[Actor]
    pool: Pool
    name: str
    num_calls: int = 0
    ready: bool = False


class Pool:
    """Actors of one stage. Work goes to those that are ready.

    Args:
        size: Number of actors.
        max_calls: Calls that one actor has at a time: by default one running and one queued.
        options: Of Ray: the resources of one actor.
    """

    def __init__(self, size: int, max_calls: int = 2, **options: Any) -> None:
        self.max_calls = max_calls
        self.starting: dict[ray.ObjectRef[object], Worker] = {}
        self._class = ray.remote(Actor).options(**options)
        self._stage: tuple[object, ...] = ()
        self._failed_starts = 0
        self._workers = [self._started() for _ in range(size)]

    def load(self, stage: str, *arguments: object) -> None:
        """Load a stage in all actors, and in those that replace them."""
        self._stage = (stage, *arguments)
        for worker in self._workers:
            self._load(worker)

    def _started(self) -> Worker:
        return Worker(cast("ActorHandle[Actor]", self._class.remote()), self, uuid.uuid4().hex)

    def _load(self, worker: Worker) -> None:
        self.starting[worker.actor.load.remote(*self._stage)] = worker

    def loaded(self, ref: ray.ObjectRef[object]) -> None:
        """Note that an actor has loaded its stage, or start another one if it died.

        Raises:
            RayError: The stage could not be loaded; the cause is in it.
            ClusterError: The actors of this stage die before they are ready.
        """
        worker = self.starting.pop(ref)
        try:
            ray.get(ref)
        except ACTOR_LOST as error:
            self._failed_starts += 1
            if self._failed_starts >= _MAX_STARTS:
                raise ClusterError(
                    f"The process that does {self._stage[0]} died {_MAX_STARTS} times before it "
                    f"was ready ({str(error).strip().splitlines()[0].strip()}); see its log in "
                    "Ray's session folder, or lower what the configuration loads."
                ) from error
            self.replace(worker)
            return
        self._failed_starts = 0
        worker.ready = True

    def free(self) -> Worker | None:
        """Return the actor with the fewest calls that may be given one more."""
        able = (each for each in self._workers if each.ready and each.num_calls < self.max_calls)
        return min(able, key=lambda worker: worker.num_calls, default=None)

    def replace(self, worker: Worker) -> bool:
        """Replace a dead actor; False if that was done already."""
        if worker not in self._workers:
            return False
        ray.kill(worker.actor)  # it may only be unreachable
        self._workers.remove(worker)
        another = self._started()
        self._workers.append(another)
        self._load(another)
        return True

    def close(self) -> None:
        for worker in self._workers:
            ray.kill(worker.actor)
