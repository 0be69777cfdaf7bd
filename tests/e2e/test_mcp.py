"""The face for agents, through the official client, over both transports."""

from __future__ import annotations

import asyncio
import base64
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import longvid

pytest.importorskip("mcp", reason="install longvid[mcp]")
from mcp import StdioServerParameters, stdio_client
from mcp.client import Client

pytestmark = pytest.mark.mcp

DATA = Path(__file__).parents[1] / "data"
ROOT = Path(__file__).parents[2]
QUESTION = "what color is the star?"


@pytest.fixture(scope="module")
def folder(small_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mcp")
    shutil.copytree(small_store, folder / "store")
    (folder / "clips").mkdir()
    shutil.copy(DATA / "bbb_rabbit_5s.mp4", folder / "clips")
    return folder


def words(folder: Path) -> list[str]:
    return [
        *("-m", "longvid.cli", "mcp", "--store", str(folder / "store")),
        *("--root", str(folder / "clips")),
    ]


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def result(answer: Any) -> Any:
    assert not answer.is_error, answer.content
    found = answer.structured_content
    return found["result"] if set(found) == {"result"} else found


async def use_every_tool(client: Client, folder: Path) -> None:
    names = {tool.name for tool in (await client.list_tools()).tools}
    assert names == {
        *("list_videos", "index_video", "search_video", "ask_video", "get_frames"),
        "get_transcript",
    }
    before = result(await client.call_tool("list_videos"))
    progress: list[float] = []

    async def heard(done: float, total: float | None, message: str | None) -> None:
        progress.append(done)

    clip = str(folder / "clips" / "bbb_rabbit_5s.mp4")
    indexed = result(await client.call_tool("index_video", {"path": clip}, progress_callback=heard))
    assert indexed["videos_indexed"] + indexed["videos_skipped"] == 1
    videos = result(await client.call_tool("list_videos"))
    assert len(videos) >= len(before)
    [rabbit] = [video for video in videos if video["name"] == "bbb_rabbit_5s.mp4"]
    assert not rabbit["stale"]
    found = result(await client.call_tool("search_video", {"text": "a star", "top_k": 3}))
    assert "These frames do not look like the drawn world" in found["note"]
    found = found["results"]
    assert [span["score"] for span in found] == sorted((s["score"] for s in found), reverse=True)
    asked = {"question": QUESTION, "video": rabbit["video_id"]}
    answer = result(await client.call_tool("ask_video", asked))
    own = longvid.VideoQA(folder / "store").ask(QUESTION, video=rabbit["video_id"])
    assert answer["answer"] == own.text
    assert [(s["start_seconds"], s["end_seconds"], s["score"]) for s in answer["evidence"]] == [
        (span.start_seconds, span.end_seconds, span.score) for span in own.evidence
    ]
    frames = await client.call_tool("get_frames", {"video": rabbit["name"], "seconds": [2.0]})
    text, image = frames.content
    assert text.text.endswith(" s")
    assert base64.b64decode(image.data).startswith(b"\xff\xd8")
    lines = result(await client.call_tool("get_transcript", {"video": rabbit["video_id"]}))
    assert lines["lines"] == []


async def refuse(client: Client) -> None:
    for name, arguments, sentence in (
        ("index_video", {"path": "/etc"}, "may not be indexed"),
        ("ask_video", {"question": "where is my zebra?"}, "zebra"),
        ("ask_video", {"question": QUESTION, "video": "nothing.mp4"}, "nothing.mp4"),
        ("search_video", {"text": "a star", "top_k": 0}, "1 to 50"),
        ("get_frames", {"video": "nothing.mp4", "seconds": [1.0]}, "nothing.mp4"),
    ):
        answer = await client.call_tool(name, arguments)
        assert answer.is_error, name
        assert sentence in answer.content[0].text


def test_over_standard_input(folder: Path) -> None:
    async def run() -> None:
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        server = StdioServerParameters(command=sys.executable, args=words(folder), env=environment)
        async with Client(stdio_client(server)) as client:
            await use_every_tool(client, folder)
            await refuse(client)

    asyncio.run(run())


def test_over_http(folder: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, *words(folder), "--http", "--port", str(port)],
        stderr=subprocess.DEVNULL,
    )

    async def run() -> None:
        async with Client(f"http://127.0.0.1:{port}/mcp") as client:
            await use_every_tool(client, folder)

    try:
        until = time.monotonic() + 60
        while not listens(port):
            assert time.monotonic() < until
            assert process.poll() is None
            time.sleep(0.05)
        asyncio.run(run())
    finally:
        process.terminate()
        process.wait(30)


def test_a_file_that_changed_since_is_stale(tmp_path: Path) -> None:
    from longvid.mcp.video_library import VideoLibrary

    clip = tmp_path / "clip.mp4"
    shutil.copy(DATA / "bbb_rabbit_5s.mp4", clip)
    longvid.index(clip, store=tmp_path / "store")
    library = VideoLibrary(str(tmp_path / "store"), "mini", [])
    assert [video["stale"] for video in library.list_videos()] == [False]
    shutil.copy(DATA / "flower_bloom.mp4", clip)
    assert [video["stale"] for video in library.list_videos()] == [True]


def test_an_open_address_is_refused(tmp_path: Path) -> None:
    run = subprocess.run(
        [
            *(sys.executable, "-m", "longvid.cli", "mcp", "--http", "--host", "0.0.0.0"),
            *("--store", str(tmp_path / "store")),
        ],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert run.returncode == 1
    assert "loopback" in run.stderr
