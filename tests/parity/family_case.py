"""One family at one grid: its tiny checkpoint, and what its own model is given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from transformers import (
    GenerationConfig,
    PreTrainedTokenizerFast,
)

from tests.parity.family_checkpoints import (
    ENDS,
    SIDE,
    own_pixels,
    write_byte_tokenizer,
    write_preprocessor,
    write_word_tokenizer,
)


@dataclass(frozen=True)
class Case:
    """One family at one grid.

    Args:
        name: `model_type`.
        build: Makes the configuration.
        model_class: Of transformers.
        placeholder: What the model's own prompt holds for each visual token.
        prompt: The family's prompt, as published.
        own: What the model is given besides ids; {} of a case with only text.
        video: The text of three frames, as the model's own processor writes it.
        grid: "full" or "model".
        size: Height and width of frames.
        bytewise: Whether the tokenizer spells words out of bytes.
        around: What stands around the video in a prompt, with {video}.
    """

    name: str
    build: Callable[[], Any]
    model_class: type[Any]
    placeholder: str
    prompt: str
    own: Callable[[torch.Tensor, torch.Tensor], dict[str, Any]]
    video: Callable[[], str]
    grid: str = "full"
    size: tuple[int, int] = (SIDE, SIDE)
    bytewise: bool = False
    around: str = "{video}"
    preprocessor: dict[str, Any] = field(default_factory=dict)

    @property
    def end(self) -> str:
        """The end token as it follows a word."""
        return "</s>" if self.bytewise else " </s>"

    def save(self, folder: Path) -> None:
        """Write the checkpoint."""
        model(self).save_pretrained(folder)
        (write_byte_tokenizer if self.bytewise else write_word_tokenizer)(folder)
        write_preprocessor(folder, **self.preprocessor)

    def inputs(self, folder: Path, text: str) -> dict[str, Any]:
        """Return what the model's own side is given for a prompt with {video}."""
        tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
        ids = tokenizer(text.replace("{video}", self.video()), return_tensors="pt")["input_ids"]
        pixels = own_pixels(self.size)
        return {"input_ids": ids, "attention_mask": torch.ones_like(ids), **self.own(pixels, ids)}


def model(case: Case) -> Any:
    """Build a case's model with random weights."""
    torch.manual_seed(0)
    made = case.model_class(case.build()).eval()
    made.generation_config = GenerationConfig(do_sample=False, max_new_tokens=8, **ENDS)
    return made
