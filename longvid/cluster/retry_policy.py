"""Decide whether an item of work may start, must wait, or has failed too often.

An item waits while enough decoded frames are waiting for the encoders, and while it must not run
beside another item that may kill their process. It is given up when the process that worked on it
died too often. This module also adds up what the stages did. It knows neither files nor Ray, and
its memory does not grow with their number.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from enum import Enum
from typing import TypedDict

from longvid.indexing.messages import StageSums


class PolicySums(TypedDict):
    """What `RetryPolicy.sums` returns."""

    working_seconds: float
    stages: dict[str, StageSums]
    frame_batches_waiting: int
    most_frame_batches_waiting: int


class Verdict(Enum):
    """What to do with an item now."""

    START = "start"
    WAIT = "wait"
    GIVE_UP = "give up"


@dataclass(frozen=True, slots=True)
class WorkItem:
    """A stage and what it works on; equal whenever the same work is repeated.

    Args:
        stage: "probe", "decode" or "encode".
        video: The id of the chunk's video, or the path that is probed.
        segment_index: Of the chunk's first segment; -1 where a whole file is probed.
    """

    stage: str
    video: str
    segment_index: int = -1


class RetryPolicy:
    """Limits waiting frames and attempts. Only `sums` may be called from another thread.

    Args:
        frame_batches: Decoded segments that may wait for the encoders.
        max_attempts: How often an item may start without finishing. The limit halves when one
            chunk of the same video was given up, and so on: a film that kills its process in every
            chunk would otherwise take three processes for each.
    """

    def __init__(self, frame_batches: int, max_attempts: int) -> None:
        self._max_waiting = frame_batches
        self._max_attempts = max_attempts
        self._attempts: Counter[WorkItem] = Counter()
        self._running: dict[str, set[WorkItem]] = {}  # by worker
        self._given_up: dict[str, set[WorkItem]] = {}  # by video
        self._waiting: dict[tuple[str, int], int] = {}  # frame batches by chunk
        self._num_waiting = self._peak_waiting = 0
        self._sums: dict[str, Counter[str]] = {}
        self._first_started: float | None = None
        self._last_ended = 0.0

    def start(self, item: WorkItem, worker: str, frame_batches: int = 0) -> Verdict:
        """Decide about an item, and count an attempt if it starts.

        Args:
            item: The work.
            worker: Names the process that would do it. What was running when a process died runs
                alone from then on, so that only the item that kills is started too often.
            frame_batches: Decoded segments that the work will leave waiting. Work that is repeated
                because its result was lost is counted already.
        """
        num_given_up = len(self._given_up.get(item.video, ()))
        if self._attempts[item] >= self._max_attempts // (1 + num_given_up):
            self._given_up.setdefault(item.video, set()).add(item)
            return Verdict.GIVE_UP
        if self._must_run_alone(item, worker):
            return Verdict.WAIT
        chunk = (item.video, item.segment_index)
        if frame_batches and chunk not in self._waiting:
            if self._num_waiting and self._num_waiting + frame_batches > self._max_waiting:
                return Verdict.WAIT
            self._waiting[chunk] = frame_batches
            self._num_waiting += frame_batches
            self._peak_waiting = max(self._peak_waiting, self._num_waiting)
        if item.stage != "probe" and self._first_started is None:
            self._first_started = time.monotonic()
        self._attempts[item] += 1
        self._running.setdefault(worker, set()).add(item)
        return Verdict.START

    def _must_run_alone(self, item: WorkItem, worker: str) -> bool:
        """True if this item, or one running on the same worker, was running when a worker died."""
        others = self._running.get(worker, set()) - {item}
        return bool(others) and (
            self._attempts[item] > 0 or any(self._attempts[other] > 1 for other in others)
        )

    def worker_died(self, worker: str) -> None:
        """Forget what a dead process was running; the attempts stay counted."""
        self._running.pop(worker, None)

    def take_back(self, item: WorkItem, worker: str) -> None:
        """Do not count the last attempt: the item did not fail by itself."""
        self._attempts[item] -= 1
        self._running.get(worker, set()).discard(item)

    def finish(self, item: WorkItem, worker: str, sums: StageSums) -> None:
        """Count a finished item.

        Args:
            item: As it was started.
            worker: Where.
            sums: Figures of this item, added to those of the stage.
        """
        self._attempts.pop(item, None)
        self._running.get(worker, set()).discard(item)
        if item.stage == "encode":
            self._last_ended = time.monotonic()
        total = self._sums.setdefault(item.stage, Counter())
        total["items"] += 1
        total.update(sums)

    def consumed(self, chunk: tuple[str, int]) -> None:
        """Make room: the frames of a chunk are encoded, or never will be."""
        self._num_waiting -= self._waiting.pop(chunk, 0)

    def sums(self) -> PolicySums:
        """Return the figures so far by stage, and those of the waiting frame batches."""
        return {
            # From the first chunk started to the last one finished: processes start before.
            "working_seconds": self._last_ended - (self._first_started or self._last_ended),
            "stages": {stage: {**total} for stage, total in list(self._sums.items())},
            "frame_batches_waiting": self._num_waiting,
            "most_frame_batches_waiting": self._peak_waiting,
        }
