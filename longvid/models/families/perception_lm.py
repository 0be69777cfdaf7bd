"""Perception LM: frames of one size, their patches projected and then averaged 2 x 2.

longvid keeps the whole grid by default, because its compressors pool in their own way; with
`grid="model"` the tokens are the model's own. Published checkpoints build their tower with the
package timm, which must be installed to index with them.

Source: `PerceptionLMForConditionalGeneration` of transformers (get_image_features, which videos go
through too) and its processor (replace_video_token).
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


class _Tower(StillTower):
    def __init__(self, module: Any, grid: str) -> None:
        super().__init__(module)
        if grid == "full":
            module.model.multi_modal_projector.pooling = torch.nn.Identity()

    @no_grad
    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        features = self.module.model.get_image_features(pixel_values=pixels[None])
        tokens: torch.Tensor = features.pooler_output
        side = math.isqrt(tokens.shape[1])  # the projector's pooling knows squares only
        return tokens.reshape(len(pixels), side, side, self.token_width)


def _pixels(folder: Path, config: Any, most_pixels: int) -> PixelFormat:
    return PixelFormat.read(folder)  # the configuration of a timm tower states no size


PERCEPTION_LM = Adapter(
    name="perception_lm",
    architecture="PerceptionLMForConditionalGeneration",
    placeholder="<|video|>",
    parts_of_vision=LLAVA_PARTS_OF_VISION,
    tower=_Tower,
    decoder=LlavaDecoder,
    pixels=_pixels,
    prompt=Prompt(
        "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\n{video}{question}{choices}"
        "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
    ),
)
