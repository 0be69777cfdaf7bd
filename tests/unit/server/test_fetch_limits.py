"""Limits of videos that the server fetches or probes, at their values and one beyond."""

from __future__ import annotations

import asyncio
import dataclasses
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="install longvid[server]")

from longvid.errors import VideoError
from longvid.server import fetching, index_process, videos
from longvid.server.auth import LOCAL
from longvid.server.fetch_process import fetch_as_data
from longvid.server.index_process import check_video
from longvid.server.settings import Limits
from tests.unit.server.asgi import application, state_of
from tests.unit.server.limit_marks import limit, refused


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A web server on loopback: /N is N bytes, /hop/N redirects N times, /stall never ends."""
    stalled = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            kind, _, number = self.path[1:].removesuffix(".mp4").rpartition("/")
            if kind == "hop" and int(number):
                self.send_response(302)
                self.send_header("Location", f"/hop/{int(number) - 1}.mp4")
                self.end_headers()
                return
            self.send_response(200)
            size = 1 if kind == "hop" else 5 if number == "stall" else int(number)
            self.send_header("Content-Length", str(size + (number == "stall")))
            self.end_headers()
            self.wfile.write(b"x" * size)
            if number == "stall":
                stalled.wait(30)

        def log_message(self, format: str, *args: object) -> None:
            return

    async def here(request: Any, target: Path, seconds: float) -> Any:
        return await fetch_as_data(request, str(target))

    pytest.importorskip("aiohttp", reason="install longvid[server]")
    monkeypatch.setenv("LONGVID_ALLOW_PRIVATE_HOSTS", "1")
    monkeypatch.setattr(fetching, "run_fetch", here)  # without a process, which takes a second
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    stalled.set()
    server.shutdown()
    server.server_close()


def fetch_all(folder: Path, limits: Limits, *urls: str) -> None:
    app = application(folder, limits, any_public_url=True)
    fetches = videos.Fetches(state_of(app), LOCAL)

    async def fetch() -> None:
        for url in urls:
            await fetches.video(url)

    try:
        asyncio.run(fetch())
    finally:
        state_of(app).close()


@limit("fetch_bytes", "fetch_request_bytes", "fetch_redirects", "fetch_reuse_seconds")
def test_fetches(web: str, tmp_path: Path) -> None:
    limits = Limits(fetch_bytes=10, fetch_request_bytes=15, fetch_redirects=2)
    fetch_all(tmp_path, limits, f"{web}/10.mp4", f"{web}/5.mp4")
    refused(413, lambda: fetch_all(tmp_path, limits, f"{web}/11.mp4"))
    again = dataclasses.replace(limits, fetch_reuse_seconds=0.0)
    refused(413, lambda: fetch_all(tmp_path, again, f"{web}/10.mp4", f"{web}/6.mp4"))
    fetch_all(tmp_path, limits, *[f"{web}/10.mp4"] * 3)  # kept: not fetched again
    refused(413, lambda: fetch_all(tmp_path, again, *[f"{web}/10.mp4"] * 2))
    fetch_all(tmp_path, limits, f"{web}/hop/2.mp4")
    refused(502, lambda: fetch_all(tmp_path, limits, f"{web}/hop/3.mp4"))


@limit("fetch_seconds", "fetch_connect_seconds", "fetch_idle_seconds")
@pytest.mark.parametrize("name", ["fetch_seconds", "fetch_idle_seconds"])
def test_fetch_times(name: str, web: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refused(504, lambda: fetch_all(tmp_path, Limits(**{name: 0.2}), f"{web}/stall.mp4"))
    asked: list[Any] = []

    async def none(request: Any, target: Path, seconds: float) -> Any:
        asked.append((request, seconds))
        return {"status": 502, "code": "x", "message": "x"}

    monkeypatch.setattr(fetching, "run_fetch", none)
    limits = Limits(fetch_seconds=7.0, fetch_connect_seconds=2.0)
    refused(502, lambda: fetch_all(tmp_path, limits, f"{web}/1.mp4"))
    assert asked[0][0]["connect_seconds"] == 2.0
    assert asked[0][1] > 7.0  # the process has a deadline of its own


@limit("video_seconds", "video_pixels", "video_fps", "video_streams")
@pytest.mark.parametrize(
    ("name", "fact"),
    [
        ("video_seconds", {"duration_seconds": 10.0}),
        ("video_pixels", {"width": 5, "height": 2}),
        ("video_fps", {"fps": 10.0}),
        ("video_streams", {"num_streams": 10}),
    ],
)
def test_videos(name: str, fact: dict[str, Any]) -> None:
    facts = {"playable": "direct", "duration_seconds": 0.0, "fps": 0.0, "width": 0, "height": 0}
    video = index_process.FileFacts(**{**facts, "num_streams": 0, **fact})
    check_video(video, Limits(**{name: 10}))
    with pytest.raises(VideoError, match="at most 9 are indexed"):
        check_video(video, Limits(**{name: 9}))


@limit("probe_seconds")
def test_probe_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def late(path: str, seconds: float) -> Any:
        assert seconds == 3.0
        raise VideoError("It is late.", kind="decode-timeout", path=path)

    monkeypatch.setattr(index_process, "inspect_file", late)
    limits = Limits(probe_seconds=3.0)
    stated = index_process.index_video(str(tmp_path / "store"), "mini", "a.mp4", limits)
    assert stated["kind"] == "decode-timeout"
