"""The measurements of asking and encoding, on checkpoints of random weights made small."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest

from benchmarks.__main__ import main
from benchmarks.speed import random_weights
from benchmarks.speed.random_weights import SIZES, with_random_weights
from longvid.config import load_config
from longvid.errors import ConfigError

CLIP = Path(__file__).parents[1] / "data" / "bottles_40s.mp4"


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same architectures with narrow layers and few patches."""
    sizes = copy.deepcopy(SIZES)
    for _, vision, text in sizes.values():
        vision.update(hidden_size=32, intermediate_size=48, num_attention_heads=4, image_size=56)
        heads = {"num_key_value_heads": 2} if "num_key_value_heads" in text else {}
        text.update(hidden_size=32, intermediate_size=48, num_attention_heads=4, **heads)
        text["vocab_size"] = 512
    monkeypatch.setattr(random_weights, "SIZES", sizes)


def rows(path: Path) -> dict[tuple[str, str], float]:
    found = json.loads(path.read_text())["rows"]
    return {(row["subject"], row["metric"]): row["value"] for row in found}


def test_encoding_is_measured_with_and_without_merging(small: None, tmp_path: Path) -> None:
    target = tmp_path / "encode.json"
    command = "speed encode --config longvid --random-weights --depth 2 --frames 2 --repeat 1"
    assert main([*command.split(), "--merge-share", "0.5", "--json", str(target)]) == 0
    found = rows(target)
    assert found["bare towers", "time beside bare towers"] == 1.0
    assert found["longvid", "speed"] > 0
    assert found["longvid, 50% merged, 4 a layer", "speed"] > 0


def test_asking_is_measured_beside_the_usual_way(small: None, tmp_path: Path) -> None:
    target = tmp_path / "ask.json"
    command = (
        "speed ask --config longvid --random-weights --depth 1 --minutes 0.1 --short-minutes 0.1 "
        "--repeat 1 --set ask.budget=64 --set llm.max_new_tokens=2 --set reducer.name=keep_all "
        "--set store.tokens=int8"
    )
    assert main([*command.split(), "--video", str(CLIP), "--json", str(target)]) == 0
    found = rows(target)
    assert found["longvid", "all but the LLM"] > 0
    assert found["longvid", "peak RSS"] > 100
    assert found["the usual way, every indexed frame", "first token"] > 0
    assert ("longvid", "sooner than the usual way, every indexed frame") in found


def test_the_time_of_a_question_to_a_server_is_its_own_and_what_is_beside_it(
    tmp_path: Path,
) -> None:
    target = tmp_path / "remote.json"
    command = f"speed remote --minutes 0.5 --questions 3 --video {CLIP} --json {target}"
    assert main(command.split()) == 0
    found = rows(target)
    assert found["longvid", "beside the server"] > found["longvid", "of it search"] > 0
    assert found["server", "request"] > 1  # a picture at least


def test_a_store_is_weighed_as_status_does(small: None, tmp_path: Path) -> None:
    target = tmp_path / "store.json"
    command = "speed store --random-weights --set store.tokens=int8 --set sample.fps=0.5"
    assert main([*command.split(), "--video", str(CLIP), "--json", str(target)]) == 0
    assert json.loads(target.read_text())["settings"]["video"] == [CLIP.name]
    found = rows(target)
    everything = "all, as longvid status"
    assert found[everything, "share"] > found[CLIP.name, "share"] > 0
    parts = [value for (_, metric), value in found.items() if metric == "bytes"]
    assert sum(parts) == pytest.approx(1000 * found[everything, "kept"])
    share = 100 * found[everything, "kept"] / (2.5e6 / 8 / 1000)
    assert found["of 2.5 Mbit/s", "share"] == pytest.approx(share)
    assert found[CLIP.name, "tokens"] == pytest.approx(0.5 * (9 + 4) / 2, rel=0.05)
    assert 0.3 < found[everything, "longvid doctor"] < 1


def test_random_weights_need_a_known_size() -> None:
    with pytest.raises(ConfigError, match="knows the sizes of"):
        with_random_weights(load_config("mini"), "nowhere")


def test_the_widths_are_the_published_ones() -> None:
    assert SIZES["google/siglip2-so400m-patch14-384"][1]["hidden_size"] == 1152
    assert SIZES["llava-hf/llava-onevision-qwen2-7b-ov-hf"][2]["num_hidden_layers"] == 28
