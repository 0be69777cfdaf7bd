"""The process that holds a store's models, seen from the server: started, asked, cancelled, ended.

The queue of questions is bounded here; the process takes from it in batches. A process that dies
fails its questions and is started again at the next one.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from longvid.server.api_errors import ApiError, clean_sentence
from longvid.server.settings import Limits

_LINE_BYTES = 64 << 20

_MOST_QUEUES = 10  # so many lengths of a full queue are the longest wait that anybody is told


@dataclass
class _Question:
    """A question in the queue: the process that was asked, and what it has said."""

    process: asyncio.subprocess.Process | None = None
    events: asyncio.Queue[dict[str, Any]] = field(default_factory=asyncio.Queue)


class ModelWorker:
    """One store's models in a process of their own.

    Args:
        store_uri: Folder or URI of the store.
        config: Preset or TOML file that an absent store is made with.
        limits: Length of the queue, and the deadline of an answer.
    """

    def __init__(self, store_uri: str, config: str, limits: Limits) -> None:
        self._store_uri = store_uri
        self._config = config
        self._limits = limits
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self._ids = itertools.count(1)
        self._questions: dict[int, _Question] = {}
        self._waiting_by_key: dict[str, int] = {}
        self._ready = asyncio.Event()
        self._lock = asyncio.Lock()
        self._mean_seconds = 1.0  # of an answer, the wait in the queue included
        self._next_place = 0.0  # when the next place that nobody was told of is free
        #: Why the models cannot be loaded, "" while nothing is known against it.
        self.problem = ""
        #: A caveat of the models that people must see.
        self.note = ""

    @property
    def is_ready(self) -> bool:
        return self._ready.is_set()

    @property
    def num_waiting(self) -> int:
        """Questions in the queue or being answered."""
        return len(self._questions)

    async def start(self) -> None:
        """Start the process unless it runs; does not wait for the models."""
        async with self._lock:
            process = self._process
            if process is not None and process.stdin is not None and process.stdin.is_closing():
                await process.wait()
            if process is not None and process.returncode is None:
                return
            process = await asyncio.create_subprocess_exec(
                *(
                    sys.executable,
                    "-m",
                    "longvid.server.model_process",
                    self._store_uri,
                    self._config,
                ),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                limit=_LINE_BYTES,
                env=worker_environment(),
            )
            # Not before: while it was made, the last one may have told how it ended.
            self._process = process
            self._ready.clear()
            self.problem = ""
            self._reader = asyncio.create_task(self._read(process))

    async def close(self) -> None:
        """End the process; questions in it fail."""
        process, self._process = self._process, None
        self._ready.clear()
        if process is not None and process.returncode is None:
            process.kill()
            await process.wait()
        if self._reader is not None:
            await self._reader
            self._reader = None

    async def call(self, kind: str, key: str, **request: Any) -> Any:
        """Ask something that has one result.

        Args:
            kind: "search", "relevance" or "refresh".
            key: As for `stream`.
            request: Its fields.

        Raises:
            ApiError: What went wrong.
        """
        async for event in self.stream(kind, key, **request):
            if event["event"] == "done":
                return event["result"]
        raise ApiError(503, "model_unavailable", "The models gave no answer; try again.", None, 5)

    async def stream(self, kind: str, key: str, **request: Any) -> AsyncIterator[dict[str, Any]]:
        """Ask, and yield the events of the answer as they come; leaving early cancels.

        Args:
            kind: "ask", or as in `call`.
            key: Whose question it is; each has a share of the queue, and "" all of it.
            request: Its fields.

        Raises:
            ApiError: The queue is full, or what went wrong.
        """
        self._check_room(key)
        request_id = next(self._ids)
        question = self._questions[request_id] = _Question()
        self._waiting_by_key[key] = self._waiting_by_key.get(key, 0) + 1
        started = time.monotonic()
        finished = False
        try:
            await self.start()
            question.process = self._process
            self._send({"id": request_id, "kind": kind, **request})
            while True:
                left = self._limits.answer_seconds - (time.monotonic() - started)
                try:
                    event = await asyncio.wait_for(question.events.get(), max(0.0, left))
                except TimeoutError:
                    raise ApiError(
                        503,
                        "answer_timeout",
                        f"No answer within {self._limits.answer_seconds:g} s.",
                        retry_after=self._mean_seconds,
                    ) from None
                if event["event"] == "error":
                    finished = True
                    raise ApiError(event["status"], event["code"], event["message"])
                yield event
                if event["event"] == "done":
                    finished = True
                    seconds = time.monotonic() - started
                    self._mean_seconds = 0.9 * self._mean_seconds + 0.1 * seconds
                    return
        finally:
            del self._questions[request_id]
            self._waiting_by_key[key] -= 1
            if not finished:
                self._send({"id": request_id, "kind": "cancel"})

    def _check_room(self, key: str) -> None:
        full = len(self._questions) >= self._limits.num_waiting
        mine = key and self._waiting_by_key.get(key, 0) >= self._limits.num_waiting_per_key
        if full or mine:
            whose = "The queue of questions is full" if full else "This key has too many questions"
            after = self._seconds_to_a_place()
            raise ApiError(429, "queue_full", f"{whose}; try again later.", None, after)

    def _seconds_to_a_place(self) -> float:
        """Return when to try again: each who is refused is told of a place of their own.

        Told the same second, all would come back at once, and all but a few in vain.
        """
        now = time.monotonic()
        seconds_an_answer = self._mean_seconds / self._limits.num_waiting
        self._next_place = max(self._next_place, now) + seconds_an_answer
        # Some will not come back, and their places must not be waited for.
        self._next_place = min(self._next_place, now + _MOST_QUEUES * self._mean_seconds)
        return self._next_place - now

    def _send(self, message: dict[str, Any]) -> None:
        """Write to the process; to one that has ended nothing, since its reader tells why."""
        process = self._process
        if process is None or process.stdin is None or process.stdin.is_closing():
            return
        process.stdin.write(json.dumps(message).encode() + b"\n")

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        problem = ""
        while line := await process.stdout.readline():
            event = json.loads(line)
            if event["event"] == "ready":
                self.note = event["note"]
                self._ready.set()
            elif event["event"] == "failed":
                problem = clean_sentence(event["message"])
            elif event["id"] in self._questions:
                self._questions[event["id"]].events.put_nowait(event)
        await process.wait()
        # The next process may have been started since: its questions and its state stay.
        if self._process is process:
            self._ready.clear()
            self.problem = problem
        code = "model_unavailable" if problem else "model_died"
        sentence = problem or "The process of the models ended; the question can be repeated."
        lost = {"event": "error", "code": code, "message": sentence, "status": 503}
        for question in self._questions.values():
            if question.process is process:
                question.events.put_nowait(lost)


def worker_environment() -> dict[str, str]:
    """Return the environment of a process that must import the same longvid."""
    import longvid

    home = os.path.dirname(os.path.dirname(os.path.abspath(longvid.__file__)))
    paths: Sequence[str] = [home, *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
