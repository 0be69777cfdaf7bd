"""A checkpoint is loaded whole: weights of layers that its configuration lacks are refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForCausalLM

from longvid.errors import ModelError
from longvid.models.from_pretrained import load


def write(folder: Path) -> Path:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=16,
        hidden_size=8,
        intermediate_size=8,
        num_hidden_layers=3,
        num_attention_heads=2,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def test_fewer_layers_than_the_weights_have(tmp_path: Path) -> None:
    config = write(tmp_path) / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"num_hidden_layers": 2}))
    with pytest.raises(ModelError, match=r"9 weights of layers .* 'model\.layers\.2\.input_layer"):
        load(tmp_path, LlamaForCausalLM, dtype=torch.float32)


def test_weights_of_another_task_are_left_out(tmp_path: Path) -> None:
    weights = write(tmp_path) / "model.safetensors"
    state = load_file(weights) | {"score.weight": torch.zeros(2), "heads.7.bias": torch.zeros(1)}
    save_file(state, weights, metadata={"format": "pt"})
    assert len(load(tmp_path, LlamaForCausalLM, dtype=torch.float32).model.layers) == 3
