"""Report the progress of a job from its driver at intervals, with the utilisation of its actors."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace

from longvid.cluster.job import Job
from longvid.cluster.placement import Plan
from longvid.cluster.retry_policy import RetryPolicy
from longvid.indexing.ledger import Ledger
from longvid.indexing.report import Progress

_INTERVAL_SECONDS = 1.0


class ProgressThread:
    """Calls `on_progress` every second, whether or not a video was finished."""

    def __init__(
        self,
        ledger: Ledger,
        plan: Plan,
        policy: RetryPolicy,
        job: Job,
        on_progress: Callable[[Progress], None] | None,
    ) -> None:
        self._ledger, self._policy, self._job = ledger, policy, job
        self._on_progress = on_progress
        self._actors = {"decode": plan.num_decoders, "encode": plan.encode_actors}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="progress", daemon=True)

    def __enter__(self) -> ProgressThread:
        if self._on_progress is not None:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if self._on_progress is not None:
            self._thread.join()

    def _run(self) -> None:
        busy = dict.fromkeys(self._actors, 0.0)
        before = time.monotonic()
        while not self._stop.wait(_INTERVAL_SECONDS):
            sums = self._policy.sums()
            now = time.monotonic()
            shares: dict[str, float | None] = {}
            for stage, actors in self._actors.items():
                total = float(sums["stages"].get(stage, {}).get("busy_seconds", 0.0))
                share = (total - busy[stage]) / (actors * (now - before)) if actors else None
                # An item counts when it ends, so a long one may count more than the interval.
                shares[f"{stage}_utilisation"] = None if share is None else min(1.0, share)
                busy[stage] = total
            before = now
            if self._on_progress is not None:
                listed = self._job.num_paths
                self._on_progress(
                    replace(self._ledger.progress, videos_listed=listed, **shares)  # type: ignore[arg-type]  # the names are those of two fields of that type
                )
