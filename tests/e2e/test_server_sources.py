"""Videos that a request brings along: from URLs, and images as the frames of a clip."""

from __future__ import annotations

import base64
import io
import shutil
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="install longvid[server]")
pytest.importorskip("aiohttp", reason="install longvid[server]")

from tests.e2e.test_server import DATA, STAR, Server, start

pytestmark = pytest.mark.server


class _Files(SimpleHTTPRequestHandler):
    """A folder, and two redirects: to a file, and to itself for ever."""

    def do_GET(self) -> None:
        place = {"/moved.mp4": "/bbb_rabbit_5s.mp4", "/loop.mp4": "/loop.mp4"}.get(self.path)
        if place is None:
            super().do_GET()
            return
        self.send_response(302)
        self.send_header("Location", place)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        return


@pytest.fixture(scope="module")
def films() -> Iterator[str]:
    """A web server on loopback."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Files, directory=str(DATA)))
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def server(small_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that fetches from loopback, which is for tests alone."""
    folder = tmp_path_factory.mktemp("sources")
    shutil.copytree(small_store, folder / "store")
    words = ("--store", str(folder / "store"), "--allow-domain", "127.0.0.1")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LONGVID_ALLOW_PRIVATE_HOSTS", "1")
        server = start(folder, *words)
    server.wait("/readyz", lambda status, _: status == 200)
    yield server
    server.process.terminate()
    server.process.wait(30)


def ask(server: Server, *parts: dict[str, Any], **more: Any) -> tuple[int, Any]:
    content = [*parts, {"type": "text", "text": STAR}]
    body = {"messages": [{"role": "user", "content": content}], **more}
    return server.call("/v1/chat/completions", body)


def video(url: str) -> dict[str, Any]:
    return {"type": "video_url", "video_url": {"url": url}}


def image(url: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url, "detail": "low"}}


def png(color: str, size: tuple[int, int] = (64, 48)) -> str:
    from PIL import Image

    file = io.BytesIO()
    Image.new("RGB", size, color).save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def evidence(body: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = body["choices"][0]["message"]["evidence"]
    return found


def test_a_video_is_fetched_indexed_and_kept_for_a_while(server: Server, films: str) -> None:
    status, body = ask(server, video(f"{films}/moved.mp4"))
    assert status == 200, body
    assert {span["filename"] for span in evidence(body)} == {"moved.mp4"}
    _, before = server.call("/v1/files")
    assert ask(server, video(f"{films}/moved.mp4"))[0] == 200
    assert server.call("/v1/files")[1] == before  # not fetched again
    status, job = server.call("/api/videos", {"url": f"{films}/flower_bloom.mp4"})
    assert status == 202, job
    server.wait(f"/api/jobs/{job['id']}", lambda _, body: body["state"] == "done")


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/none.mp4", 502, "fetch_failed"),
        ("/loop.mp4", 502, "fetch_failed"),
        ("/README.md", 415, "container_not_allowed"),
    ],
)
def test_what_cannot_be_fetched_says_so(
    server: Server, films: str, path: str, status: int, code: str
) -> None:
    got, body = ask(server, video(films + path))
    assert (got, body["error"]["code"]) == (status, code)


@pytest.mark.parametrize("url", ["http://localhost:1/a.mp4", "http://u@127.0.0.1/a.mp4"])
def test_other_hosts_are_refused(server: Server, url: str) -> None:
    status, body = ask(server, video(url))
    assert status in (400, 403), body


def test_images_are_the_frames_of_a_clip(server: Server, films: str) -> None:
    colors = [png(color) for color in ("red", "green", "blue", "white")]
    status, body = ask(server, *map(image, colors))
    assert status == 200, body
    [video_id] = {span["video_id"] for span in evidence(body)}
    _, found = server.call(f"/api/videos/{video_id}")
    assert found["duration_seconds"] == pytest.approx(4.0)
    assert (found["width"], found["height"]) == (64, 48)
    # The same images are the same clip, in every spelling.
    for parts in (
        [{"type": "video", "video": colors, "fps": 1}],
        [{"type": "input_image", "image_url": color} for color in colors],
    ):
        status, body = ask(server, *parts)
        assert status == 200, body
        assert {span["video_id"] for span in evidence(body)} == {video_id}
    status, body = ask(server, *map(image, colors), longvid={"fps": 2})
    assert server.call(f"/api/videos/{evidence(body)[0]['video_id']}")[1][
        "duration_seconds"
    ] == pytest.approx(2.0)


def test_images_that_cannot_be_read_say_which(server: Server) -> None:
    wrong = "data:image/png;base64," + base64.b64encode(b"no image").decode()
    status, body = ask(server, image(png("red")), image(wrong))
    assert (status, body["error"]["code"]) == (422, "image_unreadable")
    assert "Image 2" in body["error"]["message"]
    status, body = ask(server, image("file:///etc/passwd"))
    assert (status, body["error"]["code"]) == (400, "image_url_invalid")


def test_nothing_is_fetched_unless_the_server_was_told(served: Server) -> None:
    for part in (video("https://example.org/a.mp4"), image("https://example.org/a.png")):
        status, body = ask(served, part)
        assert (status, body["error"]["code"]) == (403, "url_not_allowed")
