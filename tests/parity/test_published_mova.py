"""MoVA's adapter from a folder under its authors' names: the arrays of the original come out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from transformers import BertConfig, BertModel

from longvid.errors import ModelError
from longvid.systems.mova.adapter import MoVAdapter
from longvid.systems.mova.checkpoint import adapter_names, load_adapter, load_question_encoder
from tests.parity import published_checkpoints as tiny
from tests.parity.golden_file import GoldenFile
from tests.parity.golden_weights import TOLERANCE, weights_of
from tests.parity.test_golden import DIRECTORY

PREFIX = "model.mm_projector."


def published(adapter: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the state of a whole checkpoint, in its names, around an adapter."""
    torch.manual_seed(1)
    bert = BertModel(
        BertConfig(
            vocab_size=50,
            hidden_size=64,
            num_hidden_layers=2,
            num_attention_heads=1,
            intermediate_size=24,
            max_position_embeddings=16,
        ),
        add_pooling_layer=False,
    )
    state = {PREFIX + name: value for name, value in adapter.items()}
    # Tables that are saved with the weights, and what belongs to other modules.
    state[f"{PREFIX}blocks.0.self_attn.rope.freqs_cos"] = torch.ones(16, 64)
    state[f"{PREFIX}blocks.0.self_attn.rope.freqs_sin"] = torch.ones(16, 64)
    state |= {f"{PREFIX}text_encoder.bert.{n}": w for n, w in bert.state_dict().items()}
    state["model.vision_tower.vision_tower_0.conv.weight"] = torch.ones(3)
    state["model.layers.0.mlp.up_proj.weight"] = torch.ones(4, 4)
    return state


def write(folder: Path, state: dict[str, torch.Tensor], **config: object) -> Path:
    tiny.write_sharded(folder, state)
    (folder / "config.json").write_text(json.dumps({"model_type": "mova_llama", **config}))
    return folder


@torch.no_grad()
def test_the_adapter_of_a_published_folder_is_the_original(tmp_path: Path) -> None:
    golden = GoldenFile(DIRECTORY / "mova_adapter.npz")
    weights = weights_of(golden)
    folder = write(tmp_path / "mova", published(weights), topk=2)
    adapter = load_adapter(folder, torch.float32, "cpu")
    assert adapter_names(folder) == {PREFIX + name for name in weights}
    for key in golden.keys("out_b1_r"):
        routing = torch.tensor([[float(bit) for bit in key.removeprefix("out_b1_r")]])
        out = adapter(golden.tensor("in_x")[:1], golden.tensor("in_text")[:1], routing)
        golden.close(key, out, TOLERANCE)


@torch.no_grad()
def test_bert_reads_questions_as_the_class_it_was_saved_from(tmp_path: Path) -> None:
    state = published({})
    folder = write(tmp_path / "mova", state)
    bert = load_question_encoder(folder, torch.float32, "cpu")
    config = bert.config
    twin = BertModel(config, add_pooling_layer=False).eval()
    prefix = f"{PREFIX}text_encoder.bert."
    twin.load_state_dict({n.removeprefix(prefix): w for n, w in state.items() if prefix in n})
    ids = torch.randint(50, (2, 9))
    torch.testing.assert_close(bert(ids)[0][:, 0], twin(ids)[0][:, 0])


def test_a_folder_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    whole = MoVAdapter(64, [6, 4], count=16, llm_width=8, depth=1, topk=1).state_dict()
    for name, sentence in (("pos_embed", "lacks"), ("blocks.0.norm3.weight", "norm3.weight")):
        state = {key: value for key, value in whole.items() if key != name}
        folder = write(tmp_path / f"no_{name}", published(state), topk=1)
        with pytest.raises(ModelError, match=sentence):
            load_adapter(folder, torch.float32, "cpu")
    folder = write(tmp_path / "more", published({**whole, "extra": torch.ones(1)}), topk=1)
    with pytest.raises(ModelError, match="extra"):
        load_adapter(folder, torch.float32, "cpu")
    folder = write(tmp_path / "other", published({**whole, "mlp.2.bias": torch.ones(3)}), topk=1)
    with pytest.raises(ModelError, match="shape"):
        load_adapter(folder, torch.float32, "cpu")
    folder = write(tmp_path / "none", {"model.layers.0.weight": torch.ones(1)})
    with pytest.raises(ModelError, match="name a checkpoint of MoVA"):
        load_adapter(folder, torch.float32, "cpu")
    with pytest.raises(ModelError, match="BERT"):
        load_question_encoder(folder, torch.float32, "cpu")
