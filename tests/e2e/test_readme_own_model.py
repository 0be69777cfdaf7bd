"""README's "Use your own model", word by word, on tiny checkpoints of the true architectures."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from longvid.cli import main
from longvid.config import load_config
from tests.parity import family_checkpoints as tiny
from tests.parity.family_case import Case
from tests.parity.family_cases import NEXT_VIDEO, ONEVISION, QWEN2_5
from tests.parity.shuffled_cases import SMOLVLM

README = Path(__file__).parents[2] / "README.md"
SECTION = README.read_text(encoding="utf-8").split("### Use your own model")[1].split("\n##")[0]
COMMANDS = [
    shlex.split(line, comments=True)
    for line in re.findall(r"```\n(.*?)```", SECTION, re.DOTALL)[0].replace("\\\n", "").splitlines()
]
NOT_A_LLAVA = ["--set", "encoder.keep=projected"]
IN_ITS_OWN_ASPECT = ["--set", "encoder.fit=pad"]


@pytest.fixture(scope="module")
def embedder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clip")
    tiny.write_embedder(folder)
    return folder


@pytest.fixture
def videos(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder `videos/` of the working directory."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "videos").mkdir()
    shutil.copy(data / "sign_book_640x480.mkv", tmp_path / "videos")
    return tmp_path / "videos"


def spoken(command: list[str], model: Path, embedder: Path) -> list[str]:
    """Return the words after `longvid`, with checkpoints that exist."""
    places = {"/models/my-llava": str(model), "/models/my-siglip": str(embedder)}
    assert command[0] == "longvid"
    words = command[1:]
    for name, place in places.items():
        words = [word.replace(name, place) for word in words]
    return words


def test_the_section_names_what_is_tried_here() -> None:
    assert [command[1] for command in COMMANDS] == ["index", "ask"]
    named = set(re.findall(r"`(--set [^`]*)`", SECTION))
    assert named == {" ".join(NOT_A_LLAVA), " ".join(IN_ITS_OWN_ASPECT)}


@pytest.mark.parametrize(
    ("case", "more"),
    [
        (ONEVISION, []),
        (SMOLVLM, NOT_A_LLAVA),
        (QWEN2_5, [*NOT_A_LLAVA, *IN_ITS_OWN_ASPECT]),
    ],
    ids=lambda one: getattr(one, "name", None),
)
def test_the_commands(
    case: Case,
    more: list[str],
    videos: Path,
    embedder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    case.save(tmp_path / "model")
    index, ask = (spoken(command, tmp_path / "model", embedder) for command in COMMANDS)
    assert main([*index, *more, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["videos_indexed"], report["failures"]) == (1, [])

    assert main([*ask, "--set", "llm.max_new_tokens=4", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert 0 < answer["visual_tokens"] < answer["prompt_tokens"]
    assert answer["output_tokens"] > 0
    assert answer["evidence"][0]["path"].endswith("sign_book_640x480.mkv")


def test_a_file_of_ones_own_and_converted_weights(
    videos: Path, embedder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pickled, model = tmp_path / "SRC", tmp_path / "DST"
    pickled.mkdir()
    NEXT_VIDEO.save(pickled)
    weights = pickled / "model.safetensors"
    torch.save(load_file(weights), pickled / "pytorch_model.bin")
    weights.unlink()
    assert main(["convert", str(pickled), str(model)]) == 0
    assert (model / "model.safetensors").is_file()

    file = tmp_path / "mine.toml"
    file.write_text(
        f'preset = "longvid"\n[encoder]\nmodel = "{model}"\nembedder = "{embedder}"\n'
        f'[llm]\nmodel = "{model}"\nmax_new_tokens = 4\n'
    )
    capsys.readouterr()
    assert main(["config", "--config", str(file)]) == 0
    printed = capsys.readouterr().out
    (tmp_path / "whole.toml").write_text(printed)
    assert load_config(str(tmp_path / "whole.toml")) == load_config(str(file))

    assert main(["index", "videos/", "--store", "store", "--config", str(file)]) == 0
    capsys.readouterr()
    assert main(["ask", "what is it ?", "--store", "store", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["output_tokens"] > 0
