"""A share of the hostile requests; `python -m tests.fuzz.server_requests` sends them for hours."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="install longvid[server]")

from tests.e2e.test_server import start
from tests.fuzz.server_requests import SECRET, attack

pytestmark = pytest.mark.server


def test_hostile_requests_harm_nothing(small_store: Path, tmp_path: Path) -> None:
    shutil.copytree(small_store, tmp_path / "store")
    (tmp_path / "outside.mp4").write_text(SECRET)
    (tmp_path / "root").mkdir()
    words = ("--store", str(tmp_path / "store"), "--root", str(tmp_path / "root"))
    server = start(tmp_path, *words)
    try:
        server.wait("/readyz", lambda status, _: status == 200, 120)
        host, _, port = server.url.removeprefix("http://").partition(":")
        for seed in (1, 2):
            outcome = attack(host, int(port), 250, seed)
            print(f"seed {seed}: {dict(outcome.statuses)}")
            assert outcome.faults == []
            assert outcome.num_requests > 200
            assert server.process.poll() is None
    finally:
        server.process.terminate()
        server.process.wait(30)
