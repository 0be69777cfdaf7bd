"""Checkpoints that are damaged, absurd or hostile end in one sentence, and never run code."""

from __future__ import annotations

import ast
import contextlib
import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from longvid.capacity import needs_of
from longvid.config import load_config
from longvid.errors import LongvidError, ModelError
from longvid.models import checkpoint_files
from longvid.models.weights import read_pickle

ROOT = Path(__file__).parents[3]
SHIPPED = ROOT / "longvid" / "assets" / "mini"


def config_with(**changes: Any) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        table = json.loads((folder / "config.json").read_text())
        for key, value in changes.items():
            if isinstance(value, dict) and isinstance(table.get(key), dict):
                table[key].update(value)
            else:
                table[key] = value
        (folder / "config.json").write_text(json.dumps(table))

    return write


def write(name: str, text: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_text(text) and None


class Runs:
    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (self.path,)


def pickled(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    with (folder / "pytorch_model.bin").open("wb") as file:
        pickle.dump({"weight": Runs(str(folder / "ran"))}, file, protocol=2)


def mapped(weight_map: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / "model.safetensors").rename(folder / "weights.safetensors")
        index = {"metadata": {}, "weight_map": weight_map}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))

    return change


def without_video_token(folder: Path) -> None:
    token = "<video>"
    for name in ("tokenizer.json", "tokenizer_config.json"):
        file = folder / name
        file.write_text(file.read_text().replace(token, "<other>"))


DAMAGES: dict[str, Callable[[Path], None]] = {
    "ten million layers": config_with(text_config={"num_hidden_layers": 10**7}),
    "a number of 400 digits": config_with(text_config={"hidden_size": 10**400}),
    "no heads": config_with(text_config={"num_attention_heads": 0}),
    "a word for a number": config_with(text_config={"hidden_size": "wide"}),
    "no text": config_with(text_config=None),
    "a list for vision": config_with(vision_config=[1, 2]),
    "not a table": write("config.json", "[1, 2]"),
    "deep": write("config.json", '{"a":' * 100_000),
    "not UTF-8": lambda folder: (folder / "config.json").write_bytes(b'{"a": "\xff"}') and None,
    "a pickle that runs": pickled,
    "a map of weights that is a list": mapped([1, 2]),
    "a map of weights to numbers": mapped({"a": 5}),
    "a map that leads out": mapped({"a": "../../weights.safetensors"}),
    "a header that is no table": lambda folder: (
        (folder / "model.safetensors").write_bytes((4).to_bytes(8, "little") + b"[[1]") and None
    ),
    "no video token": without_video_token,
}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    shutil.copytree(SHIPPED, tmp_path / "model")
    return tmp_path / "model"


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_one_sentence(damage: str, model: Path) -> None:
    DAMAGES[damage](model / "vlm")
    config = load_config("mini", [f"encoder.model='{model}'", f"llm.model='{model}'"])
    said = []
    for look in (
        config.encoder.space,
        lambda: needs_of(config, 1),
        lambda: config.encoder.setup("cpu"),
        lambda: config.llm.setup("cpu"),
    ):
        try:
            look()
        except LongvidError as error:
            said.append(str(error))
    assert said
    assert not any("\n" in sentence for sentence in said)
    assert not (model / "vlm" / "ran").exists()


@pytest.mark.parametrize(
    ("table", "field", "value"),
    [
        ("vision_config", "patch_size", 0),
        ("vision_config", "image_size", -4),
        ("vision_config", "image_size", [32, 0]),
        ("text_config", "num_hidden_layers", -1),
    ],
)
def test_a_size_below_one_is_named(table: str, field: str, value: object, model: Path) -> None:
    config_with(**{table: {field: value}})(model / "vlm")
    config = load_config("mini", [f"encoder.model='{model}'", f"llm.model='{model}'"])
    with pytest.raises(ModelError, match=rf"vlm/config\.json states {field} = (0|-4|-1), which"):
        needs_of(config, 1)


@pytest.mark.parametrize("data", [b"hello\n", b"GS", b"\x80\x02Q%", b""])
def test_a_file_that_is_no_pickle_is_one_sentence(data: bytes, tmp_path: Path) -> None:
    file = tmp_path / "weights.pth"
    file.write_bytes(data)
    with pytest.raises(ModelError, match=r"weights\.pth is damaged or holds more than tensors"):
        read_pickle(file)


def test_a_tokenizer_without_the_video_token_is_found_before_indexing(model: Path) -> None:
    without_video_token(model / "vlm")
    config = load_config("mini", [f"encoder.model='{model}'"])
    with pytest.raises(
        ModelError, match="has no token '<video>', the place of a video in its prompts"
    ):
        config.encoder.space()
    checkpoint_files.require_token(SHIPPED / "vlm", "<video>")


def test_code_of_a_checkpoint_is_never_run(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("builtins.input", lambda *words: "yes")
    for inner in ("vlm", "embedder"):
        (model / inner / "own.py").write_text(f"open({str(model / 'ran')!r}, 'w')\n")
        own = {"AutoConfig": "own.Own", "AutoTokenizer": ["own.Own", None], "AutoModel": "own.Own"}
        config_with(auto_map=own)(model / inner)
        tokenizer = json.loads((model / inner / "tokenizer_config.json").read_text())
        tokenizer |= {"auto_map": {"AutoTokenizer": ["own.Own", None]}, "tokenizer_class": "Own"}
        (model / inner / "tokenizer_config.json").write_text(json.dumps(tokenizer))
    config = load_config("mini", [f"encoder.model='{model}'", f"llm.model='{model}'"])
    for look in (config.encoder.setup, config.llm.setup, lambda: needs_of(config, 1)):
        with contextlib.suppress(LongvidError):
            look()
    assert not (model / "ran").exists()


def test_every_automatic_class_is_told_to_run_no_code() -> None:
    lacking = []
    for folder in ("longvid", "pipelines", "benchmarks"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                    continue
                owner = ast.unparse(node.func.value)
                if node.func.attr in ("from_pretrained", "from_config") and "uto" in owner:
                    trust = [key.value for key in node.keywords if key.arg == "trust_remote_code"]
                    if not (trust and isinstance(trust[0], ast.Constant) and not trust[0].value):
                        lacking.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert not lacking, "trust_remote_code=False is missing at " + ", ".join(lacking)
