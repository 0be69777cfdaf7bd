"""SmolVLM2: patches are shuffled into few tokens, and every frame is preceded by its clock time.

Source: `SmolVLMForConditionalGeneration` of transformers (get_image_features) and its processor
(replace_video_token), which first scales the longest edge and then squashes to a square; here the
picture is squashed at once.
"""

from __future__ import annotations

import math
from typing import Any

import torch

from longvid.models.families.adapter import Adapter
from longvid.models.families.llava import LlavaDecoder, StillTower
from longvid.models.families.protocol import Prompt

__all__ = ["SMOLVLM"]


class _SmolTower(StillTower):
    def __init__(self, module: Any) -> None:
        super().__init__(module)
        self._patch = int(module.config.vision_config.patch_size)

    @torch.no_grad()
    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        """Turn normalised pixels (T, 3, H, W) into tokens on their grid, (T, h, w, D)."""
        model = self.module.model
        height, width = (side // self._patch for side in pixels.shape[-2:])
        # get_image_features would take a frame of zeros for padding and drop it.
        patches = model.vision_model(
            pixel_values=pixels,
            patch_attention_mask=torch.ones(
                len(pixels), height, width, dtype=torch.bool, device=pixels.device
            ),
        ).last_hidden_state
        tokens: torch.Tensor = model.connector(patches)
        side = math.isqrt(tokens.shape[1])  # the connector knows squares only
        return tokens.reshape(len(pixels), side, side, self.token_width)


SMOLVLM = Adapter(
    name="smolvlm",
    architecture="SmolVLMForConditionalGeneration",
    placeholder="<image>",
    placeholder_field="image_token_id",
    parts_of_text=("model.text_model", "lm_head"),
    parts_of_vision=("model.vision_model", "model.connector"),
    tower=lambda module, grid: _SmolTower(module),
    decoder=LlavaDecoder,
    # The space before the first word belongs to it, as tokenizers of this kind read it.
    rewrites=((": <video>", ":<video>"), ("<video>", "<image>\n\n")),
    prompt=Prompt(
        "<|im_start|>User:{video}\n\n{question}{choices}<end_of_utterance>\nAssistant:",
        video_prefix=(
            " You are provided the following series of {num_frames} frames from a {duration} "
            "[H:MM:SS] video.\n"
        ),
        frame_prefix="\nFrame from {clock}:<fake_token_around_image><global-img>",
        frame_suffix="<fake_token_around_image>",
    ),
)
