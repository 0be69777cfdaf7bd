"""Checkpoints rewritten as safetensors answer as they did, from one folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import longvid
from longvid.cli import main
from longvid.errors import ModelError
from longvid.models.weights import read_tensors
from longvid.safetensors_conversion import convert
from tests.parity import published_checkpoints as tiny
from tests.parity.golden_llama_vid import EVA_HEADS
from tests.parity.llama_vid_folder import configured, eva_file
from tests.parity.test_published_slowfast import CLIP


def test_a_converted_folder_answers_alike_and_is_whole(
    llama_vid_embedder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, converted = tmp_path / "model", tmp_path / "converted"
    adapter = tiny.random_adapter(eva_file(tmp_path / "apart"), llm_width=24)
    tiny.write_llama_vid(folder, adapter, tower_heads=EVA_HEADS)
    tower = tmp_path / "apart" / "eva_vit_g.pth"
    status = main(["convert", str(folder), str(converted), "--vision-tower", str(tower), "--json"])
    assert status == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["folder"], told["num_files"]) == (str(converted), 3)
    assert not [path for path in converted.rglob("*") if path.suffix in (".bin", ".pth")]

    before, after = (read_tensors(place, lambda name: True) for place in (folder, converted))
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)

    def ask(place: Path, *settings: str) -> Any:
        config = configured(place, llama_vid_embedder, *settings)
        store = tmp_path / f"store_{place.name}"
        assert not longvid.index([CLIP], store=store, config=config).failures
        return longvid.ask("w7 w3", store=store, config=config)

    one, other = ask(folder, f"encoder.vision_tower={tower}"), ask(converted)
    assert one.text == other.text
    assert one.prompt_tokens == other.prompt_tokens


def test_a_single_pickle_with_tied_weights_becomes_one_file(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    weight = torch.arange(6.0).view(2, 3)
    torch.save({"embed": weight, "head": weight, "turned": weight.T}, folder / "pytorch_model.bin")
    written = convert(str(folder), tmp_path / "new")
    assert (written.num_tensors, written.num_files, written.weight_bytes) == (3, 1, 72)
    found = load_file(written.folder / "model.safetensors")
    assert torch.equal(found["embed"], weight)
    assert torch.equal(found["head"], weight)
    assert torch.equal(found["turned"], weight.T)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "new"]


def test_what_cannot_be_converted_says_so(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    torch.save({"x": print}, folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match="more than tensors"):
        convert(str(folder), tmp_path / "new")
    assert not (tmp_path / "new").exists()
    torch.save({"x": torch.ones(1)}, folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match="exists already"):
        convert(str(folder), folder)
    done = convert(str(folder), tmp_path / "new").folder
    with pytest.raises(ModelError, match="nothing to convert"):
        convert(str(done), tmp_path / "again")
