"""What the stages of one job must agree on, kept by one actor beside the driver.

It answers three questions in a millisecond: may this name of a video be decoded, or is another
one at it; may another chunk be decoded now, or are enough frames waiting; and has the process
that worked on this item died so often that the item is to blame. It also adds up what the stages
did. It knows nothing of videos, and nobody's memory grows with their number.
"""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

import ray

from longvid.errors import ClusterError

__all__ = ["GO", "POISON", "WAIT", "Supervisor", "begin", "start_supervisor"]

#: What an actor is told to do with an item.
GO, WAIT, POISON = "go", "wait", "poison"

_POLL_SECONDS = 0.02
#: Frames that wait although no encoder has had any for so long were lost with a machine.
_LOST_AFTER_SECONDS = 5.0


class Supervisor:
    """Claims, slots for frames, attempts and sums. Every call may be repeated by a restarted task.

    Args:
        frame_batches: Decoded segments that may wait for the encoders.
        max_attempts: How often an item may be begun without being ended; less often when other
            chunks of the same video had to be taken out of work.
    """

    def __init__(self, frame_batches: int, max_attempts: int) -> None:
        self._room = frame_batches
        self._max_attempts = max_attempts
        self._owner: dict[str, str] = {}
        self._begun: Counter[tuple[str, str]] = Counter()
        self._at_work: dict[str, set[tuple[str, str]]] = {}
        self._poison: dict[str, set[str]] = {}
        self._waiting: dict[str, int] = {}
        self._sums: dict[str, Counter[str]] = {}
        self._most_waiting = 0
        self._num_paths = 0
        self._last_encoding = float("inf")
        self._first_begun: float | None = None
        self._last_ended = 0.0

    def claim(self, video_id: str, path: str) -> bool:
        """Return True when this path is the one under which the video is decoded."""
        return self._owner.setdefault(video_id, path) == path

    def forget(self, video_id: str) -> None:
        """Let go of a video that is finished: from here on the store answers for it."""
        self._owner.pop(video_id, None)

    def listed(self, num_paths: int) -> None:
        """Note how many paths the listing has given so far."""
        self._num_paths = max(self._num_paths, num_paths)

    def begin(self, stage: str, item: str, frame_batches: int = 0, worker: str = "") -> str:
        """Say what to do with an item, and count that it was begun.

        Args:
            stage: Of the actor that asks.
            item: The same whenever the work is repeated.
            frame_batches: How many the work will leave to wait. Work that is repeated after a
                loss never waits for room: others may be waiting for it.
            worker: Names a process that works on several items at a time. What was in work when
                one died is then begun alone, so that only the guilty is begun too often.

        Returns:
            GO, WAIT (ask again) or POISON (do not touch it).
        """
        video = item.partition(" ")[0]
        # A film that kills in every chunk would take three workers for each: patience runs out.
        if self._begun[stage, item] >= self._max_attempts // (1 + len(self._poison.get(video, ()))):
            self._poison.setdefault(video, set()).add(item)
            return POISON
        if worker and self._suspected(stage, item, worker):
            return WAIT
        if frame_batches and item not in self._waiting and not self._begun[stage, item]:
            waiting = sum(self._waiting.values())
            if waiting and waiting + frame_batches > self._room and not self._encoders_starve():
                return WAIT
        if frame_batches:
            self._waiting[item] = frame_batches
            self._most_waiting = max(self._most_waiting, sum(self._waiting.values()))
        if stage == "encode":
            self._last_encoding = time.monotonic()
        if stage != "probe" and self._first_begun is None:
            self._first_begun = time.monotonic()
        self._begun[stage, item] += 1
        if worker:
            self._at_work.setdefault(worker, set()).add((stage, item))
        return GO

    def _suspected(self, stage: str, item: str, worker: str) -> bool:
        """Tell whether this item, or one in work beside it, was in work when a process died."""
        others = self._at_work.get(worker, set()) - {(stage, item)}
        return bool(others) and (
            self._begun[stage, item] > 0 or any(self._begun[other] > 1 for other in others)
        )

    def end(self, stage: str, item: str, sums: dict[str, float]) -> None:
        """Note that an item is done.

        Args:
            stage: Of the actor that tells.
            item: As it was begun.
            sums: Figures of this item, added to those of the stage.
        """
        self._begun.pop((stage, item), None)
        for items in self._at_work.values():
            items.discard((stage, item))
        if stage == "encode":
            self._last_encoding = self._last_ended = time.monotonic()
        total = self._sums.setdefault(stage, Counter())
        total["items"] += 1
        total.update(sums)

    def consumed(self, item: str) -> None:
        """Make room: the driver has the result, so the frames lie in no store any more."""
        self._waiting.pop(item, None)

    def _encoders_starve(self) -> bool:
        """Tell, once in a while, that waiting frames must be gone, so that one item may go on.

        They are decoded again by tasks that may stand behind those which wait here for room.
        """
        if any(stage == "encode" for stage, _ in self._begun):
            return False
        now = time.monotonic()
        if now - self._last_encoding < _LOST_AFTER_SECONDS:
            return False
        self._last_encoding = now
        return True

    def sums(self) -> dict[str, Any]:
        """Return the figures so far by stage, and the queue of frame batches."""
        return {
            "num_paths": self._num_paths,
            # From the first chunk begun to the last one ended: without the start of processes.
            "working_seconds": self._last_ended - (self._first_begun or self._last_ended),
            "stages": {stage: dict(total) for stage, total in self._sums.items()},
            "frame_batches_waiting": sum(self._waiting.values()),
            "most_frame_batches_waiting": self._most_waiting,
        }


def start_supervisor(frame_batches: int, max_attempts: int) -> Any:
    """Start one on the driver's machine: when that is lost, so is the job."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = ray.get_runtime_context().get_node_id()
    return (
        ray.remote(Supervisor)
        .options(
            num_cpus=0,
            scheduling_strategy=NodeAffinitySchedulingStrategy(here, soft=False),
        )
        .remote(frame_batches, max_attempts)
    )


def begin(supervisor: Any, stage: str, item: str, frame_batches: int = 0, worker: str = "") -> bool:
    """Ask until the item may be begun; False when it has killed its worker too often.

    Raises:
        ClusterError: The supervisor is gone, and with it the job.
    """
    while True:
        try:
            word = ray.get(supervisor.begin.remote(stage, item, frame_batches, worker))
        except ray.exceptions.RayActorError as error:
            raise ClusterError("The job's driver is gone; run the same command again.") from error
        if word != WAIT:
            return bool(word == GO)
        time.sleep(_POLL_SECONDS)
