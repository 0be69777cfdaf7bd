"""Other people's clients against the server: async OpenAI, LangChain, the llm tool, curl."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="install longvid[server]")

from tests.e2e.test_server import Server

pytestmark = pytest.mark.server

QUESTION = "what color is the star?"


@pytest.fixture(scope="module")
def answer(served: Server) -> str:
    status, body = served.call("/api/ask", {"question": QUESTION})
    assert status == 200
    found = body["answer"]  # a chat shows the caveat, too
    return f"{found['text']}\n\n({found['note']})" if found["note"] else str(found["text"])


def test_async_openai(served: Server, answer: str) -> None:
    openai = pytest.importorskip("openai", reason="install openai")

    async def run() -> None:
        async with openai.AsyncOpenAI(base_url=f"{served.url}/v1", api_key="none") as client:
            messages = [{"role": "user", "content": QUESTION}]
            whole, stream = await asyncio.gather(
                client.chat.completions.create(model="store", messages=messages),
                client.chat.completions.create(model="store", messages=messages, stream=True),
            )
            assert whole.choices[0].message.content == answer
            text = ""
            async for chunk in stream:
                text += chunk.choices[0].delta.content or ""
            assert text == answer
            with pytest.raises(openai.BadRequestError) as refused:
                await client.chat.completions.create(model="store", messages=messages, n=2)
            assert refused.value.code == "not_supported"
            assert refused.value.param == "n"
            assert refused.value.request_id.startswith("req-")

    asyncio.run(run())


def test_langchain(served: Server, answer: str) -> None:
    chat_models = pytest.importorskip("langchain_openai", reason="install langchain-openai")
    model = chat_models.ChatOpenAI(
        base_url=f"{served.url}/v1", api_key="none", model="store", max_retries=0
    )
    assert model.invoke(QUESTION).content == answer
    assert "".join(str(chunk.content) for chunk in model.stream(QUESTION)) == answer


def test_the_llm_tool(served: Server, answer: str, tmp_path: Path) -> None:
    pytest.importorskip("llm", reason="install llm")
    (tmp_path / "extra-openai-models.yaml").write_text(
        f"- model_id: films\n  model_name: store\n  api_base: {served.url}/v1\n"
    )
    environment = {
        **os.environ,
        "LLM_USER_PATH": str(tmp_path),
        "OPENAI_API_KEY": "none",
        "LLM_LOAD_PLUGINS": "",
    }
    for words in ([], ["--no-stream"]):
        run = subprocess.run(
            [sys.executable, "-m", "llm", "-m", "films", *words, QUESTION],
            capture_output=True,
            text=True,
            env=environment,
            timeout=120,
        )
        assert run.returncode == 0, run.stderr
        assert run.stdout.strip() == answer


def test_curl(served: Server, answer: str) -> None:
    curl = shutil.which("curl")
    if curl is None:
        pytest.skip("curl is not installed")
    body = json.dumps({"model": "store", "messages": [{"role": "user", "content": QUESTION}]})
    run = subprocess.run(
        [curl, "-sS", f"{served.url}/v1/chat/completions", "--json", body],
        capture_output=True,
        check=True,
        timeout=120,
    )
    assert json.loads(run.stdout)["choices"][0]["message"]["content"] == answer
