"""What a job has to remember of the work that is in its actors' hands.

It answers two questions: may another chunk be decoded now, or are enough frames waiting; and has
the process that worked on this item died so often that the item is to blame. It also adds up what
the stages did. It knows neither videos nor Ray, and its memory does not grow with their number.
"""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

__all__ = ["GO", "POISON", "WAIT", "Supervisor"]

#: What is to be done with an item.
GO, WAIT, POISON = "go", "wait", "poison"


class Supervisor:
    """Room for frames, attempts and sums. Only `sums` may be called from another thread.

    Args:
        frame_batches: Decoded segments that may wait for the encoders.
        max_attempts: How often an item may be begun without being ended; less often when other
            chunks of the same video had to be taken out of work.
    """

    def __init__(self, frame_batches: int, max_attempts: int) -> None:
        self._room = frame_batches
        self._max_attempts = max_attempts
        self._begun: Counter[tuple[str, str]] = Counter()
        self._at_work: dict[str, set[tuple[str, str]]] = {}
        self._poison: dict[str, set[str]] = {}
        self._waiting: dict[str, int] = {}
        self._num_waiting = self._most_waiting = 0
        self._sums: dict[str, Counter[str]] = {}
        self._first_begun: float | None = None
        self._last_ended = 0.0

    def begin(self, stage: str, item: str, worker: str, frame_batches: int = 0) -> str:
        """Say what to do with an item, and count that it was begun.

        Args:
            stage: What is to be done with it.
            item: The same whenever the work is repeated.
            worker: Names the process that would do it. What was in work when one died is begun
                alone from then on, so that only the guilty is begun too often.
            frame_batches: How many the work will leave to wait. Work that is repeated after a
                loss has its room already.

        Returns:
            GO, WAIT (ask again) or POISON (do not touch it).
        """
        video = item if stage == "probe" else item.partition(" ")[0]
        # A film that kills in every chunk would take three workers for each: patience runs out.
        if self._begun[stage, item] >= self._max_attempts // (1 + len(self._poison.get(video, ()))):
            self._poison.setdefault(video, set()).add(item)
            return POISON
        if self._suspected(stage, item, worker):
            return WAIT
        if frame_batches and item not in self._waiting:
            if self._num_waiting and self._num_waiting + frame_batches > self._room:
                return WAIT
            self._waiting[item] = frame_batches
            self._num_waiting += frame_batches
            self._most_waiting = max(self._most_waiting, self._num_waiting)
        if stage != "probe" and self._first_begun is None:
            self._first_begun = time.monotonic()
        self._begun[stage, item] += 1
        self._at_work.setdefault(worker, set()).add((stage, item))
        return GO

    def _suspected(self, stage: str, item: str, worker: str) -> bool:
        """Tell whether this item, or one in work beside it, was in work when a process died."""
        others = self._at_work.get(worker, set()) - {(stage, item)}
        return bool(others) and (
            self._begun[stage, item] > 0 or any(self._begun[other] > 1 for other in others)
        )

    def died(self, worker: str) -> None:
        """Note that a process is gone, with all that it was at."""
        self._at_work.pop(worker, None)

    def take_back(self, stage: str, item: str, worker: str) -> None:
        """Note that an item was not done for no fault of its own."""
        self._begun[stage, item] -= 1
        self._at_work.get(worker, set()).discard((stage, item))

    def end(self, stage: str, item: str, worker: str, sums: dict[str, float]) -> None:
        """Note that an item is done.

        Args:
            stage: What was done with it.
            item: As it was begun.
            worker: Where.
            sums: Figures of this item, added to those of the stage.
        """
        self._begun.pop((stage, item), None)
        self._at_work.get(worker, set()).discard((stage, item))
        if stage == "encode":
            self._last_ended = time.monotonic()
        total = self._sums.setdefault(stage, Counter())
        total["items"] += 1
        total.update(sums)

    def consumed(self, item: str) -> None:
        """Make room: its frames are encoded, or will never be."""
        self._num_waiting -= self._waiting.pop(item, 0)

    def sums(self) -> dict[str, Any]:
        """Return the figures so far by stage, and the queue of frame batches."""
        return {
            # From the first chunk begun to the last one ended: without the start of processes.
            "working_seconds": self._last_ended - (self._first_begun or self._last_ended),
            "stages": {stage: dict(total) for stage, total in list(self._sums.items())},
            "frame_batches_waiting": self._num_waiting,
            "most_frame_batches_waiting": self._most_waiting,
        }
