"""A server that is told to stop, with an answer in flight."""

from __future__ import annotations

import signal
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="install longvid[server]")

from tests.e2e.test_server import STAR, Server, start

pytestmark = pytest.mark.server


def test_an_answer_in_flight_is_given_before_the_end(small_store: Path, tmp_path: Path) -> None:
    server = start(tmp_path, "--store", str(small_store))
    found: list[tuple[int, Any]] = []
    asking = threading.Thread(
        target=lambda: found.append(server.call("/api/ask", {"question": STAR}))
    )
    asking.start()  # it waits for the models, which are being loaded
    try:
        until = time.monotonic() + 60
        while "longvid_queue_depth 1" not in _metrics(server):
            assert time.monotonic() < until
            time.sleep(0.01)
        server.process.send_signal(signal.SIGTERM)
        asking.join(120)
        assert server.process.wait(60) == 0
    finally:
        server.process.kill()
    [(status, body)] = found
    assert status == 200, body
    assert body["answer"]["text"]
    assert body["answer"]["evidence"]


def _metrics(server: Server) -> str:
    with urllib.request.urlopen(f"{server.url}/metrics", timeout=30) as answer:
        return str(answer.read(), "utf-8")
