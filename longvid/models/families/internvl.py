"""InternVL3: patches are shuffled four to a token, and every frame is preceded by its number.

Source: `InternVLForConditionalGeneration` of transformers (get_image_features) and its processor
(replace_video_token); the tower runs that class's own forward.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from longvid.lazy_import import no_grad, torch
from longvid.models.families.hf_family import Adapter
from longvid.models.families.llava import LLAVA_PARTS_OF_VISION, LlavaDecoder, StillTower
from longvid.models.families.protocol import Prompt
from longvid.models.preprocessing import PixelFormat


class _InternTower(StillTower):
    @no_grad
    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        tokens: torch.Tensor = self.module.get_image_features(pixel_values=pixels).pooler_output
        side = math.isqrt(tokens.shape[1])  # the model itself knows squares only
        return tokens.reshape(len(pixels), side, side, self.token_width)


def _pixels(folder: Path, config: Any, most_pixels: int) -> PixelFormat:
    side = config.vision_config.image_size
    return PixelFormat.read(folder, int(side if isinstance(side, int) else side[0]))


INTERNVL = Adapter(
    name="internvl",
    architecture="InternVLForConditionalGeneration",
    placeholder="<IMG_CONTEXT>",
    placeholder_field="image_token_id",
    parts_of_vision=LLAVA_PARTS_OF_VISION,
    tower=lambda module, grid: _InternTower(module),
    decoder=LlavaDecoder,
    pixels=_pixels,
    rewrites=(("<video>", "<IMG_CONTEXT>"),),
    prompt=Prompt(
        "<|im_start|>user\n{video}\n{question}{choices}<|im_end|>\n<|im_start|>assistant\n",
        frame_prefix="Frame{index}: <img>",
        frame_suffix="</img>",
        frame_separator="\n",
    ),
)
