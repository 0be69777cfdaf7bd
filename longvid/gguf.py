"""Rewrite a language model in GGUF (llama.cpp) as a Hugging Face checkpoint in safetensors.

Quantised weights are dequantised to float16. llama.cpp stores the rows of the query and key
projections in another order, so that its rotary embedding turns neighbours; they are put back.

Source: ggml-org/llama.cpp, convert_hf_to_gguf.py (LlamaModel.permute).
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from longvid.errors import ConfigError, ModelError
from longvid.lazy_import import torch
from longvid.models.transformers_logging import quiet

GGUF_SUFFIX = ".gguf"
_ARCHITECTURES = ("llama",)
_TENSORS = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
}
_BLOCK_TENSORS = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
}


def convert_gguf(file: Path, target: Path, dtype: str = "float16") -> int:
    """Write a GGUF file of the Llama architecture as a checkpoint folder.

    Args:
        file: A .gguf file.
        target: A folder that does not exist.
        dtype: Of the weights written: "float16", "bfloat16" or "float32".

    Returns:
        The number of tensors.

    Raises:
        ConfigError: The package gguf is not installed.
        ModelError: It is no GGUF file, of another architecture, or damaged.
    """
    try:
        import gguf
    except ImportError as error:
        raise ConfigError(
            "Converting a GGUF file needs the package gguf, which is not installed; install gguf."
        ) from error
    from transformers import AutoTokenizer, LlamaForCausalLM

    try:
        reader = gguf.GGUFReader(str(file))
    except (ValueError, OSError, IndexError, KeyError) as error:
        raise ModelError(f"{file} cannot be read as GGUF: {error}.") from error
    config = _config(reader, file)
    kind = getattr(torch, dtype)
    weights = {name: data.to(kind) for name, data in _weights(reader, gguf, config, file)}
    with torch.device("meta"):
        model = LlamaForCausalLM(config)
    found = model.load_state_dict(weights, strict=False, assign=True)
    missing = [name for name in found.missing_keys if name != "lm_head.weight"]
    if missing or found.unexpected_keys:
        raise ModelError(
            f"{file} lacks {', '.join(missing) or 'nothing'} and holds "
            f"{', '.join(found.unexpected_keys) or 'nothing'} beside a Llama's tensors; only plain "
            "Llama models can be converted."
        )
    model.tie_weights()
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".converting-", dir=target.parent) as folder, quiet():
        model.config.dtype = dtype
        model.save_pretrained(folder)
        tokenizer = AutoTokenizer.from_pretrained(
            file.parent, gguf_file=file.name, trust_remote_code=False
        )
        tokenizer.save_pretrained(folder)
        Path(folder).chmod(0o755)
        Path(folder).rename(target)
        Path(folder).mkdir()  # for the context, which removes it
    return len(weights)


def unpermuted(
    data: npt.NDArray[np.floating[Any]], num_heads: int
) -> npt.NDArray[np.floating[Any]]:
    """Put the rows of a query or key projection back into the order of Hugging Face.

    Args:
        data: (heads * D, width) as llama.cpp stores it.
        num_heads: Of queries, or of keys.
    """
    half = data.shape[0] // num_heads // 2
    split = data.reshape(num_heads, half, 2, *data.shape[1:])
    return split.swapaxes(1, 2).reshape(data.shape)


def _weights(reader: Any, gguf: Any, config: Any, file: Path) -> Iterator[tuple[str, torch.Tensor]]:
    for tensor in reader.tensors:
        name = _name(tensor.name)
        if name is None:
            continue
        try:
            data = gguf.dequantize(tensor.data, tensor.tensor_type)
        except (ValueError, NotImplementedError, KeyError) as error:
            raise ModelError(
                f"{file} holds {tensor.name} as {tensor.tensor_type.name}, which cannot be "
                f"dequantised ({error})."
            ) from error
        if "attn_q." in tensor.name:
            data = unpermuted(data, config.num_attention_heads)
        elif "attn_k." in tensor.name:
            data = unpermuted(data, config.num_key_value_heads)
        yield name, torch.from_numpy(np.ascontiguousarray(data, np.float32))


def _name(name: str) -> str | None:
    """Return the Hugging Face name of a tensor; None for one that is computed there."""
    if name == "rope_freqs.weight":
        return None
    stem, _, kind = name.rpartition(".")
    if stem in _TENSORS:
        return f"{_TENSORS[stem]}.{kind}"
    parts = stem.split(".")
    if len(parts) == 3 and parts[0] == "blk" and parts[2] in _BLOCK_TENSORS:
        return f"model.layers.{parts[1]}.{_BLOCK_TENSORS[parts[2]]}.{kind}"
    return name  # reported as what a Llama does not have


def _config(reader: Any, file: Path) -> Any:
    from transformers import LlamaConfig

    def field(name: str, default: Any = None) -> Any:
        found = reader.get_field(name)
        if found is None:
            if default is None:
                raise ModelError(f"{file} does not say {name}, so it cannot be converted.")
            return default
        return found.contents()

    architecture = field("general.architecture")
    if architecture not in _ARCHITECTURES:
        raise ModelError(
            f"{file} is a model of architecture {architecture!r}; only "
            f"{', '.join(_ARCHITECTURES)} can be converted."
        )
    if reader.get_field("llama.expert_count") is not None:
        raise ModelError(f"{file} is a mixture of experts, which cannot be converted.")
    num_heads = int(field("llama.attention.head_count"))
    width = int(field("llama.embedding_length"))
    tensors = {tensor.name: tensor for tensor in reader.tensors}
    if "token_embd.weight" not in tensors:
        raise ModelError(f"{file} holds no token embeddings, so it cannot be converted.")
    return LlamaConfig(
        vocab_size=int(tensors["token_embd.weight"].shape[-1]),
        hidden_size=width,
        intermediate_size=int(field("llama.feed_forward_length")),
        num_hidden_layers=int(field("llama.block_count")),
        num_attention_heads=num_heads,
        num_key_value_heads=int(field("llama.attention.head_count_kv", num_heads)),
        head_dim=int(field("llama.attention.key_length", width // num_heads)),
        max_position_embeddings=int(field("llama.context_length")),
        rms_norm_eps=float(field("llama.attention.layer_norm_rms_epsilon")),
        rope_parameters={
            "rope_type": "default",
            "rope_theta": float(field("llama.rope.freq_base", 10000.0)),
        },
        tie_word_embeddings="output.weight" not in tensors,
        bos_token_id=_token(reader, "bos"),
        eos_token_id=_token(reader, "eos"),
    )


def _token(reader: Any, which: str) -> int | None:
    found = reader.get_field(f"tokenizer.ggml.{which}_token_id")
    return None if found is None else int(found.contents())
