"""A GGUF file of a Llama becomes a checkpoint that computes the same."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch

from longvid.errors import ModelError
from longvid.gguf import convert_gguf, unpermuted
from longvid.safetensors_conversion import convert

gguf = pytest.importorskip("gguf")
HEADS, KEY_HEADS = 4, 2


def permuted(data: np.ndarray, num_heads: int) -> np.ndarray:
    """Order the rows as llama.cpp's conversion does."""
    shape = (num_heads, 2, data.shape[0] // num_heads // 2, *data.shape[1:])
    return data.reshape(shape).swapaxes(1, 2).reshape(data.shape)


@pytest.fixture(scope="module")
def model() -> torch.nn.Module:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=260,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=HEADS,
        num_key_value_heads=KEY_HEADS,
        max_position_embeddings=64,
        rms_norm_eps=1e-5,
        rope_parameters={"rope_type": "default", "rope_theta": 1000.0},
        tie_word_embeddings=True,
    )
    return LlamaForCausalLM(config).eval()


def write(model: torch.nn.Module, path: Path, architecture: str = "llama") -> Path:
    writer = gguf.GGUFWriter(str(path), architecture)
    writer.add_context_length(64)
    writer.add_embedding_length(32)
    writer.add_block_count(2)
    writer.add_feed_forward_length(48)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KEY_HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(1000.0)
    from tokenizers.pre_tokenizers import ByteLevel

    letters = sorted(ByteLevel.alphabet())
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list([*letters, "<|im_start|>", "<|im_end|>", "<pad>", "ab"])
    writer.add_token_types([1] * len(letters) + [3, 3, 3, 1])
    writer.add_token_merges(["a b"])
    writer.add_bos_token_id(len(letters))
    writer.add_eos_token_id(len(letters) + 1)
    names = {
        "model.embed_tokens.weight": "token_embd.weight",
        "model.norm.weight": "output_norm.weight",
    }
    for layer in range(2):
        for theirs, ours in {
            "self_attn.q_proj": "attn_q",
            "self_attn.k_proj": "attn_k",
            "self_attn.v_proj": "attn_v",
            "self_attn.o_proj": "attn_output",
            "mlp.gate_proj": "ffn_gate",
            "mlp.up_proj": "ffn_up",
            "mlp.down_proj": "ffn_down",
            "input_layernorm": "attn_norm",
            "post_attention_layernorm": "ffn_norm",
        }.items():
            names[f"model.layers.{layer}.{theirs}.weight"] = f"blk.{layer}.{ours}.weight"
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight":
            continue
        data = tensor.numpy()
        if "q_proj" in name:
            data = permuted(data, HEADS)
        if "k_proj" in name:
            data = permuted(data, KEY_HEADS)
        writer.add_tensor(names[name], np.ascontiguousarray(data))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def logits(model: torch.nn.Module) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model(torch.arange(20)[None] * 7 % 250).logits
    return found


@pytest.mark.filterwarnings("ignore")
def test_the_checkpoint_computes_the_same(model: torch.nn.Module, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    file = write(model, tmp_path / "tiny.gguf")
    assert convert_gguf(file, tmp_path / "exact", dtype="float32") == 20
    exact = AutoModelForCausalLM.from_pretrained(tmp_path / "exact").eval()
    assert torch.allclose(logits(exact), logits(model), atol=1e-5)
    written = convert(str(file), tmp_path / "half")
    assert (written.num_tensors, written.num_files) == (20, 1)
    half = AutoModelForCausalLM.from_pretrained(tmp_path / "half").eval()
    assert next(half.parameters()).dtype == torch.float16
    assert torch.allclose(logits(half.float()), logits(model), atol=1e-2)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "half")
    assert tokenizer("ab<|im_end|>")["input_ids"][-2:] == [259, 257]
    if importlib.util.find_spec("accelerate") is not None:
        theirs = AutoModelForCausalLM.from_pretrained(
            tmp_path, gguf_file="tiny.gguf", dtype=torch.float32
        ).eval()
        assert torch.allclose(logits(exact), logits(theirs), atol=1e-4)


def test_rows_go_back_where_they_were() -> None:
    data = np.random.default_rng(0).normal(size=(32, 5))
    assert np.array_equal(unpermuted(permuted(data, 4), 4), data)


def test_what_cannot_be_converted(model: torch.nn.Module, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no file"):
        convert(str(tmp_path / "gone.gguf"), tmp_path / "out")
    (tmp_path / "bad.gguf").write_bytes(b"GGUF" + b"\0" * 99)
    with pytest.raises(ModelError, match="cannot be read as GGUF"):
        convert(str(tmp_path / "bad.gguf"), tmp_path / "out")
    other = write(model, tmp_path / "other.gguf", "gemma")
    with pytest.raises(ModelError, match="architecture 'gemma'"):
        convert(str(other), tmp_path / "out")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "file").touch()
    with pytest.raises(ModelError, match="exists already"):
        convert(str(other), tmp_path / "out")
