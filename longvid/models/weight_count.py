"""Weights counted, and memory estimated, from what a checkpoint states: nothing is loaded."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from longvid.models import checkpoint_files
from longvid.models.checkpoint_errors import checkpoint_errors
from longvid.models.transformers_logging import quiet
from longvid.models.weights import COMPUTED, read_tensors

#: Text of a prompt, tokens, and the size of the video that is assumed, pixels.
PROMPT_WORDS = 256
VIDEO_HEIGHT, VIDEO_WIDTH = 720, 1280

#: What a transformer layer holds at once, in vectors of its width and of its MLP's width.
_WIDTHS_HELD, _MLP_WIDTHS_HELD = 6, 3


def held_bytes(num_tokens: int, width: int, mlp_width: int, item_bytes: int) -> int:
    """Estimate what one layer holds at once of a sequence."""
    return num_tokens * (_WIDTHS_HELD * width + _MLP_WIDTHS_HELD * mlp_width) * item_bytes


def count_built(build: Callable[[], nn.Module]) -> dict[str, int]:
    """Count the weights of a network by name, without giving it storage."""
    with quiet(), torch.device("meta"):
        return {name: weight.numel() for name, weight in build().named_parameters()}


def count_model(folder: Path) -> tuple[int, int]:
    """Count the weights of a model from config.json, and those that are not of its vision side.

    Raises:
        ModelError: There is no config.json, or transformers does not know the architecture.
    """
    import transformers

    checkpoint_files.read_config(folder)
    auto_model: Any = transformers.AutoModel
    with quiet(), checkpoint_errors(folder, "The configuration"):
        config = transformers.AutoConfig.from_pretrained(folder, trust_remote_code=False)
        sizes = count_built(lambda: auto_model.from_config(config, trust_remote_code=False))
    vision = sum(size for name, size in sizes.items() if name.startswith("vi"))
    return sum(sizes.values()), sum(sizes.values()) - vision


def count_stored(folder: Path) -> dict[str, int]:
    """Count the weights of a checkpoint by name, from the heads of its files.

    Raises:
        ModelError: The checkpoint is incomplete.
    """
    stored = read_tensors(folder, lambda name: COMPUTED.search(name) is None, data=False)
    return {name: tensor.numel() for name, tensor in stored.items()}


def within(weights: dict[str, int], modules: Iterable[str]) -> int:
    """Count the weights of some submodules."""
    inside = tuple(f"{module}." for module in modules)
    return sum(size for name, size in weights.items() if name.startswith(inside))


def matching(weights: dict[str, int], pattern: str) -> int:
    """Count the weights whose names match a pattern at their start."""
    return sum(size for name, size in weights.items() if re.match(pattern, name))
