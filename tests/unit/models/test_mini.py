from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from transformers import (
    AutoTokenizer,
    LlavaOnevisionForConditionalGeneration,
    PreTrainedTokenizerFast,
    SiglipModel,
)

from longvid.models import mini, mini_vocabulary


@pytest.fixture(scope="module")
def built() -> tuple[SiglipModel, LlavaOnevisionForConditionalGeneration, PreTrainedTokenizerFast]:
    return mini.build(3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("mini")
    mini.save(path, seed=3)
    return path


def test_the_same_seed_gives_the_same_weights(built) -> None:
    again, other = mini.build(3), mini.build(4)
    for model, twin, stranger in zip(built[:2], again[:2], other[:2], strict=True):
        state = model.state_dict()
        assert all(torch.equal(state[k], v) for k, v in twin.state_dict().items())
        assert any(not torch.equal(state[k], v) for k, v in stranger.state_dict().items())


def test_building_leaves_the_global_generator_alone() -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    mini.build(5)
    assert torch.equal(before, torch.get_rng_state())


def test_size_is_what_the_card_says(built) -> None:
    count = sum(p.numel() for model in built[:2] for p in model.parameters())
    assert 3e6 < count < 8e6


def test_both_models_hold_the_same_tower(built) -> None:
    tower = built[1].model.vision_tower.state_dict()
    vision = built[0].vision_model.state_dict()
    assert all(torch.equal(value, vision[name]) for name, value in tower.items())


def test_folder_is_small_and_complete(folder: Path) -> None:
    files = {str(p.relative_to(folder)): p.stat().st_size for p in folder.rglob("*") if p.is_file()}
    assert sum(files.values()) <= 16 * 2**20
    for room in ("vlm", "embedder"):
        for name in ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"):
            assert f"{room}/{name}" in files
    assert json.loads((folder / "vlm" / "prompt.json").read_text())["frame_prefix"] == "<frame>"


def test_weights_survive_the_round_trip(folder: Path, built) -> None:
    loaded = (
        SiglipModel.from_pretrained(folder / "embedder"),
        LlavaOnevisionForConditionalGeneration.from_pretrained(folder / "vlm"),
    )
    for model, twin in zip(built[:2], loaded, strict=True):
        state = twin.state_dict()
        assert next(iter(state.values())).dtype == torch.float16
        for name, value in model.state_dict().items():
            assert torch.equal(value.half(), state[name]), name


def test_tokenizer_reads_every_word_as_one_token(folder: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folder / "vlm")
    for word in mini_vocabulary.vocabulary():
        assert tokenizer(word)["input_ids"] == [tokenizer.get_vocab()[word]], word
    text = mini_vocabulary.prompt("What COLOUR is the star?")
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    asked = "<video> What's on the car? <answer>"
    assert tokenizer.tokenize(asked) == [
        "<video>", "what", "is", "on", "the", "<unk>", "?", "<answer>",
    ]  # fmt: skip


def test_chat_template_is_the_prompt(folder: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folder / "vlm")
    parts = [{"type": "video"}, {"type": "text", "text": "where is the star ?"}]
    chat = tokenizer.apply_chat_template([{"role": "user", "content": parts}], tokenize=False)
    assert chat == mini_vocabulary.prompt("where is the star ?")


def test_unknown_words_are_named_once_and_in_order() -> None:
    assert mini_vocabulary.unknown_words("Is the dog near the Dog's car?") == ("dog", "near", "car")
    assert mini_vocabulary.unknown_words("How many red stars are there?") == ()


def test_generation_from_embeddings_is_greedy_and_stops(built) -> None:
    _, vlm, tokenizer = built
    embeds = torch.randn(1, 9, mini.DECODER_WIDTH, generator=torch.Generator().manual_seed(0))
    out = vlm.generate(inputs_embeds=embeds, attention_mask=torch.ones(1, 9, dtype=torch.long))
    assert out.shape[1] <= mini_vocabulary.PROMPT.max_new_tokens
    with torch.no_grad():
        logits = vlm(inputs_embeds=embeds).logits[0, -1]
    assert int(out[0, 0]) == int(logits.argmax())
    assert tokenizer.eos_token_id == vlm.generation_config.eos_token_id
