"""Where stores are and who else uses them: a bucket, two servers, a store that is being indexed."""

from __future__ import annotations

import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

import longvid

pytest.importorskip("fastapi", reason="install longvid[server]")

from tests.e2e.test_server import DATA, STAR, Server, evidence_of, start

pytestmark = pytest.mark.server


@contextmanager
def serving(folder: Path, *words: str) -> Iterator[Server]:
    folder.mkdir(exist_ok=True)
    server = start(folder, *words)
    try:
        server.wait("/readyz", lambda status, _: status == 200)
        yield server
    finally:
        server.process.send_signal(signal.SIGTERM)
        server.process.wait(60)


def index(server: Server, name: str) -> str:
    status, job = server.call("/api/videos", {"path": str(DATA / name)})
    assert status == 202, job
    done = server.wait(
        f"/api/jobs/{job['id']}", lambda _, body: body["state"] in ("done", "failed")
    )
    assert done["state"] == "done", done
    return str(done["video_id"])


def test_a_store_in_a_bucket(s3_server: str, small_store: Path, tmp_path: Path) -> None:
    import s3fs

    system = s3fs.S3FileSystem(skip_instance_cache=True)
    system.mkdir("served")
    system.put(f"{small_store}/", "served/store/", recursive=True)
    words = ("--store", "films=s3://served/store", "--root", str(DATA))
    with serving(tmp_path / "server", *words) as server:
        status, body = server.call("/api/ask", {"question": STAR})
        assert status == 200, body
        own = longvid.VideoQA(small_store).ask(STAR)
        assert evidence_of(body["answer"]["evidence"]) == evidence_of(own.evidence)
        video_id = index(server, "flower_bloom.mp4")
        status, body = server.call("/api/ask", {"question": STAR, "videos": [video_id]})
        assert status == 200, body
        assert system.exists(f"served/store/videos/{video_id}")


def test_two_servers_on_one_store_are_asked_while_it_is_indexed(
    small_store: Path, tmp_path: Path
) -> None:
    shutil.copytree(small_store, tmp_path / "store")
    words = ("--store", str(tmp_path / "store"), "--root", str(DATA))
    with serving(tmp_path / "a", *words) as first, serving(tmp_path / "b", *words) as second:
        before = first.call("/api/videos")[1]["total"]
        status, job = first.call("/api/videos", {"path": str(DATA / "flower_bloom.mp4")})
        assert status == 202, job
        asked = 0
        until = time.monotonic() + 300
        while job["state"] != "done" and time.monotonic() < until:
            for server in (first, second):  # both are asked while one of them indexes
                status, body = server.call("/api/ask", {"question": STAR})
                assert status == 200, body
            asked += 1
            job = first.call(f"/api/jobs/{job['id']}")[1]
            assert job["state"] in ("queued", "running", "done")
        assert asked >= 1
        assert first.call("/api/videos")[1]["total"] == before + 1
        video_id = job["video_id"]
        for server in (first, second):  # the other one sees it, too
            status, body = server.call("/api/ask", {"question": STAR, "videos": [video_id]})
            assert status == 200, body
            assert {span["video_id"] for span in body["answer"]["evidence"]} == {video_id}
        assert longvid.VideoQA(tmp_path / "store").store.verify() == []
        third = subprocess.run(
            [
                *(sys.executable, "-m", "longvid.cli", "serve", "--port", "1", *words),
                *("--data", str(tmp_path / "a" / "data")),
            ],
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert third.returncode == 1
        assert "is used by another server" in third.stderr


def test_a_model_that_cannot_be_loaded_says_why(small_store: Path, tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "store.json").write_text("{}")
    server = start(tmp_path, "--store", str(tmp_path / "store"))
    try:
        body = server.wait("/readyz", lambda _, body: "being loaded" not in str(body["reasons"]))
        assert not body["ready"]
        [reason] = body["reasons"]
        assert reason.startswith("store: ")
        assert str(tmp_path) not in reason
        status, body = server.call("/api/ask", {"question": STAR})
        assert status == 503
        assert body["error"]["message"]
        [store] = server.call("/api/status")[1]["stores"]  # where the page has its sentence from
        assert store["problem"]
        assert not store["ready"]
    finally:
        server.process.kill()
        server.process.wait()


def test_a_job_table_of_a_killed_server_is_whole(tmp_path: Path) -> None:
    """A row that was running is queued again; one that was interrupted too often says so."""
    from longvid.server.jobs import JobTable

    path = tmp_path / "jobs.sqlite"
    table = JobTable(path)
    ids = [table.add("k", "s", "index", f"/{n}.mp4", str(n)).id for n in range(3)]
    table.update(ids[0], state="running", attempts=1)
    table.update(ids[1], state="running", attempts=3)
    table.close()
    again = JobTable(path)
    states = [(job.state, bool(job.error)) for job in again.rows()]
    assert states == [("queued", False), ("failed", True), ("queued", False)]
    again.close()
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
