"""What is known of a system before it is loaded, and how much a layer holds at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from longvid.errors import ModelError
from longvid.models import checkpoint_files
from longvid.models.transformers_logging import quiet

__all__ = [
    "PROMPT_WORDS",
    "VIDEO_HEIGHT",
    "VIDEO_WIDTH",
    "Parts",
    "count_model",
    "held_bytes",
]

#: Text of a prompt, tokens, and the size of the video that is reckoned with, pixels.
PROMPT_WORDS = 256
VIDEO_HEIGHT, VIDEO_WIDTH = 720, 1280

#: What a transformer layer holds at once, in vectors of its width and of its MLP's width.
_WIDTHS_HELD, _MLP_WIDTHS_HELD = 6, 3


@dataclass(frozen=True, slots=True)
class Parts:
    """The numbers that a system's needs are made of. Weights are counts, not bytes.

    Args:
        towers: Weights of the vision towers and of what follows them while indexing.
        embedder, embedder_text: Weights of the embedder, and of its text side.
        index_activations: Bytes that one batch of frames takes in the towers.
        language: Weights of the language model.
        between: Weights between stored tokens and the language model while asking.
        text: The language model's configuration.
        context: Its longest sequence, as it is asked.
        token_width, embedding_width: Of what is stored.
        tokens_left: From the `slow` marks of a segment's frames to the tokens stored of it.
        shown: From the frames and tokens read for a question to the visual tokens of its prompt.
        question_bytes: From the frames read to the bytes that what lies between holds at once.
        remedy: What makes a prompt shorter.
    """

    towers: int
    embedder: int
    embedder_text: int
    index_activations: int
    language: int
    between: int
    text: Any
    context: int
    token_width: int
    embedding_width: int
    tokens_left: Callable[[tuple[bool, ...]], int]
    shown: Callable[[int, int], int]
    question_bytes: Callable[[int], int]
    remedy: str


def held_bytes(num_tokens: int, width: int, mlp_width: int, item_bytes: int) -> int:
    """Estimate what one layer holds at once of a sequence."""
    return num_tokens * (_WIDTHS_HELD * width + _MLP_WIDTHS_HELD * mlp_width) * item_bytes


def count_model(folder: Path) -> tuple[int, int]:
    """Count the weights of a model from config.json, and those that are not of its vision side.

    Raises:
        ModelError: There is no config.json, or transformers does not know the architecture.
    """
    import transformers

    checkpoint_files.read_config(folder)
    auto_model: Any = transformers.AutoModel
    try:
        with quiet(), torch.device("meta"):
            model = auto_model.from_config(transformers.AutoConfig.from_pretrained(folder))
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{folder} is of no architecture that transformers knows: {str(error).splitlines()[0]}"
        ) from error
    sizes = {name: weight.numel() for name, weight in model.named_parameters()}
    vision = sum(size for name, size in sizes.items() if name.startswith("vi"))
    return sum(sizes.values()), sum(sizes.values()) - vision
