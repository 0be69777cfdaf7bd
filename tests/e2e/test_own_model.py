"""A checkpoint that a user names: indexed, compressed, stored and asked, whatever its family."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from unittest.mock import ANY

import pytest

import longvid
from longvid.config import Config, load_config
from longvid.errors import ModelError, QuestionError, StoreError
from longvid.llm import huggingface
from tests.parity import family_checkpoints as tiny
from tests.parity.family_case import Case
from tests.parity.family_cases import ALL


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clip")
    tiny.write_embedder(folder)
    return folder


@pytest.fixture(scope="module", params=ALL, ids=lambda case: case.name)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    case: Case = request.param
    folder = tmp_path_factory.mktemp(case.name)
    case.save(folder)
    return folder


def config(model: Path, clip: Path, keep: str = "projected") -> Config:
    table = load_config("mini").to_dict()
    table["encoder"] = {
        "name": "huggingface",
        "model": str(model),
        "embedder": str(clip),
        "keep": keep,
    }
    table["llm"] = {"name": "huggingface", "model": str(model), "max_new_tokens": 4}
    table["compressors"] = [{"name": "tome", "amount": 0.5}]
    table["selectors"] = [{"name": "top_k"}]
    table["store"] = {**table["store"], "tokens": "int8"}
    table["ask"] = {**table["ask"], "budget": 64}
    return Config.from_dict(table)


def test_a_checkpoint_of_any_family(model: Path, clip: Path, data: Path, tmp_path: Path) -> None:
    chosen = config(model, clip)
    store = str(tmp_path / "store")
    report = longvid.index([str(data / "sign_book_640x480.mkv")], store=store, config=chosen)
    assert report.failures == ()
    assert report.videos_indexed == 1

    qa = longvid.VideoQA(store)
    (stored,) = qa.store.videos()
    (segment,) = qa.store.load([(stored.video.video_id, 0)])
    height, width = segment.grid
    assert len(segment.tokens) == segment.num_frames * -(-height * width // 2)
    assert float(segment.tokens.size.sum()) == segment.num_frames * height * width

    answer = qa.ask("what color is it ?")
    assert 0 < answer.visual_tokens <= 64
    assert answer.output_tokens > 0
    closed = qa.ask("what color is it ?", choices=("red", "blue"))
    assert closed.text in ("red", "blue")


def test_tokens_kept_before_the_projector_are_projected_when_asked(
    tmp_path: Path, clip: Path, data: Path
) -> None:
    cases = {case.name: case for case in ALL}
    model, other = tmp_path / "model", tmp_path / "other"
    cases["llava_onevision"].save(model)
    cases["llava"].save(other)
    store = str(tmp_path / "store")
    video = str(data / "sign_book_640x480.mkv")
    longvid.index([video], store=store, config=config(model, clip, "tower"))
    qa = longvid.VideoQA(store)
    assert qa.store.space.startswith("llava_onevision/siglip-unprojected-32@")
    answer = qa.ask("what color is it ?")
    assert 0 < answer.visual_tokens <= 64
    assert qa.ask("what color is it ?") == replace(answer, seconds=ANY)
    with pytest.raises(QuestionError, match=r"siglip-unprojected-32@\w+, but the .* reads llava/"):
        longvid.VideoQA(store, config(other, clip)).ask("what color is it ?")
    with pytest.raises(StoreError, match=r"encoder\.keep is .tower. there"):
        longvid.index([video], store=store, config=config(model, clip))


def test_another_models_tokens_are_refused_before_weights_are_read(
    tmp_path: Path, clip: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    ALL[0].save(one)
    ALL[-1].save(other)
    store = str(tmp_path / "store")
    longvid.index([str(data / "sign_book_640x480.mkv")], store=store, config=config(one, clip))
    table = config(one, clip).to_dict()
    table["llm"]["model"] = str(other)
    monkeypatch.setattr(huggingface, "family_of", None)
    with pytest.raises(QuestionError, match=r"store's tokens are of llava/.* reads smolvlm/"):
        longvid.VideoQA(store, Config.from_dict(table)).ask("what color is it ?")


def test_half_a_checkpoint_is_said_before_a_video_is_opened(
    tmp_path: Path, clip: Path, data: Path
) -> None:
    ALL[0].save(tmp_path / "model")
    weights = tmp_path / "model" / "model.safetensors"
    weights.rename(weights.with_name("model-00001-of-00002.safetensors"))
    (tmp_path / "model" / "model.safetensors.index.json").write_text(
        '{"weight_map": {"a": "model-00001-of-00002.safetensors", '
        '"b": "model-00002-of-00002.safetensors"}}'
    )
    with pytest.raises(ModelError, match=r"half downloaded: 1 of 2 .*00002-of-00002"):
        longvid.index(
            [str(data / "sign_book_640x480.mkv")],
            store=str(tmp_path / "store"),
            config=config(tmp_path / "model", clip),
        )
    assert not (tmp_path / "store").exists()
