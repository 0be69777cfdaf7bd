"""What a configuration needs, from config.json alone, beside what a real run took."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from transformers import LlamaConfig, LlavaConfig, SiglipConfig

import longvid
from longvid.capacity import needs_of
from longvid.cli import main
from longvid.config import Config, load_config
from longvid.doctor import examine_config
from longvid.errors import ConfigError, ModelError
from longvid.model_inventory import models_on_disk
from longvid.models.onednn_linear import PackedLinear
from longvid.qa.video_qa import VideoQA
from tests.parity import published_checkpoints as tiny
from tests.parity.golden_llama_vid import EVA_HEADS
from tests.parity.llama_vid_folder import eva_file

GIGA = 1e9


@pytest.fixture(scope="module")
def seven_billion(tmp_path_factory: pytest.TempPathFactory) -> Config:
    """LLaVA-1.5-7B and SigLIP-so400m as config.json only: there is no weight to load."""
    folder = tmp_path_factory.mktemp("checkpoints")
    vision = {
        "model_type": "clip_vision_model",
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "image_size": 336,
        "patch_size": 14,
    }
    LlavaConfig(
        vision_config=vision,
        text_config=LlamaConfig(vocab_size=32064, max_position_embeddings=4096).to_dict(),
    ).save_pretrained(folder / "llava")
    so400m = {
        "hidden_size": 1152,
        "intermediate_size": 4304,
        "num_hidden_layers": 27,
        "num_attention_heads": 16,
    }
    SiglipConfig(
        text_config={**so400m, "vocab_size": 32000},
        vision_config={**so400m, "image_size": 384, "patch_size": 14},
    ).save_pretrained(folder / "siglip")
    side = {"llava": 336, "siglip": 384}
    for name, pixels in side.items():
        table = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3, "rescale_factor": 1 / 255}
        table["size"] = {"height": pixels, "width": pixels}
        (folder / name / "preprocessor_config.json").write_text(json.dumps(table))
    return load_config(
        "longvid",
        [
            f"encoder.model='{folder / 'llava'}'",
            f"encoder.embedder='{folder / 'siglip'}'",
            f"llm.model='{folder / 'llava'}'",
            "encoder.dtype=bfloat16",
            "llm.dtype=bfloat16",
            "ask.budget=3500",
        ],
    )


def test_a_seven_billion_model_is_counted_without_weights(seven_billion: Config) -> None:
    needs = needs_of(seven_billion, hours=2)
    assert needs.ask_weights == pytest.approx(13.5 * GIGA + 0.9 * GIGA, rel=0.05)
    assert needs.index_weights == pytest.approx(0.65 * GIGA + 1.7 * GIGA, rel=0.1)
    # 32 layers x 2 x 4096 x 2 bytes = half a MiB a token.
    assert needs.ask_cache == (needs.prompt_tokens + 128) * 2**19
    assert needs.frames == 7200
    assert needs.context == 4096
    # 24x24 patches: 12x12 on slow frames (every sixth), 6x6 on the others.
    assert needs.tokens <= 7200 * 144
    assert needs_of(seven_billion, hours=4).store == pytest.approx(2 * needs.store, rel=1e-3)


def test_fewer_bits_need_less(seven_billion: Config) -> None:
    from dataclasses import replace

    small = replace(seven_billion, llm=replace(seven_billion.llm, bits=4))
    assert needs_of(small, 1).ask_weights < 0.4 * needs_of(seven_billion, 1).ask_weights


def test_the_store_of_real_clips_is_foreseen(small_store: Path) -> None:
    store = VideoQA(small_store).store
    stored = store.videos()
    foreseen = [needs_of(load_config("mini"), one.video.duration_seconds / 3600) for one in stored]
    for one, needs in zip(stored, foreseen, strict=True):
        assert needs.segments == one.num_segments
        assert needs.tokens == pytest.approx(one.num_tokens, rel=0.03, abs=16)
    # Heads of files and the manifest are not counted, the search index is.
    total = sum(one.num_bytes for one in stored)
    assert sum(needs.store for needs in foreseen) == pytest.approx(total, rel=0.2)


def test_what_does_not_fit_is_an_error_that_says_what_to_do(
    seven_billion: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("longvid.capacity.device_bytes", lambda device: ("a small GPU", 8 * 10**9))
    found = {finding.what: finding for finding in examine_config(seven_billion, 1)}
    assert found["index in all"].state == "ok"
    assert found["ask in all"].state == "error"
    assert "does not fit: 8.0 GB free on a small GPU; set llm.bits" in found["ask in all"].remark
    assert found["prompt"].state == "ok"

    monkeypatch.setattr("longvid.capacity.device_bytes", lambda device: ("a machine", None))
    found = {finding.what: finding for finding in examine_config(seven_billion, 1)}
    assert found["ask in all"].state == "warning"
    assert found["ask in all"].remark == "what is free on a machine is not known"


def test_a_prompt_beyond_the_context_is_an_error(seven_billion: Config) -> None:
    from dataclasses import replace

    long = replace(seven_billion, ask=replace(seven_billion.ask, budget=60_000))
    found = {finding.what: finding for finding in examine_config(long, 10)}
    assert found["prompt"].state == "error"
    assert "4096; lower ask.budget" in found["prompt"].remark


@pytest.mark.parametrize("hours", [0.0, -1.0, float("inf")])
def test_hours_must_be_some(hours: float) -> None:
    with pytest.raises(ConfigError, match="--hours"):
        needs_of(load_config("mini"), hours)


def test_a_missing_checkpoint_is_named() -> None:
    with pytest.raises(ModelError, match="hf download"):
        needs_of(load_config("longvid"), 1)


def test_models_name_what_presets_want_and_what_is_there(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from huggingface_hub import constants

    (tmp_path / "models--someone--some-model").mkdir()
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    listed = models_on_disk()
    found = {(model.preset, model.part): model for model in listed}
    assert found["mini", "llm"].family == "llava_onevision"
    assert found["mini", "llm"].num_bytes > 1e6
    assert found["mini", "embedder"].family == "siglip"
    assert "hf download" in found["longvid", "llm"].lacking
    assert "eva_vit_g.pth" in found["llama_vid", "vision_tower"].lacking
    assert {part for preset, part in found if preset == "longvu"} == {
        "encoder",
        "siglip",
        "dino",
        "llm",
    }
    assert listed[-1].model == "someone/some-model"


def test_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--hours", "2", "--json"]) == 0
    found = {row["what"]: row for row in json.loads(capsys.readouterr().out)}
    assert found["store of 2 hours"]["remark"].startswith("at most: 900 segments, 7200 frames")
    assert found["ask in all"]["remark"].startswith("fits")
    assert main(["doctor", "--config", "longvid"]) == 1
    assert "hf download llava-hf/llava-onevision" in capsys.readouterr().err
    assert main(["models", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert {"llava", "llava_onevision", "qwen2_5_vl"} <= set(listed["families"])
    assert {row["preset"] for row in listed["models"]} >= {"mini", "longvid"}


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Config]:
    """Tiny LLaMA-VID and LongVU in folders as their authors left them."""
    place = tmp_path_factory.mktemp("published")
    clip = tiny.write_embedder(place / "clip")
    llama_vid, longvu = place / "llama_vid", place / "longvu"
    width = eva_file(llama_vid)
    tiny.write_llama_vid(llama_vid, tiny.random_adapter(width, 24), tower_heads=EVA_HEADS)
    siglip, dino = tiny.write_siglip(place / "siglip"), tiny.write_dino(place / "dino")
    tiny.write_longvu(longvu, tiny.random_connector((16, 12), 24), tokenizer_model_max_length=2300)
    settings = {
        "llama_vid": {"encoder.model": llama_vid, "encoder.embedder": clip, "llm.model": llama_vid},
        "longvu": {
            "encoder.model": longvu,
            "encoder.siglip": siglip,
            "encoder.dino": dino,
            "encoder.dino_side": 28,
            "llm.model": longvu,
        },
    }
    return {
        name: load_config(
            name, ["llm.max_new_tokens=2", *(f"{key}={value}" for key, value in chosen.items())]
        )
        for name, chosen in settings.items()
    }


@pytest.mark.parametrize("name", ["llama_vid", "longvu"])
def test_a_published_system_is_counted_as_it_is_loaded_and_stored(
    name: str, published: dict[str, Config], data: Path, tmp_path: Path
) -> None:
    config = published[name]
    store = tmp_path / "store"
    clip = data / "bottles_40s.mp4"
    longvid.index([clip], store=store, config=config)
    qa = VideoQA(store, config)
    (stored,) = qa.store.videos()
    needs = needs_of(config, stored.video.duration_seconds / 3600)
    assert (needs.segments, needs.tokens) == (stored.num_segments, stored.num_tokens)
    assert needs.store == pytest.approx(stored.num_bytes, rel=0.2)
    answer = qa.ask("w7 w3 w9", video="bottles_40s.mp4")
    assert answer.visual_tokens <= needs.prompt_tokens - 256
    if name == "llama_vid":
        assert needs.prompt_tokens - 256 == answer.visual_tokens == 2 * needs.frames

    def size(*modules: Any) -> int:
        parts = [part for module in modules for part in module.modules()]
        packed = [part for part in parts if isinstance(part, PackedLinear)]
        weights = sum(weight.numel() for module in modules for weight in module.parameters())
        return weights + sum(part.in_features * part.out_features for part in packed)

    encoder: Any = config.encoder.setup("cpu")
    llm: Any = qa.llm
    text_side = size(config.encoder.setup_embedder("cpu")._embedder.module)
    if name == "llama_vid":
        towers, between = [encoder.tower], [llm.adapter]
    else:
        towers, between = [encoder.dino._model, encoder._aggregator], [llm._project]
    # The newline token belongs to the connector, on both sides.
    newlines = 24 if name == "longvu" else 0
    assert needs.index_weights == 4 * (size(*towers, encoder._embedder.module) + newlines)
    language = size(llm._decoder.module)
    assert needs.ask_weights == 4 * (language + size(*between) + text_side + newlines)
    (segment,) = qa.store.load([(stored.video.video_id, 0)])
    assert needs.ask_tokens == 2 * stored.num_tokens * segment.tokens.data.shape[1]


def test_a_film_too_long_for_llama_vid_says_what_to_do(published: dict[str, Config]) -> None:
    found = {one.what: one for one in examine_config(published["llama_vid"], 2)}
    assert found["prompt"].state == "error"
    assert found["prompt"].remark.endswith(
        "4096; lower sample.fps, or name the checkpoint for long videos"
    )
    found = {one.what: one for one in examine_config(published["longvu"], 2)}
    assert found["prompt"].state == "ok"  # LongVU fits a video to its context


def test_all_that_is_missing_is_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(ModelError) as caught:
        examine_config(load_config("llama_vid"), 1)
    sentence = str(caught.value)
    for part in ("4 of", "hf download YanweiLi/", "eva_vit_g.pth, into", "encoder.embedder"):
        assert part in sentence
    folder = tmp_path / "model"
    tiny.write_llama_vid(folder, tiny.random_adapter(24, 24))
    settings = [f"encoder.model={folder}", f"llm.model={folder}", f"encoder.embedder={folder}"]
    with pytest.raises(ModelError, match=r"^1 of .*eva_vit_g\.pth, into the folder of"):
        examine_config(load_config("llama_vid", settings), 1)


def test_estimating_lets_no_log_line_of_transformers_through() -> None:
    records: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = records.append  # type: ignore[method-assign]
    logger = logging.getLogger("transformers")
    logger.addHandler(handler)
    try:
        examine_config(load_config("mini"), 2.0)
    finally:
        logger.removeHandler(handler)
    assert [record.getMessage() for record in records] == []


@pytest.mark.parametrize("hours", [0.0, -1.0, float("nan"), float("inf"), 1e300])
def test_a_length_that_no_video_has_is_refused(hours: float) -> None:
    with pytest.raises(ConfigError, match="--hours must be above 0 and at most 100,000"):
        examine_config(load_config("mini"), hours)
