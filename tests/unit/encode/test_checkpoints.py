"""Checkpoints: found by name, whole or refused in one sentence, named by their content."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from longvid.errors import ModelError
from longvid.models import checkpoint_files, mini
from longvid.models.families import FAMILIES, family_of, space_of, spaces_of


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pair")
    mini.save(folder, seed=3)
    return folder


@pytest.fixture
def vlm(pair: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(pair / "vlm", tmp_path / "vlm"))


@pytest.fixture
def no_assets(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setattr(checkpoint_files, "_ASSETS", tmp_path / "assets")
    monkeypatch.setenv("LONGVID_HOME", str(tmp_path / "home"))
    return tmp_path


def test_a_folder_is_itself(vlm: Path) -> None:
    assert checkpoint_files.locate(str(vlm)) == vlm


def test_mini_is_the_shipped_one_if_there_is_one(no_assets: Path, pair: Path) -> None:
    shipped = Path(shutil.copytree(pair, no_assets / "assets" / "mini"))
    assert checkpoint_files.locate("mini") == shipped
    assert checkpoint_files.mini_is_trained()
    assert checkpoint_files.note(shipped / "vlm") == ""


def test_mini_is_built_once_and_says_so(
    no_assets: Path, pair: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved: list[int] = []

    def save(directory: Path, seed: int) -> None:
        saved.append(seed)
        shutil.copytree(pair, directory, dirs_exist_ok=True)

    monkeypatch.setattr(mini, "save", save)
    folder = checkpoint_files.locate("mini")
    assert checkpoint_files.locate("mini") == folder
    assert saved == [0]
    assert folder.parent == no_assets / "home"
    assert not checkpoint_files.mini_is_trained()
    for place in (folder, folder / "vlm", folder / "embedder"):
        assert "no meaning yet" in checkpoint_files.note(place)
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_a_faster_process_wins(
    no_assets: Path, pair: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def save(directory: Path, seed: int) -> None:
        # While this process writes, another one finishes the same folder.
        monkeypatch.setattr(mini, "save", lambda d, _: shutil.copytree(pair, d, dirs_exist_ok=True))
        checkpoint_files.locate("mini")
        shutil.copytree(pair, directory, dirs_exist_ok=True)

    monkeypatch.setattr(mini, "save", save)
    folder = checkpoint_files.locate("mini")
    assert (folder / "vlm" / "config.json").is_file()
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_mini_needs_a_place_to_write(no_assets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (no_assets / "file").write_text("in the way")
    monkeypatch.setenv("LONGVID_HOME", str(no_assets / "file"))
    with pytest.raises(ModelError, match="LONGVID_HOME"):
        checkpoint_files.locate("mini")


@pytest.mark.parametrize("name", ["/nowhere/at/all", "./nowhere", "nowhere", "a/b/c"])
def test_a_missing_folder_is_one_sentence(name: str) -> None:
    with pytest.raises(ModelError, match="There is no checkpoint folder"):
        checkpoint_files.locate(name)


def test_a_hub_name_is_looked_up_in_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ModelError, match="run `hf download owner/model`"):
        checkpoint_files.locate("owner/model")
    snapshot = tmp_path / "models--owner--model" / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text("{}")
    (snapshot.parent.parent / "refs").mkdir()
    (snapshot.parent.parent / "refs" / "main").write_text("0" * 40)
    assert checkpoint_files.locate("owner/model") == snapshot


def test_parts_of_a_pair(pair: Path) -> None:
    assert checkpoint_files.part_of(pair, checkpoint_files.VLM) == pair / "vlm"
    assert checkpoint_files.part_of(pair, checkpoint_files.EMBEDDER) == pair / "embedder"
    assert checkpoint_files.part_of(pair / "vlm", checkpoint_files.VLM) == pair / "vlm"


def test_identity_is_of_the_content(pair: Path, vlm: Path) -> None:
    assert checkpoint_files.identity(vlm) == checkpoint_files.identity(pair / "vlm")
    assert checkpoint_files.identity(vlm) != checkpoint_files.identity(pair / "embedder")
    assert len(checkpoint_files.identity(vlm)) == 12


@pytest.mark.parametrize("place", ["first", "middle", "last"])
def test_identity_sees_another_fine_tuning(tmp_path: Path, place: str) -> None:
    """One value changed in the probed regions of a file of 40 MB is another checkpoint."""
    weights = {"w": torch.zeros(10_000_000)}
    (tmp_path / "config.json").write_text("{}")
    save_file(weights, tmp_path / "model.safetensors")
    before = checkpoint_files.identity(tmp_path)
    weights["w"][{"first": 5, "middle": slice(4_000_000, 6_000_000), "last": -1}[place]] = 1.0
    save_file(weights, tmp_path / "model.safetensors")
    assert checkpoint_files.identity(tmp_path) != before


def test_identity_sees_the_configuration(vlm: Path) -> None:
    before = checkpoint_files.identity(vlm)
    config = json.loads((vlm / "config.json").read_text())
    config["vision_feature_layer"] = -3
    (vlm / "config.json").write_text(json.dumps(config))
    assert checkpoint_files.identity(vlm) != before


def test_space_names_family_shape_and_weights(vlm: Path) -> None:
    name, wide = checkpoint_files.identity(vlm), "llava_onevision/siglip-qwen2-192"
    assert space_of(vlm) == f"{wide}@{name}"
    assert spaces_of(vlm) == (f"{wide}@{name}", f"llava_onevision/siglip-unprojected-128@{name}")


def test_a_folder_without_configuration(vlm: Path) -> None:
    (vlm / "config.json").unlink()
    with pytest.raises(ModelError, match=r"has no config\.json"):
        checkpoint_files.identity(vlm)
    (vlm / "config.json").write_text("{")
    with pytest.raises(ModelError, match="not valid JSON"):
        checkpoint_files.identity(vlm)


def test_a_folder_without_weights(vlm: Path) -> None:
    (vlm / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="holds no weights"):
        checkpoint_files.weight_files(vlm)


def test_a_missing_shard_is_named(vlm: Path) -> None:
    (vlm / "model.safetensors").rename(vlm / "model-00001-of-00002.safetensors")
    index = {
        "weight_map": {
            "a": "model-00001-of-00002.safetensors",
            "b": "model-00002-of-00002.safetensors",
        }
    }
    (vlm / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ModelError, match=r"1 of 2 .*00002-of-00002.*hf download"):
        checkpoint_files.weight_files(vlm)


@pytest.mark.parametrize("kept", [0, 5, 100, 100_000])
def test_a_truncated_file_is_refused(vlm: Path, kept: int) -> None:
    data = (vlm / "model.safetensors").read_bytes()
    (vlm / "model.safetensors").write_bytes(data[:kept])
    with pytest.raises(ModelError, match="hf download"):
        checkpoint_files.weight_files(vlm)


def test_a_pointer_of_git_lfs_is_refused(vlm: Path) -> None:
    (vlm / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(ModelError, match="git-lfs"):
        checkpoint_files.weight_files(vlm)


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"model_type": "llama"}, "'llama', which reads no pictures"),
        ({"model_type": "siglip", "vision_config": {}}, "'siglip'"),
        ({}, "no stated architecture"),
    ],
)
def test_another_architecture_lists_the_known(
    tmp_path: Path, config: dict[str, object], says: str
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=says) as caught:
        family_of(tmp_path)
    assert all(name in str(caught.value) for name in FAMILIES)
