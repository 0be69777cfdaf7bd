"""Actors of one kind, each with a bounded number of calls at a time; one that died is replaced."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any

import ray

from longvid.cluster.actor import Actor
from longvid.errors import ClusterError

__all__ = ["GONE", "Pool", "Worker"]

#: What Ray raises when an actor or its machine is gone, or cannot be reached.
GONE = (
    ray.exceptions.RayActorError,
    ray.exceptions.WorkerCrashedError,
    ray.exceptions.OutOfMemoryError,
)
#: An actor that dies so often before it ever was ready will not be better the next time.
_MOST_STARTS = 5


@dataclass(slots=True, eq=False)
class Worker:
    """One actor.

    Args:
        actor: Its handle.
        pool: That it belongs to.
        name: Of this process and no other.
        calls: That it has been given and has not returned.
        ready: Whether it has become its stage.
    """

    actor: Any
    pool: Pool
    name: str
    calls: int = 0
    ready: bool = False


class Pool:
    """Actors that will do one stage. Work goes to those that are up, wherever the others are.

    Args:
        size: How many.
        most_calls: That one actor is given at a time: by default one to work on and one that is at
            hand when that is done.
        options: What Ray is asked for.
    """

    def __init__(self, size: int, most_calls: int = 2, **options: Any) -> None:
        self.most_calls = most_calls
        self.starting: dict[Any, Worker] = {}
        self._class = ray.remote(Actor).options(**options)
        self._stage: tuple[Any, ...] = ()
        self._failed_starts = 0
        self._workers = [self._started() for _ in range(size)]

    def load(self, stage: str, *arguments: Any) -> None:
        """Let the actors become a stage, now and whenever one is replaced.

        Args:
            stage: A class of `longvid.cluster.stages`.
            arguments: Of its constructor.
        """
        self._stage = (stage, *arguments)
        for worker in self._workers:
            self._load(worker)

    def _started(self) -> Worker:
        return Worker(self._class.remote(), self, uuid.uuid4().hex)

    def _load(self, worker: Worker) -> None:
        self.starting[worker.actor.load.remote(*self._stage)] = worker

    def loaded(self, ref: Any) -> None:
        """Take note that an actor has become its stage, or start another one if it died.

        Args:
            ref: One of `starting`.

        Raises:
            RayError: The stage could not be made; the cause is in it.
            ClusterError: The actors of this stage die before they are ready.
        """
        worker = self.starting.pop(ref)
        try:
            ray.get(ref)
        except GONE as error:
            self._failed_starts += 1
            if self._failed_starts >= _MOST_STARTS:
                raise ClusterError(
                    f"The process that does {self._stage[0]} died {_MOST_STARTS} times before it "
                    f"was ready ({str(error).strip().splitlines()[0].strip()}); see its log in "
                    "Ray's session folder, or lower what the configuration loads."
                ) from error
            self.replace(worker)
            return
        self._failed_starts = 0
        worker.ready = True

    def free(self) -> Worker | None:
        """Return the actor with the fewest calls that may be given one more."""
        able = (each for each in self._workers if each.ready and each.calls < self.most_calls)
        return min(able, key=lambda worker: worker.calls, default=None)

    def replace(self, worker: Worker) -> bool:
        """Start another actor in the place of one that is gone; False if that is done already."""
        if worker not in self._workers:
            return False
        ray.kill(worker.actor)  # it may only be out of reach
        self._workers.remove(worker)
        another = self._started()
        self._workers.append(another)
        self._load(another)
        return True

    def close(self) -> None:
        """End all of them."""
        for worker in self._workers:
            ray.kill(worker.actor)
