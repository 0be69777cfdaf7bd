"""The process of the models, seen from the server: one that ends does not touch the next."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from longvid.server.api_errors import ApiError
from longvid.server.model_worker import ModelWorker
from longvid.server.settings import Limits

FAILS = """echo '{"event": "failed", "message": "No such store."}'"""


def scripted(monkeypatch: pytest.MonkeyPatch, *scripts: str) -> ModelWorker:
    """Return a worker whose processes are shell scripts, one after the other."""
    left = iter(scripts)
    start = asyncio.create_subprocess_exec

    async def start_script(*_: str, **options: Any) -> asyncio.subprocess.Process:
        return await start("sh", "-c", next(left), **options)

    monkeypatch.setattr(asyncio, "create_subprocess_exec", start_script)
    return ModelWorker("", "", Limits(answer_seconds=60))


def test_a_process_that_ends_late_does_not_fail_the_questions_of_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The first is over at once, but what it leaves behind keeps its output open for a while.
    first = "sleep 1 & exit 1"
    second = """echo '{"event": "ready", "note": ""}'; read question; sleep 2;
        echo '{"event": "done", "id": 1, "result": 42}'; read end"""

    async def ask() -> None:
        worker = scripted(monkeypatch, first, second)
        await worker.start()
        assert worker._process is not None
        await worker._process.wait()
        assert await worker.call("search", "") == 42
        assert worker.is_ready
        await worker.close()
        assert not worker.is_ready

    asyncio.run(ask())


def test_why_the_models_cannot_be_loaded_stands_after_each_question(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def ask() -> None:
        worker = scripted(monkeypatch, *[FAILS] * 20)
        for _ in range(10):
            with pytest.raises(ApiError, match=r"No such store\.") as caught:
                await worker.call("search", "")
            assert caught.value.code == "model_unavailable"
            assert worker.problem == "No such store."
        await worker.close()

    asyncio.run(ask())


def test_a_problem_is_forgotten_when_the_models_are_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    good = """read question; echo '{"event": "ready", "note": "n"}'
        echo '{"event": "done", "id": 2, "result": 1}'; read end"""

    async def ask() -> None:
        worker = scripted(monkeypatch, FAILS, good)
        with pytest.raises(ApiError):
            await worker.call("search", "")
        assert await worker.call("search", "") == 1
        assert (worker.problem, worker.note) == ("", "n")
        await worker.close()

    asyncio.run(ask())
