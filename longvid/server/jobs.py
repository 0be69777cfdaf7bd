"""The job table, and what works on it: one job at a time, each resumable.

Rows are kept in SQLite, so a server that is killed finds them again: what was running is queued
anew, which is safe because a store takes a video in only when it is complete.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import sqlite3
import sys
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from longvid.server.api_errors import ApiError, clean_sentence
from longvid.server.index_worker import IndexWorker
from longvid.server.model_worker import worker_environment
from longvid.server.settings import Limits

_MAX_ATTEMPTS = 3
#: Events that a client which comes back can still get.
_TOLD = 1000
_SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
    id TEXT PRIMARY KEY, key TEXT, store TEXT, kind TEXT, target TEXT, label TEXT, state TEXT,
    done_seconds REAL, total_seconds REAL, attempts INTEGER, error TEXT, error_kind TEXT,
    video_id TEXT, created REAL, started REAL, finished REAL
);
"""


@dataclass(frozen=True, slots=True)
class Job:
    """One row of the job table.

    Args:
        id: Name of the job.
        key, store: Who asked for it, and for which store.
        kind: "index" or "delete".
        target: The file that is read, or the video that is deleted.
        label: The name that people see.
        state: "queued", "running", "done", "failed" or "cancelled".
        done_seconds, total_seconds: Seconds of video worked through, of those known.
        attempts: How often it was started.
        error, error_kind: Why it failed.
        video_id: The video that came of it.
        created, started, finished: Seconds since 1970, 0 for not yet.
    """

    id: str
    key: str
    store: str
    kind: str
    target: str
    label: str
    state: str = "queued"
    done_seconds: float = 0.0
    total_seconds: float = 0.0
    attempts: int = 0
    error: str = ""
    error_kind: str = ""
    video_id: str = ""
    created: float = 0.0
    started: float = 0.0
    finished: float = 0.0

    @property
    def is_over(self) -> bool:
        """Whether nothing more will happen."""
        return self.state in ("done", "failed", "cancelled")

    def public(self) -> dict[str, Any]:
        """Return what a client sees: no path of this machine."""
        row = asdict(self)
        del row["key"], row["target"]
        return row


class JobTable:
    """Jobs in SQLite; used from one thread.

    Args:
        path: The database file; made when it does not exist.
    """

    def __init__(self, path: Path) -> None:
        self._database = sqlite3.connect(path, isolation_level=None)
        self._database.row_factory = sqlite3.Row
        self._database.execute("PRAGMA journal_mode=WAL")
        self._database.executescript(_SCHEMA)
        self._database.execute("UPDATE jobs SET state = 'queued' WHERE state = 'running'")
        self._database.execute(
            "UPDATE jobs SET state = 'failed', error = 'It was interrupted too often.' "
            "WHERE state = 'queued' AND attempts >= ?",
            (_MAX_ATTEMPTS,),
        )

    def add(self, key: str, store: str, kind: str, target: str, label: str) -> Job:
        """Queue a job; the same one that is not over yet is returned as it is."""
        for job in self.rows(store):
            if (job.kind, job.target) == (kind, target) and not job.is_over:
                return job
        job = Job(
            f"job-{secrets.token_hex(8)}", key, store, kind, target, label, created=time.time()
        )
        columns = asdict(job)
        marks = ", ".join("?" * len(columns))
        self._database.execute(
            f"INSERT INTO jobs ({', '.join(columns)}) VALUES ({marks})", tuple(columns.values())
        )
        return job

    def get(self, job_id: str) -> Job | None:
        row = self._database.execute("SELECT * FROM jobs WHERE id = ?", (job_id,)).fetchone()
        return Job(**row) if row is not None else None

    def rows(self, store: str | None = None) -> list[Job]:
        """Return the jobs of a store, or all, oldest first."""
        query = "SELECT * FROM jobs WHERE ? IS NULL OR store = ? ORDER BY created, id"
        return [Job(**row) for row in self._database.execute(query, (store, store))]

    def next(self) -> Job | None:
        """Return the oldest queued job."""
        query = "SELECT * FROM jobs WHERE state = 'queued' ORDER BY created, id LIMIT 1"
        row = self._database.execute(query).fetchone()
        return Job(**row) if row is not None else None

    def update(self, job_id: str, **changes: Any) -> Job:
        sets = ", ".join(f"{name} = ?" for name in changes)
        self._database.execute(f"UPDATE jobs SET {sets} WHERE id = ?", (*changes.values(), job_id))
        job = self.get(job_id)
        assert job is not None
        return job

    def close(self) -> None:
        self._database.close()


