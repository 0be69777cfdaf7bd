"""A true server: `transformers serve` with a tiny random checkpoint, asked over loopback.

It needs accelerate, which nothing else here does; without it the test is skipped.
"""

from __future__ import annotations

import importlib.util
import io
import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from longvid.llm.openai import OpenAILanguageModel
from longvid.testing.synthetic import make_segment
from longvid.types import Picture, Question, Selection
from tests.conftest import require
from tests.parity.family_cases import LLAVA

TEMPLATE = (
    "{% for message in messages %}{{ message['role'] | upper }} : "
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for piece in message['content'] %}"
    "{% if piece['type'] == 'image' %} <image> {% else %} {{ piece['text'] }}{% endif %}"
    "{% endfor %}{% endif %} {% endfor %}{% if add_generation_prompt %} ASSISTANT :{% endif %}"
)


def _write(folder: Path) -> None:
    LLAVA.save(folder)
    path = folder / "preprocessor_config.json"
    table = json.loads(path.read_text())
    path.write_text(json.dumps({**table, "image_processor_type": "CLIPImageProcessor"}))
    processor = {
        "processor_class": "LlavaProcessor",
        "patch_size": 4,
        "vision_feature_select_strategy": "default",
        "image_token": "<image>",
        "num_additional_image_tokens": 1,
    }
    (folder / "processor_config.json").write_text(json.dumps(processor))
    (folder / "chat_template.jinja").write_text(TEMPLATE)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    if importlib.util.find_spec("accelerate") is None:
        require("serve", "transformers serve needs accelerate")
    folder = tmp_path_factory.mktemp("served")
    _write(folder)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(Path(sys.executable).with_name("transformers")), "serve", str(folder)]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    server = subprocess.Popen(
        [*command, "--host", "127.0.0.1", "--port", str(port)],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait(f"http://127.0.0.1:{port}/health", server)
        yield f"http://127.0.0.1:{port}/v1", str(folder)
    finally:
        server.terminate()
        server.wait()


def _wait(url: str, server: subprocess.Popen[bytes]) -> None:
    for _ in range(600):
        assert server.poll() is None, "the server ended"
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    pytest.fail("the server did not come up")


def test_a_true_server_answers_about_pictures(served: tuple[str, str]) -> None:
    url, model = served
    buffer = io.BytesIO()
    Image.new("RGB", (28, 28), (200, 10, 10)).save(buffer, "JPEG")
    pictures = tuple(Picture("a", 60.0 * k, buffer.getvalue(), 28, 28) for k in range(2))
    shown = Selection((make_segment(2, 2, 2),), (), 100, pictures=pictures)
    part = OpenAILanguageModel(url=url, model=model, max_new_tokens=6, retries=0)
    worker = part.setup()
    found = worker.answer(Question("what color is it ?"), shown)
    assert found.text
    assert found.output_tokens > 0
    # Two pictures of 49 tokens each are in the prompt.
    assert found.prompt_tokens > 2 * 49
    assert worker.answer(Question("what color is it ?"), shown).text == found.text
