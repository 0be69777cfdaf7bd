"""A stored video asked of a model on a server: its pictures go there, its tokens stay."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

import longvid
from longvid.cli import main
from longvid.config import load_config
from longvid.errors import StoreError
from tests.unit.llm import chat_replies as replies
from tests.unit.llm.chat_replies import Play, serve

CLIP = Path(__file__).parents[1] / "data" / "flower_bloom.mp4"


def test_a_server_is_shown_the_stored_pictures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = str(tmp_path / "store")
    longvid.index([str(CLIP)], store=store, config=load_config("mini", ["store.pictures=frame"]))
    with serve(lambda *_: Play(replies.vllm("A red flower."))) as served:
        settings = ["llm.name=openai", f'llm.url="{served.url}"', "llm.model=m"]
        with longvid.VideoQA(store, load_config("mini", settings)) as qa:
            answer = qa.ask("What is shown?")
    assert answer.text == "A red flower."
    assert answer.evidence
    [message] = served.requests[0]["messages"]
    urls = [piece["image_url"]["url"] for piece in message["content"] if "image_url" in piece]
    assert urls
    for url in urls:
        assert base64.b64decode(url.partition(",")[2])[:2] == b"\xff\xd8"
    clocks = [piece["text"] for piece in message["content"][::2][: len(urls)]]
    assert clocks == sorted(clocks)

    capsys.readouterr()
    assert main(["doctor", "--store", store, "--json"]) == 0
    told = {row["what"]: row["found"] for row in json.loads(capsys.readouterr().out)}
    assert told["to vllm"] == "prompt_embeds"
    assert told["to sglang"] == "pictures"


def test_an_answer_that_was_cut_is_given_with_a_note(tmp_path: Path) -> None:
    store = str(tmp_path / "store")
    longvid.index([str(CLIP)], store=store, config=load_config("mini", ["store.pictures=frame"]))
    with serve(lambda *_: Play(replies.whole_message({"content": "A red"}, "length"))) as served:
        settings = ["llm.name=openai", f'llm.url="{served.url}"', "llm.model=m"]
        with longvid.VideoQA(store, load_config("mini", settings)) as qa:
            # Of a question about text alone, an answer whose note doubts it is replaced by a line.
            for question in ("What is shown?", "What does he say?"):
                answer = qa.ask(question)
                assert answer.text == "A red"
                assert "cut at llm.max_new_tokens (256)" in answer.note


def test_a_store_without_pictures_is_a_sentence(tmp_path: Path) -> None:
    store = str(tmp_path / "store")
    longvid.index([str(CLIP)], store=store, config=load_config("mini", ["store.pictures=none"]))
    settings = ["llm.name=openai", "llm.model=m"]
    with (
        longvid.VideoQA(store, load_config("mini", settings)) as qa,
        pytest.raises(StoreError, match=r"keeps no pictures .* store\.pictures"),
    ):
        qa.ask("What is shown?")
