"""Load MoV-Adapter, and BERT in front of it, from the folder that MoVA's authors published.

The folder is a language model's, whose further tensors are the adapter's (`model.mm_projector.*`),
BERT's inside it (`...text_encoder.bert.*`) and those of eight towers (`model.vision_tower.*`),
which are left on disk.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from longvid.errors import ModelError
from longvid.models import checkpoint_files
from longvid.models.free_memory import require_room
from longvid.models.weights import read_tensors
from longvid.systems.mova.adapter import MoVAdapter

_ADAPTER = "model.mm_projector."
_BERT = f"{_ADAPTER}text_encoder.bert."
#: Tables of the rotary positions, which are saved with the weights and computed here.
_COMPUTED = re.compile(r"\.rope\.freqs_(cos|sin)$")
#: BERT's heads are as wide in every size that is published.
_BERT_HEAD = 64
_TOPK = 3


def adapter_names(folder: Path) -> frozenset[str]:
    """Return the names of the adapter's tensors as the folder must hold them.

    Raises:
        ModelError: A tensor that says a size is missing.
    """
    with torch.device("meta"):
        adapter = _build(folder, _state(folder, data=False))
    return frozenset(_ADAPTER + name for name in adapter.state_dict())


def load_adapter(folder: Path, dtype: torch.dtype, device: str) -> MoVAdapter:
    """Load the adapter; its sizes are read off its tensors.

    Raises:
        ModelError: A tensor is missing, not known, or of another shape, or there is no room.
    """
    state = _state(folder, data=True)
    with torch.device("meta"):
        adapter = _build(folder, state)
    known = adapter.state_dict()
    missing, strange = sorted(known.keys() - state.keys()), sorted(state.keys() - known.keys())
    if missing or strange:
        what = f"lacks {_ADAPTER}{missing[0]}" if missing else f"holds {_ADAPTER}{strange[0]} too"
        raise ModelError(
            f"{folder} {what}, which MoV-Adapter {'needs' if missing else 'does not have'}; the "
            "checkpoint is incomplete or of another architecture."
        )
    for name, value in state.items():
        if value.shape != known[name].shape:
            raise ModelError(
                f"{_ADAPTER}{name} of {folder} has shape {tuple(value.shape)}, MoV-Adapter needs "
                f"{tuple(known[name].shape)}."
            )
    num_bytes = sum(value.numel() for value in state.values()) * dtype.itemsize
    require_room(f"The adapter of {folder}", num_bytes, dtype, device)
    adapter.load_state_dict(state, assign=True)
    return adapter.to(device=device, dtype=dtype).requires_grad_(False).eval()


def load_question_encoder(folder: Path, dtype: torch.dtype, device: str) -> Any:
    """Load the BERT whose first output, of `question_text` in BERT's words, is the adapter's text.

    Returns:
        A `BertModel` of transformers without its pooler.

    Raises:
        ModelError: There is none, or a tensor is missing or of another shape.
    """
    from transformers import BertConfig, BertModel

    state = {
        name.removeprefix(_BERT): value
        for name, value in read_tensors(folder, lambda name: name.startswith(_BERT)).items()
        if not name.endswith("position_ids")
    }
    try:
        num_words, width = state["embeddings.word_embeddings.weight"].shape
        config = BertConfig(
            vocab_size=num_words,
            hidden_size=width,
            num_hidden_layers=_count(state, "encoder.layer."),
            num_attention_heads=max(1, width // _BERT_HEAD),
            intermediate_size=state["encoder.layer.0.intermediate.dense.weight"].shape[0],
            max_position_embeddings=state["embeddings.position_embeddings.weight"].shape[0],
        )
        bert: Any
        with torch.device("meta"):
            bert = BertModel(config, add_pooling_layer=False)
        bert = bert.to_empty(device="cpu")
        bert.load_state_dict({name: state[name] for name in _weights(bert)}, strict=False)
    except (KeyError, RuntimeError) as error:
        raise ModelError(
            f"{folder} lacks a tensor of its BERT, or holds one of another shape: "
            f"{str(error).splitlines()[0]}."
        ) from error
    for name, table in bert.named_buffers():  # positions and types, which no file holds
        table.copy_(torch.arange(table.shape[1]) if "position" in name else torch.zeros_like(table))
    return bert.to(device=device, dtype=dtype).requires_grad_(False).eval()


def _weights(module: torch.nn.Module) -> list[str]:
    return [name for name, _ in module.named_parameters()]


def _state(folder: Path, *, data: bool) -> dict[str, Tensor]:
    """Return the adapter's tensors by its own names, without BERT's and the computed tables."""
    found = read_tensors(
        folder,
        lambda name: (
            name.startswith(_ADAPTER)
            and not name.startswith(f"{_ADAPTER}text_encoder.")
            and _COMPUTED.search(name) is None
        ),
        data=data,
    )
    return {name.removeprefix(_ADAPTER): value for name, value in found.items()}


def _build(folder: Path, state: dict[str, Tensor]) -> MoVAdapter:
    experts = "blocks.0.cross_attn."
    config = checkpoint_files.read_config(folder)
    try:
        _, count, width = state["pos_embed"].shape
        num_experts = _count(state, experts)
        return MoVAdapter(
            width=width,
            expert_widths=[
                state[f"{experts}{number}.k_proj.weight"].shape[1] for number in range(num_experts)
            ],
            count=count,
            llm_width=state["mlp.0.weight"].shape[0],
            depth=_count(state, "blocks."),
            # Written under the one name and read under the other by the original.
            topk=int(config.get("topk_experts", config.get("topk", _TOPK))),
        )
    except KeyError as error:
        raise ModelError(
            f"{folder} lacks {_ADAPTER}{error.args[0]} of MoV-Adapter; name a checkpoint of MoVA, "
            "such as zongzhuofan/llama3-mova-8b."
        ) from error


def _count(state: dict[str, Tensor], prefix: str) -> int:
    """Count what is numbered behind a prefix."""
    numbers = {name[len(prefix) :].split(".")[0] for name in state if name.startswith(prefix)}
    if not numbers:
        raise KeyError(f"{prefix}0")
    return len(numbers)