class JobRunner:
    """Runs the jobs of a table one after the other and tells subscribers what becomes of them.

    Args:
        table: The jobs.
        stores: Name -> URI.
        config: Preset or file for stores that do not exist.
        limits: Of the videos that are indexed.
        on_changed: Awaited with the store's name when its videos have changed.
    """

    def __init__(
        self,
        table: JobTable,
        stores: dict[str, str],
        config: str,
        limits: Limits,
        on_changed: Callable[[str], Awaitable[None]],
    ) -> None:
        self.table = table
        self._stores = stores
        self._config = config
        self._indexing = IndexWorker(limits)
        self._on_changed = on_changed
        self._wake = asyncio.Event()
        self._subscribers: set[asyncio.Queue[tuple[str, Job]]] = set()
        #: What was told lately, with its numbers; those of another start have another beginning.
        self._told: deque[tuple[str, Job]] = deque(maxlen=_TOLD)
        self._start = secrets.token_hex(4)
        self._count = 0
        self._running = ""  # the id of the job
        self._deleting: asyncio.subprocess.Process | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run())

    @property
    def is_alive(self) -> bool:
        """Whether jobs are being worked on."""
        return self._task is not None and not self._task.done()

    def submit(self, key: str, store: str, kind: str, target: str, label: str) -> Job:
        job = self.table.add(key, store, kind, target, label)
        self._tell(job)
        self._wake.set()
        return job

    def cancel(self, job_id: str) -> Job:
        """Stop a job.

        Raises:
            ApiError: There is no such job.
        """
        job = self._existing(job_id)
        if job.is_over:
            return job
        job = self.table.update(job_id, state="cancelled", finished=time.time())
        if self._running == job_id and self._deleting is not None:
            with contextlib.suppress(ProcessLookupError):
                self._deleting.terminate()
        elif self._running == job_id:
            self._indexing.cancel()
        self._tell(job)
        return job

    def retry(self, job_id: str) -> Job:
        """Queue a job that failed or was cancelled once more.

        Raises:
            ApiError: There is no such job, or it is not over.
        """
        job = self._existing(job_id)
        if job.state not in ("failed", "cancelled"):
            raise ApiError(409, "job_not_over", f"The job is {job.state}.")
        job = self.table.update(job_id, state="queued", error="", error_kind="", attempts=0)
        self._tell(job)
        self._wake.set()
        return job

    @property
    def last_number(self) -> str:
        """The number of the last event that was told."""
        return f"{self._start}-{self._count}"

    def since(self, number: str) -> list[tuple[str, Job]] | None:
        """Return what was told after an event; None where that is not known any more."""
        start, _, count = number.partition("-")
        if start != self._start or not count.isdecimal():
            return None
        missed = self._count - int(count)
        if not 0 <= missed <= len(self._told):
            return None
        return list(self._told)[len(self._told) - missed :]

    @contextlib.contextmanager
    def watch(self) -> Iterator[asyncio.Queue[tuple[str, Job]]]:
        """Give a queue of every job whenever it changes, with the event's number."""
        queue: asyncio.Queue[tuple[str, Job]] = asyncio.Queue()
        self._subscribers.add(queue)
        try:
            yield queue
        finally:
            self._subscribers.discard(queue)

    async def close(self) -> None:
        """Stop; the job in progress is queued again."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        await self._indexing.close()
        if self._deleting is not None:
            with contextlib.suppress(ProcessLookupError):
                self._deleting.kill()
            await self._deleting.wait()
        if self._running:
            job = self.table.get(self._running)
            if job is not None and job.state == "running":
                self.table.update(self._running, state="queued", attempts=max(0, job.attempts - 1))
        self.table.close()

    def _existing(self, job_id: str) -> Job:
        job = self.table.get(job_id)
        if job is None:
            raise ApiError(404, "job_not_found", "There is no such job.")
        return job

    def _tell(self, job: Job) -> None:
        self._count += 1
        event = (self.last_number, job)
        self._told.append(event)
        for queue in self._subscribers:
            queue.put_nowait(event)

    async def _run(self) -> None:
        while True:
            job = self.table.next()
            if job is None:
                self._wake.clear()
                await self._wake.wait()
                continue
            changes = {"state": "running", "started": time.time(), "attempts": job.attempts + 1}
            job = self.table.update(job.id, **changes)
            self._tell(job)
            await self._work(job)
            await self._on_changed(job.store)

    async def _work(self, job: Job) -> None:
        self._running = job.id
        last: dict[str, Any] = {}
        async for last in self._index(job) if job.kind == "index" else self._delete(job):
            if "done_seconds" in last:
                self._tell(self.table.update(job.id, **last))
        self._running = ""
        now = self.table.get(job.id)
        if now is None or now.state != "running":  # cancelled, and perhaps queued again since
            return
        if "error" in last:
            sentence = last["error"].replace(job.target, job.label)  # as its owner calls it
            kind = last["kind"]
            done = {"state": "failed", "error": clean_sentence(sentence), "error_kind": kind}
        else:
            done = {"state": "done", "video_id": last["video_id"]}
        self._tell(self.table.update(job.id, finished=time.time(), **done))

    def _index(self, job: Job) -> AsyncIterator[dict[str, Any]]:
        return self._indexing.index(self._stores[job.store], self._config, job.target)

    async def _delete(self, job: Job) -> AsyncIterator[dict[str, Any]]:
        words = ("longvid.cli", "remove", job.target, "--store", self._stores[job.store])
        self._deleting = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", *words),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            env=worker_environment(),
        )
        status = await self._deleting.wait()
        self._deleting = None
        if status == 0:
            yield {"video_id": job.target}
        else:
            yield {"error": f"The process ended with status {status}.", "kind": "worker-crash"}
