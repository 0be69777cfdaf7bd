"""LLaVA-OneVision: a video's frames are pooled 2 x 2 and closed by one newline vector.

longvid keeps the whole grid by default, because its compressors pool in their own way; with
`grid="model"` the tokens are the model's own, pooling included.

Source: `LlavaOnevisionForConditionalGeneration` of transformers (get_video_features); both sides
run that class's own forward.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch

from longvid.models.families.llava import (
    LLAVA_PARTS_OF_TEXT,
    LLAVA_PARTS_OF_VISION,
    LlavaDecoder,
)
from longvid.models.families.protocol import Decoder, Prompt, Tower
from longvid.models.loading import load
from longvid.models.quiet import quiet

__all__ = ["LLAVA_ONEVISION", "LlavaOnevision"]


def _keep_grid(tokens: torch.Tensor) -> torch.Tensor:
    """Stand in for the model's 2 x 2 pooling, (T, P, D) to the same."""
    return tokens


class _OnevisionTower:
    def __init__(self, module: Any, grid: str) -> None:
        self.module = module
        vision = module.config.vision_config
        self.token_width = int(module.config.text_config.hidden_size)
        self._side = int(vision.image_size) // int(vision.patch_size)
        if grid == "full":
            module.model.apply_pooling = _keep_grid
        else:
            self._side = math.ceil(self._side / 2)

    @torch.no_grad()
    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        """Turn normalised pixels (T, 3, H, W) into tokens on their grid, (T, h, w, D)."""
        video = self.module.get_video_features(pixel_values_videos=pixels[None]).pooler_output
        tokens: torch.Tensor = video[0, :-1]  # the newline belongs to the prompt, not to a frame
        return tokens.reshape(len(pixels), self._side, self._side, self.token_width)


class _OnevisionDecoder(LlavaDecoder):
    def end_of_video(self) -> torch.Tensor | None:
        """Return the vector that closes a video, (D,)."""
        newline: torch.Tensor = self.module.model.image_newline
        return newline


class LlavaOnevision:
    """The family of LLaVA-OneVision."""

    name = "llava_onevision"
    placeholder = "<video>"
    content_type = "video"
    prompt = Prompt(
        "<|im_start|>user {video}\n{question}{choices}<|im_end|><|im_start|>assistant\n",
        newline=True,
    )

    def config(self, folder: Path) -> Any:
        """Return the transformers configuration of a checkpoint."""
        from transformers import LlavaOnevisionConfig

        with quiet():
            return LlavaOnevisionConfig.from_pretrained(folder)

    def load_tower(self, folder: Path, grid: str, dtype: torch.dtype, device: str) -> Tower:
        """Load the vision tower and the projector."""
        from transformers import LlavaOnevisionForConditionalGeneration

        # The newline is one small vector of the model; it is read here too and not used.
        return _OnevisionTower(
            load(
                folder,
                LlavaOnevisionForConditionalGeneration,
                drop=LLAVA_PARTS_OF_TEXT,
                dtype=dtype,
                device=device,
            ),
            grid,
        )

    def load_decoder(self, folder: Path, dtype: torch.dtype, device: str) -> Decoder:
        """Load the language model, its embeddings and the newline vector."""
        from transformers import LlavaOnevisionForConditionalGeneration

        return _OnevisionDecoder(
            load(
                folder,
                LlavaOnevisionForConditionalGeneration,
                drop=LLAVA_PARTS_OF_VISION,
                dtype=dtype,
                device=device,
            )
        )

    def placeholder_id(self, folder: Path) -> int:
        """Return the id of the text token that stands for the video in a prompt."""
        return int(self.config(folder).video_token_index)


LLAVA_ONEVISION = LlavaOnevision()
