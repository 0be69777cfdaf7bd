"""The HTTP face, run for real: a server process, plain HTTP and the official OpenAI client."""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import longvid

pytestmark = pytest.mark.server

DATA = Path(__file__).parents[1] / "data"
STAR = "what color is the star?"


@dataclass
class Server:
    """A running server."""

    url: str
    process: subprocess.Popen[bytes]
    folder: Path

    def call(self, path: str, body: Any = None, method: str | None = None) -> tuple[int, Any]:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, method=method)
        request.add_header("Content-Type", "application/json")
        try:
            with urllib.request.urlopen(request, timeout=300) as response:
                return response.status, json.loads(response.read())
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.loads(error.read())

    def wait(self, path: str, done: Any, seconds: float = 180.0) -> Any:
        """Ask until an answer is as wanted."""
        until = time.monotonic() + seconds
        while True:
            status, body = self.call(path)
            if done(status, body):
                return body
            assert time.monotonic() < until, (path, status, body)
            assert self.process.poll() is None
            time.sleep(0.1)


def start(folder: Path, *words: str, port: int = 0) -> Server:
    """Start a server, on a free port unless one is given, and wait until it answers."""
    with socket.socket() as probe:
        if not port:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "longvid.cli", "serve", "--port", str(port)),
            *("--data", str(folder / "data"), *words),
        ],
        stderr=subprocess.DEVNULL,
    )
    server = Server(f"http://127.0.0.1:{port}", process, folder)
    until = time.monotonic() + 180
    while True:
        try:
            assert server.call("/healthz") == (200, {"status": "ok"})
            return server
        except (urllib.error.URLError, ConnectionError):
            assert time.monotonic() < until
            assert process.poll() is None
            time.sleep(0.05)


