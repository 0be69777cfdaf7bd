"""Fifty questions through every door: Python, commands, HTTP, agents, page. Equal evidence."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import longvid
from longvid.cli import asking, main
from longvid.types import Answer, Question

pytest.importorskip("fastapi", reason="install longvid[server]")

from tests.e2e.test_server import Server

pytestmark = pytest.mark.server

ROOT = Path(__file__).parents[2]
_COLORS = ("red", "blue", "green", "yellow", "white")
_SHAPES = ("star", "circle", "square", "triangle", "ring")
QUESTIONS = [
    *(f"where is the {color} {shape}?" for color, shape in itertools.product(_COLORS, _SHAPES)),
    *(f"what color is the {shape}?" for shape in _SHAPES),
    *(f"what shape is {color}?" for color in _COLORS),
    *(f"is there a {color} {shape}?" for color, shape in itertools.product(_COLORS[:3], _SHAPES)),
]
Spans = list[tuple[Any, ...]]


def spans(evidence: Any) -> Spans:
    names = ("video_id", "start_seconds", "end_seconds", "score")
    return [
        tuple(one[name] if isinstance(one, dict) else getattr(one, name) for name in names)
        for one in evidence
    ]


@pytest.fixture(scope="module")
def store(served: Server) -> Path:
    return served.folder / "store"


@pytest.fixture(scope="module")
def qa(store: Path) -> longvid.VideoQA:
    return longvid.VideoQA(store)


@pytest.fixture(scope="module")
def expected(qa: longvid.VideoQA) -> list[Spans]:
    """The evidence that Python gives."""
    assert len(QUESTIONS) == len(set(QUESTIONS)) == 50
    answers = qa.ask_many([Question(text) for text in QUESTIONS])
    found = [spans(one.evidence) for one in answers if isinstance(one, Answer)]
    assert found[0] == spans(qa.ask(QUESTIONS[0]).evidence)
    assert len({str(one) for one in found}) > 5  # they differ
    return found


def test_the_command_line(
    qa: longvid.VideoQA,
    store: Path,
    expected: list[Spans],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(asking, "_open_qa", lambda _: qa)  # models are loaded once
    found = []
    for text in QUESTIONS:
        assert main(["ask", text, "--store", str(store), "--json"]) == 0
        found.append(spans(json.loads(capsys.readouterr().out)["evidence"]))
    assert found == expected


def test_http(served: Server, expected: list[Spans]) -> None:
    def ask(text: str) -> Spans:
        messages = [{"role": "user", "content": text}]
        status, body = served.call("/v1/chat/completions", {"messages": messages})
        assert status == 200, body
        return spans(body["choices"][0]["message"]["evidence"])

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(ask, QUESTIONS)) == expected


@pytest.mark.mcp
def test_agents(store: Path, expected: list[Spans]) -> None:
    mcp = pytest.importorskip("mcp", reason="install longvid[mcp]")
    from mcp.client import Client

    async def run() -> list[Spans]:
        transport = mcp.stdio_client(
            mcp.StdioServerParameters(
                command=sys.executable,
                args=["-m", "longvid.cli", "mcp", "--store", str(store)],
                env={**os.environ, "PYTHONPATH": str(ROOT)},
            )
        )
        found = []
        async with Client(transport) as client:
            for text in QUESTIONS:
                answer = await client.call_tool("ask_video", {"question": text})
                assert not answer.is_error, answer.content
                found.append(spans(answer.structured_content["evidence"]))
        return found

    assert asyncio.run(run()) == expected


@pytest.mark.browser
def test_the_page(served: Server, expected: list[Spans]) -> None:
    from tests.e2e.test_page import ARGUMENTS, sync_api

    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("Chromium is not installed: apt-get install chromium")
    found = []
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        page = browser.new_page()
        page.set_default_timeout(120_000)
        page.goto(served.url)
        page.wait_for_selector("#videos .video")
        # The evidence is compared, not its pictures, player and curve.
        page.route("**/api/videos/*/*", lambda route: route.abort())
        for place, text in enumerate(QUESTIONS):
            page.locator("#fresh").dispatch_event("click")  # each question stands alone
            page.fill("#question", text)
            page.press("#question", "Enter")
            page.locator(".answer .steps li").first.wait_for(state="attached")
            evidence = page.evaluate(
                "import('/assets/state.js').then(state => state.get('selection').evidence)"
            )
            found.append(spans(evidence))
            assert found[place] == expected[place], text
        browser.close()
    assert found == expected
