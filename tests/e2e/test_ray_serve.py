"""The same server on Ray Serve: a question is answered as in Python."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
from pathlib import Path

import pytest

import longvid
from tests.e2e.test_server import Server, evidence_of

pytest.importorskip("ray.serve", reason="install longvid[ray-serve]")

pytestmark = [pytest.mark.ray, pytest.mark.server]

QUESTION = "what color is the star?"


def test_ray_serve_hosts_the_same_application(small_store: Path, tmp_path: Path) -> None:
    shutil.copytree(small_store, tmp_path / "store")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "pipelines.serve", "--port", str(port)),
            *("--store", str(tmp_path / "store"), "--data", str(tmp_path / "data")),
        ],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    server = Server(f"http://127.0.0.1:{port}", process, tmp_path)
    try:
        until = time.monotonic() + 120
        while True:
            assert process.poll() is None
            assert time.monotonic() < until
            try:
                if server.call("/readyz")[0] == 200:
                    break
            except (urllib.error.URLError, ConnectionError, ValueError):
                pass
            time.sleep(0.2)
        status, body = server.call("/api/ask", {"question": QUESTION})
        own = longvid.VideoQA(tmp_path / "store").ask(QUESTION)
        assert status == 200
        assert body["answer"]["text"] == own.text
        assert evidence_of(body["answer"]["evidence"]) == evidence_of(own.evidence)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)