@pytest.fixture(scope="module")
def server(small_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server over a copy of the small store, its models loaded."""
    pytest.importorskip("fastapi", reason="install longvid[server]")
    folder = tmp_path_factory.mktemp("server")
    shutil.copytree(small_store, folder / "store")
    clips = folder / "clips"
    clips.mkdir()
    shutil.copy(DATA / "bbb_rabbit_5s.mp4", clips)
    server = start(folder, "--store", str(folder / "store"), "--root", str(clips))
    server.wait("/readyz", lambda status, _: status == 200)
    yield server
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(30) == 0


@pytest.fixture(scope="module")
def client(server: Server) -> Any:
    openai = pytest.importorskip("openai", reason="install openai")
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0)


def evidence_of(spans: Any) -> list[tuple[Any, ...]]:
    names = ("video_id", "start_seconds", "end_seconds", "score")
    return [
        tuple(span[name] if isinstance(span, dict) else getattr(span, name) for name in names)
        for span in spans
    ]


def test_python_and_http_give_the_same_evidence(server: Server) -> None:
    qa = longvid.VideoQA(server.folder / "store")
    ids = [stored.video.video_id for stored in qa.store.videos()]
    for text in (STAR, "where is the circle?", "what shape is red?"):
        for video in (None, *ids):
            own = qa.ask(text, video=video)
            videos = [] if video is None else [video]
            status, body = server.call("/api/ask", {"question": text, "videos": videos})
            assert status == 200
            assert body["answer"]["text"] == own.text
            assert evidence_of(body["answer"]["evidence"]) == evidence_of(own.evidence)
            assert body["budget"]["visual_tokens"] == own.visual_tokens


def test_python_and_http_find_the_same_and_say_the_same_of_it(server: Server) -> None:
    qa = longvid.VideoQA(server.folder / "store")
    for text, span in (("a red star", None), ("a red star", (2.0, 1e6)), ("a star", (1.0, 3.0))):
        body = {"text": text, "top_k": 4, **({"time_range": span} if span else {})}
        status, answer = server.call("/api/search", body)
        own, notes = qa.search_all_noted(text, top_k=4, span=span)
        assert status == 200
        assert evidence_of(answer["results"]) == evidence_of(own)
        assert answer["note"] == " ".join(notes)
        assert "do not look like the drawn world" in answer["note"]
        start = span[0] if span else 0.0
        assert all(one["end_seconds"] > start for one in answer["results"])


def test_the_openai_client_asks_whole_and_streamed(server: Server, client: Any) -> None:
    [card] = client.models.list().data
    assert client.models.retrieve(card.id).id == card.id
    messages = [{"role": "user", "content": STAR}]
    whole = client.chat.completions.create(model=card.id, messages=messages)
    text = whole.choices[0].message.content
    note = whole.choices[0].message.annotations[0]
    assert note.type == "url_citation"
    assert "#t=" in note.url_citation.url
    usage = whole.usage.prompt_tokens_details
    assert usage.model_extra["video_tokens"] > 0
    chunks = list(
        client.chat.completions.create(
            model=card.id,
            messages=messages,
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    assert chunks[0].choices[0].delta.model_extra["evidence"]  # before the first word
    assert not chunks[0].choices[0].delta.content
    pieces = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
    assert "".join(pieces) == text
    assert chunks[-1].usage.total_tokens == whole.usage.total_tokens
    assert chunks[-2].choices[0].finish_reason == "stop"


def test_an_answer_ends_at_max_tokens(client: Any) -> None:
    messages = [{"role": "user", "content": "where is the star?"}]
    whole = client.chat.completions.create(model="store", messages=messages)
    short = client.chat.completions.create(model="store", messages=messages, max_tokens=1)
    assert short.usage.completion_tokens == 1 < whole.usage.completion_tokens
    assert [one.choices[0].finish_reason for one in (whole, short)] == ["stop", "length"]
    exact = client.chat.completions.create(
        model="store", messages=messages, max_tokens=whole.usage.completion_tokens
    )
    assert exact.choices[0].finish_reason == "stop", "the model ended it with its last token"


def test_uploads_are_indexed_and_asked(server: Server, client: Any) -> None:
    with open(DATA / "bbb_rabbit_5s.mp4", "rb") as file:
        uploaded = client.files.create(file=file, purpose="user_data")
    assert uploaded.bytes == (DATA / "bbb_rabbit_5s.mp4").stat().st_size
    sent = client.uploads.upload_file_chunked(
        file=DATA / "stream_title_vfr_vp8.webm",
        mime_type="video/webm",
        purpose="user_data",
        part_size=100_000,
    )
    assert sent.status == "completed"
    content = client.files.content(sent.file.id).read()
    assert content == (DATA / "stream_title_vfr_vp8.webm").read_bytes()
    for file_id, name in ((uploaded.id, "bbb_rabbit_5s.mp4"), (sent.file.id, None)):
        part = {"type": "file", "file": {"file_id": file_id}}
        answer = client.chat.completions.create(
            model="store",
            messages=[{"role": "user", "content": [part, {"type": "text", "text": STAR}]}],
        )
        found = answer.choices[0].message.model_extra["evidence"]
        assert len({span["video_id"] for span in found}) == 1
        assert name is None or found[0]["filename"] == name
    assert client.files.delete(uploaded.id).deleted
    status, body = server.call(f"/v1/files/{uploaded.id}")
    assert (status, body["error"]["code"]) == (404, "file_not_found")


def test_an_upload_that_is_no_video_is_called_by_its_own_name(server: Server, client: Any) -> None:
    sent = client.files.create(file=("holiday 1.mp4", b"no video"), purpose="user_data")
    status, job = server.call("/api/videos", {"file_id": sent.id})
    assert status == 202
    failed = server.wait(f"/api/jobs/{job['id']}", lambda _, body: body["state"] == "failed")
    assert failed["error"].startswith("holiday 1.mp4 is not a video")
    [failure] = server.call("/api/failures")[1]["failures"]
    assert failure["error"] == failed["error"]
    body = {"filename": "a.mp4", "bytes": 0, "purpose": "user_data", "mime_type": "video/mp4"}
    status, answer = server.call("/v1/uploads", body)
    assert (status, answer["error"]["message"]) == (413, "a.mp4 is empty.")


def test_a_video_may_be_sent_inside_the_request(client: Any) -> None:
    data = base64.b64encode((DATA / "bbb_rabbit_5s.mp4").read_bytes()).decode()
    part = {"type": "video_url", "video_url": {"url": f"data:video/mp4;base64,{data}"}}
    answer = client.chat.completions.create(
        model="store",
        messages=[{"role": "user", "content": [part, {"type": "text", "text": STAR}]}],
    )
    assert answer.choices[0].message.content


def test_decisions_have_probabilities(server: Server) -> None:
    questions = [
        {"type": "choice", "question": STAR, "choices": ["red", "blue", "green"]},
        {"type": "predicate", "question": "is there a star?"},
    ]
    status, body = server.call("/v1/decisions", {"model": "store", "questions": questions})
    assert status == 200, body
    chosen = body["answers"][0]
    assert sum(chosen["probabilities"].values()) == pytest.approx(1.0)
    assert chosen["probabilities"][chosen["value"]] == chosen["confidence"]
    assert isinstance(body["answers"][1]["value"], bool)


def test_jobs_index_a_file_of_an_allowed_folder(server: Server) -> None:
    clip = server.folder / "clips" / "bbb_rabbit_5s.mp4"
    status, job = server.call("/api/videos", {"path": str(clip)})
    assert status == 202
    done = server.wait(f"/api/jobs/{job['id']}", lambda _, body: body["state"] == "done")
    _, video = server.call(f"/api/videos/{done['video_id']}")
    assert video["duration_seconds"] == pytest.approx(5.3, abs=0.1)
    _, curve = server.call(f"/api/videos/{done['video_id']}/relevance?question=a%20star")
    assert len(curve["times"]) == len(curve["scores"]) == video["num_segments"]


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        ("/v1/chat/completions", {"messages": []}, 400, "invalid_value"),
        ("/v1/chat/completions", {"messages": [{"role": "user"}]}, 400, "invalid_value"),
        ("/v1/chat/completions", {"model": 1, "messages": "x"}, 400, "invalid_value"),
        ("/v1/chat/completions", {"nonsense": 1, "messages": [1]}, 400, "unknown_parameter"),
        (
            "/v1/chat/completions",
            {"model": "gpt", "messages": [{"role": "user", "content": STAR}]},
            404,
            "model_not_found",
        ),
        (
            "/v1/chat/completions",
            {"stop": ["x"], "messages": [{"role": "user", "content": STAR}]},
            400,
            "not_supported",
        ),
        ("/api/ask", {"question": " "}, 400, "invalid_value"),
        ("/api/ask", {"question": STAR, "budget": 0}, 400, "budget_too_large"),
        ("/api/ask", {"question": STAR, "videos": ["nothing"]}, 404, "video_not_found"),
        ("/api/ask", {"question": "where is my zebra?"}, 400, "question_error"),
        ("/api/videos", {"path": "/etc/passwd"}, 403, "path_not_allowed"),
        ("/api/videos", {"path": "file:///etc/passwd"}, 403, "path_not_allowed"),
        ("/api/search", {"text": ""}, 400, "invalid_value"),
        ("/api/nothing", {}, 404, "not_found"),
    ],
)
def test_bad_requests_get_one_sentence(
    server: Server, path: str, body: Any, status: int, code: str
) -> None:
    got, answer = server.call(path, body)
    assert (got, answer["error"]["code"]) == (status, code)
    assert "/etc" not in answer["error"]["message"]


def test_pages_of_other_sites_and_other_host_names_are_refused(server: Server) -> None:
    for header, value in (
        ("Host", "evil.example"),
        ("Origin", "http://evil.example"),
        ("Sec-Fetch-Site", "cross-site"),
    ):
        request = urllib.request.Request(f"{server.url}/api/search", b'{"text": "star"}')
        request.add_header(header, value)
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(request, timeout=10)
        with refused.value as error:
            assert error.code == 403


def test_playback_has_ranges_and_clips(server: Server) -> None:
    _, body = server.call("/api/videos?query=same_again")
    video = body["videos"][0]
    _, play = server.call(f"/api/videos/{video['video_id']}/playback")
    assert play["mode"] == "remux"
    request = urllib.request.Request(server.url + play["url"], headers={"Range": "bytes=0-99"})
    with urllib.request.urlopen(request, timeout=60) as response:
        assert response.status == 206
        assert len(response.read()) == 100
    url = f"{server.url}/api/videos/{video['video_id']}/clip.mp4?start=1&end=2"
    with urllib.request.urlopen(url, timeout=60) as response:
        assert response.read()[4:8] == b"ftyp"


def test_keys_open_their_stores_only(small_store: Path, tmp_path: Path) -> None:
    import hashlib

    keys = tmp_path / "keys.toml"
    tables = [
        ("alice", "a-secret", "user", ["one"]),
        ("bob", "b-secret", "read", ["two"]),
    ]
    keys.write_text(
        "".join(
            f'[[key]]\nname = "{name}"\nsha256 = "{hashlib.sha256(secret.encode()).hexdigest()}"\n'
            f'role = "{role}"\nstores = {json.dumps(stores)}\n'
            for name, secret, role, stores in tables
        )
    )
    words = ("--store", f"one={small_store}", "--store", f"two={tmp_path / 'two'}")
    server = start(tmp_path, *words, "--api-key-file", str(keys))
    try:
        spec = json.loads(_get(server, "/openapi.json", "a-secret")[1])
        for path, methods in spec["paths"].items():  # every route is closed, a new one too
            if path in ("/healthz", "/readyz", "/api/session"):
                continue
            for method in methods:
                assert _get(server, path, "", method.upper())[0] == 401, path
        assert _get(server, "/api/videos?store=one", "a-secret")[0] == 200
        assert _get(server, "/api/videos?store=two", "a-secret")[0] == 404
        assert _get(server, "/api/videos?store=one", "b-secret")[0] == 404
        assert _get(server, "/v1/uploads", "b-secret", "POST")[0] == 403
        assert _get(server, "/metrics", "a-secret")[0] == 403
    finally:
        server.process.kill()
        server.process.wait()


def _get(server: Server, path: str, secret: str, method: str = "GET") -> tuple[int, bytes]:
    headers = {"Authorization": f"Bearer {secret}"} if secret else {}
    data = b"{}" if method == "POST" else None
    request = urllib.request.Request(server.url + path, data, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def test_a_server_that_is_killed_goes_on_with_its_jobs(tmp_path: Path) -> None:
    words = ("--store", str(tmp_path / "store"), "--root", str(DATA))
    server = start(tmp_path, *words)
    _, job = server.call("/api/videos", {"path": str(DATA / "flower_bloom.mp4")})
    server.wait(f"/api/jobs/{job['id']}", lambda _, body: body["state"] == "running")
    os.kill(server.process.pid, signal.SIGKILL)
    server.process.wait()
    again = start(tmp_path, *words)
    try:
        done = again.wait(f"/api/jobs/{job['id']}", lambda _, body: body["state"] == "done", 120)
        assert again.call(f"/api/videos/{done['video_id']}")[0] == 200
    finally:
        again.process.send_signal(signal.SIGTERM)
        assert again.process.wait(30) == 0


def test_an_open_address_needs_keys(tmp_path: Path) -> None:
    result = subprocess.run(
        [
            *(sys.executable, "-m", "longvid.cli", "serve", "--host", "0.0.0.0"),
            *("--store", str(tmp_path / "store")),
        ],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.returncode == 1
    assert "has no keys" in result.stderr
