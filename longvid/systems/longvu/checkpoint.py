"""Load LongVU from the folders its authors published: cambrian_qwen and cambrian_llama.

A folder holds a language model and the connector between it and two vision towers; the towers are
checkpoints of their own, which the folder only names. This module knows names, sizes and traps.

Source: LongVU, `cambrian_arch.py`, `train.py`; the configuration of the released checkpoints.
"""

from __future__ import annotations

import dataclasses
import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from longvid.errors import ConfigError, ModelError
from longvid.lazy_import import torch
from longvid.methods.longvu_config import LLAMA_PAD_TOKEN_ID, LongVUConfig
from longvid.models import checkpoint_files
from longvid.models.weights import read_tensors

if TYPE_CHECKING:
    from torch import Tensor, nn

    from longvid.systems.longvu.sva import SpatialVisionAggregator

#: Where the names of the connector's tensors begin, and of those that a question needs of it.
CONNECTOR = r"model\.(mm_projector|vision_sampler|vision_query|image_newline)"
PROJECTOR = r"model\.(mm_projector\.|image_newline$)"

# Names of the settings, there and here.
_NAMES = {
    "image_token_len": "image_token_len",
    "lowres_token": "lowres_side",
    "highres": "highres",
    "tokenizer_model_max_length": "max_length",
    "inference_max_length": "answer_length",
    "dino_threshold": "dino_threshold",
    "drop_threshold": "drop_threshold",
}


def read_settings(folder: Path, **changes: Any) -> LongVUConfig:
    """Read the settings of a checkpoint for videos.

    Args:
        folder: The checkpoint.
        changes: Fields of LongVUConfig that count instead of the checkpoint's.

    Raises:
        ModelError: The checkpoint is one for still images, or uses a part of the architecture
            that no released one does.
    """
    config = checkpoint_files.read_config(folder)
    num_queries = _num_queries(config, folder)
    if num_queries in _tower_tokens(config, folder):
        raise ModelError(
            f"{folder} is a checkpoint of LongVU for still images ({num_queries} queries a "
            "picture); for videos name the one without _img, whose image_token_len is 144."
        )
    if config.get("frame_pos") or not config.get("connector_only", True):
        raise ModelError(
            f"{folder} uses frame_pos or aggregators inside the language model, which no released "
            "checkpoint of LongVU does and longvid does not support."
        )
    values = {ours: config[theirs] for theirs, ours in _NAMES.items() if theirs in config}
    if str(config.get("model_type")) == "cambrian_llama":
        values["pad_token_id"] = LLAMA_PAD_TOKEN_ID
    try:
        return dataclasses.replace(LongVUConfig(query_num=num_queries, **values), **changes)
    except (TypeError, ConfigError) as error:
        raise ModelError(f"config.json of {folder} does not fit LongVU: {error}") from error


def stored_width(folder: Path) -> int:
    """Return the width of the aggregator's tokens, which is what a store holds."""
    return int(checkpoint_files.read_config(folder).get("vision_hidden_size", 1024))


def tower_sides(folder: Path) -> tuple[int, ...]:
    """Return the side of the grid to which each tower's patches are resized."""
    tokens = _tower_tokens(checkpoint_files.read_config(folder), folder)
    return tuple(math.isqrt(count) for count in tokens)


def connector_names(folder: Path) -> frozenset[str]:
    """Return the names of the connector's tensors as the checkpoint must hold them.

    Raises:
        ModelError: See `read_settings`, or a tensor that says a size is missing.
    """
    read_settings(folder)
    with torch.device("meta"):
        aggregator = _build(folder, _state(folder, CONNECTOR, data=False))
    names = frozenset(f"model.{name}" for name in aggregator.state_dict())
    return names | {"model.image_newline"}


def load_aggregator(folder: Path, dtype: torch.dtype, device: str) -> SpatialVisionAggregator:
    """Load what fuses the two towers.

    Raises:
        ModelError: A tensor is missing, not known, or of another shape.
    """
    from longvid.systems.longvu.sva import load_released

    read_settings(folder)
    state = _state(folder, CONNECTOR)
    aggregator = _build(folder, state)
    known = {f"model.{name}" for name in aggregator.state_dict()} | {"model.image_newline"}
    strange = sorted(state.keys() - known)
    if strange:
        raise ModelError(
            f"{folder} holds {len(strange)} tensors that LongVU's connector does not have, the "
            f"first is {strange[0]}."
        )
    load_released(aggregator, state)
    return aggregator.to(device=device, dtype=dtype).requires_grad_(False).eval()


def load_projector(folder: Path, dtype: torch.dtype, device: str) -> tuple[nn.Module, Tensor]:
    """Load what brings aggregated tokens into the language model.

    Returns:
        From (..., C) to (..., D), and the newline token (D,).

    Raises:
        ModelError: A tensor is missing.
    """
    from torch import nn

    state = _state(folder, PROJECTOR)
    try:
        newline = state.pop("model.image_newline")
        hidden, width = state["model.mm_projector.0.weight"].shape
        projector = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, hidden))
        projector.load_state_dict(
            {name: state[f"model.mm_projector.{name}"] for name in projector.state_dict()}
        )
    except KeyError as error:
        raise ModelError(f"{folder} lacks {error} of LongVU's projector.") from error
    projector = projector.to(device=device, dtype=dtype).requires_grad_(False).eval()
    return projector, newline.to(device=device, dtype=dtype)


def _state(folder: Path, pattern: str, *, data: bool = True) -> dict[str, Tensor]:
    return read_tensors(folder, lambda name: re.match(pattern, name) is not None, data=data)


def _build(folder: Path, state: dict[str, Tensor]) -> SpatialVisionAggregator:
    from longvid.systems.longvu.sva import SpatialVisionAggregator

    config = checkpoint_files.read_config(folder)
    sampler = "model.vision_sampler_0.layers."
    try:
        sides = tower_sides(folder)
        widths = [state[f"model.mm_projector_aux_{k}.0.weight"].shape[1] for k in range(len(sides))]
        layers = {int(name[len(sampler) :].split(".")[0]) for name in state if sampler in name}
        return SpatialVisionAggregator(
            tower_widths=widths,
            tower_sides=sides,
            query_side=math.isqrt(_num_queries(config, folder)),
            width=state["model.vision_query"].shape[1],
            llm_width=state["model.mm_projector.2.weight"].shape[0],
            depth=int(config.get("connector_depth", len(layers))),
        )
    except KeyError as error:
        raise ModelError(
            f"{folder} lacks {error} of LongVU's connector; the checkpoint is incomplete or of "
            "another architecture."
        ) from error


def _num_queries(config: dict[str, Any], folder: Path) -> int:
    listed = config.get("query_num_list")
    if not isinstance(listed, list) or len(listed) != 1:
        raise ModelError(
            f"config.json of {folder} has query_num_list {listed!r}; the released checkpoints of "
            "LongVU have one number, 144 for videos."
        )
    return int(listed[0])


def _tower_tokens(config: dict[str, Any], folder: Path) -> tuple[int, ...]:
    listed = config.get("mm_vision_tower_aux_token_len_list")
    if not isinstance(listed, list) or len(listed) != 2:
        raise ModelError(
            f"config.json of {folder} has mm_vision_tower_aux_token_len_list {listed!r}; LongVU "
            "has two towers, with 576 tokens each."
        )
    return tuple(int(count) for count in listed)
