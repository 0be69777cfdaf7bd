"""Mixtures of experts: who reads what, how they multiply, and how a dense model becomes one."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch

from longvid.encode.huggingface import HuggingFaceEncoder
from longvid.errors import ConfigError, ModelError
from longvid.llm.huggingface import HuggingFaceLanguageModel
from longvid.models.experts import Experts, upcycle
from longvid.types import Question, Selection
from tests.parity import family_checkpoints as tiny
from tests.parity.family_case import Case, model
from tests.parity.family_cases import LLAVA, QWEN3_MOE

QUESTION = Question("what color is it ?")


def shown(case: Case, folder: Path) -> Selection:
    case.save(folder / "model")
    tiny.write_embedder(folder)
    encoder = HuggingFaceEncoder(model=str(folder / "model"), embedder=str(folder))
    segment = encoder.setup()(tiny.frames(case.size))
    return Selection(segments=(segment,), evidence=(), budget=10_000)


def test_shares_are_what_the_models_own_routers_chose(tmp_path: Path) -> None:
    selection = shown(QWEN3_MOE, tmp_path)
    worker = HuggingFaceLanguageModel(model=str(tmp_path / "model")).setup()
    found = worker.router_shares(QUESTION, selection)
    assert len(found) == 3
    assert found[0].layer == "model.language_model.layers.0.mlp.gate"

    own = QWEN3_MOE.model_class.from_pretrained(tmp_path / "model", dtype=torch.float32).eval()
    prompt = QWEN3_MOE.prompt.replace("{question}", QUESTION.text).replace("{choices}", "")
    inputs = QWEN3_MOE.inputs(tmp_path / "model", prompt)
    with torch.no_grad():
        logits = own(**inputs, output_router_logits=True).router_logits
    visual = inputs["mm_token_type_ids"][0] == 2
    for one, layer in zip(found, logits, strict=True):
        chosen = layer.topk(2, dim=-1).indices
        for share, rows in ((one.visual, chosen[visual]), (one.text, chosen[~visual])):
            want = torch.bincount(rows.flatten(), minlength=4).double()
            torch.testing.assert_close(share, want / want.sum())


def test_a_dense_model_has_no_routers(tmp_path: Path) -> None:
    selection = shown(LLAVA, tmp_path)
    worker = HuggingFaceLanguageModel(model=str(tmp_path / "model")).setup()
    with pytest.raises(ModelError, match="has no mixture of experts"):
        worker.router_shares(QUESTION, selection)


@pytest.mark.parametrize("experts", ["eager", "batched_mm", "grouped_mm"])
def test_every_way_to_multiply_gives_the_same_scores(tmp_path: Path, experts: str) -> None:
    selection = shown(QWEN3_MOE, tmp_path)
    closed = Question(QUESTION.text, choices=("red", "blue"))
    part = HuggingFaceLanguageModel(model=str(tmp_path / "model"), experts=experts)
    worker = part.setup()
    config = worker._decoder.module.config.get_text_config()
    assert config._experts_implementation == experts
    got = worker.answer(closed, selection).choice_scores
    want = HuggingFaceLanguageModel(model=str(tmp_path / "model")).setup()
    assert got == pytest.approx(want.answer(closed, selection).choice_scores, abs=1e-4)


def test_an_unknown_way_is_a_sentence() -> None:
    with pytest.raises(ConfigError, match=r"llm\.experts is 'magic'; use auto, eager"):
        HuggingFaceLanguageModel(experts="magic")


@pytest.mark.parametrize(("every", "top_k"), [(1, 2), (2, 1)])
def test_an_upcycled_model_computes_what_the_dense_one_did(every: int, top_k: int) -> None:
    dense = model(LLAVA)
    mixed = copy.deepcopy(dense)
    turned = upcycle(mixed, num_experts=3, top_k=top_k, every=every)
    assert len(turned) == 2 // every
    assert turned[-1] == "model.language_model.layers.1.mlp"
    embeds = torch.randn(2, 9, 40, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        want, got = (one(inputs_embeds=embeds).logits for one in (dense, mixed))
    torch.testing.assert_close(got, want, atol=1e-5, rtol=0)
    block = mixed.get_submodule(turned[-1])
    assert isinstance(block, Experts)
    # Experts are copies: training one leaves the others.
    weights = [expert.up_proj.weight for expert in block.experts]
    assert weights[0].data_ptr() != weights[1].data_ptr()
    with torch.no_grad():
        logits, chosen_weights, chosen = block.router(embeds[0])
    assert logits.shape == (9, 3)
    assert torch.allclose(chosen_weights.sum(-1), torch.ones(9))
    assert len(chosen.unique()) > 1


def test_what_cannot_be_upcycled_is_a_sentence() -> None:
    with pytest.raises(ConfigError, match="1 <= top_k <= num_experts, got top_k 5 of 4"):
        upcycle(model(LLAVA), top_k=5)
    with pytest.raises(ConfigError, match=r"upcycle\.every must be at least 1"):
        upcycle(model(LLAVA), every=0)
    with pytest.raises(ModelError, match="Linear has no layers"):
        upcycle(torch.nn.Linear(2, 2))
    mixed = model(LLAVA)
    upcycle(mixed)
    with pytest.raises(ModelError, match="a mixture of experts already"):
        upcycle(mixed)
    with pytest.raises(ModelError, match="a mixture of experts already"):
        upcycle(model(QWEN3_MOE))
