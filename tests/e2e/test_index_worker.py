"""The server's process of indexing: kept for the next job, ended when none comes."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="install longvid[server]")

from longvid.server import index_worker
from longvid.server.index_worker import IndexWorker
from longvid.server.settings import Limits
from longvid.store import Store


def test_a_process_is_kept_for_a_while(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = str(tmp_path / "store")

    async def index(worker: IndexWorker, path: Path) -> dict[str, Any]:
        return [stated async for stated in worker.index(uri, "mini", str(path))][-1]

    async def work() -> None:
        worker = IndexWorker(Limits(video_seconds=60))
        first = await index(worker, data / "flower_bloom.mp4")
        process = worker._process
        assert process is not None
        long = await index(worker, data / "visitors_table_139s.mp4")
        monkeypatch.setattr(index_worker, "_IDLE_SECONDS", 0.0)
        second = await index(worker, data / "bbb_rabbit_5s.mp4")
        assert worker._process is process
        await asyncio.wait_for(process.wait(), 60)
        nothing = await index(worker, tmp_path / "nothing.mp4")
        assert worker._process is not process
        await worker.close()
        assert set(Store.open(uri).names().values()) == {first["video_id"], second["video_id"]}
        assert long["kind"] == "too-large"
        assert nothing["kind"] == "unreadable"

    asyncio.run(work())


def test_a_job_that_is_cancelled_costs_no_other(data: Path, tmp_path: Path) -> None:
    async def work() -> None:
        worker = IndexWorker(Limits())
        words = (str(tmp_path / "store"), "mini", str(data / "flower_bloom.mp4"))
        stated: list[dict[str, Any]] = []
        async for line in worker.index(*words):
            worker.cancel()
            stated.append(line)
        assert stated[-1]["kind"] == "worker-crash"
        stated = [line async for line in worker.index(*words)]
        assert stated[-1]["video_id"]
        await worker.close()

    asyncio.run(work())
