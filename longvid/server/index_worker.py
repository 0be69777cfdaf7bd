"""The process that indexes, seen from the server: one job after the other.

What indexing imports takes seconds, and a short video less than one: the process is kept for a
while after a job, for the next one.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator
from dataclasses import asdict
from typing import Any

from longvid.server.model_worker import worker_environment
from longvid.server.settings import Limits

_IDLE_SECONDS = 30.0


class IndexWorker:
    """A process that is started for a job, and ended when no other comes for a while.

    Args:
        limits: Of the videos that are indexed.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = json.dumps(asdict(limits))
        self._process: asyncio.subprocess.Process | None = None
        self._idle: asyncio.TimerHandle | None = None

    async def index(self, store: str, config: str, video: str) -> AsyncIterator[dict[str, Any]]:
        """Index a video; yield what the process states.

        The last has `video_id`, or `error` and `kind`.

        Args:
            store: URI of the store.
            config: Preset or file for a store that does not exist.
            video: The file.
        """
        if self._idle is not None:
            self._idle.cancel()
        process = await self._running()
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps([store, config, video]).encode() + b"\n")
        while line := await process.stdout.readline():
            try:
                stated = json.loads(line)
            except ValueError:  # a library's print
                continue
            if "keep" not in stated:
                yield stated
                continue
            if stated.pop("keep"):
                loop = asyncio.get_running_loop()
                self._idle = loop.call_later(_IDLE_SECONDS, process.stdin.close)
            else:
                process.stdin.close()
                await process.wait()
            yield stated
            return
        status = await process.wait()
        yield {"error": f"The process ended with status {status}.", "kind": "worker-crash"}

    def cancel(self) -> None:
        """End the process, and the job that is in it."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.terminate()

    async def close(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()

    async def _running(self) -> asyncio.subprocess.Process:
        process = self._process
        if process is not None and process.stdin is not None and process.stdin.is_closing():
            await process.wait()
        if process is None or process.returncode is not None:
            process = self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "longvid.server.index_process", self._limits),
                stdin=asyncio.subprocess.PIPE,  # it ends when this end is closed
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
                env=worker_environment(),
            )
        return process
