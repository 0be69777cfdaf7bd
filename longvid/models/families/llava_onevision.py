"""LLaVA-OneVision: a video's frames are pooled 2 x 2 and closed by one newline vector.

longvid keeps the whole grid by default, because its compressors pool in their own way; with
`grid="model"` the tokens are the model's own, pooling included.

Source: `LlavaOnevisionForConditionalGeneration` of transformers (get_video_features); both sides
run that class's own forward.
"""

from __future__ import annotations

import math
from typing import Any

from longvid.lazy_import import no_grad, torch
from longvid.models.families.hf_family import Adapter
from longvid.models.families.llava import (
    LLAVA_PARTS_OF_VISION,
    LLAVA_PROJECTOR,
    NewlineDecoder,
    StillTower,
)
from longvid.models.families.protocol import Prompt


def _keep_grid(tokens: torch.Tensor) -> torch.Tensor:
    """Stand in for the model's 2 x 2 pooling, (T, P, D) to the same."""
    return tokens


class _OnevisionTower(StillTower):
    def __init__(self, module: Any, grid: str) -> None:
        super().__init__(module)
        vision = module.config.vision_config
        self._side = int(vision.image_size) // int(vision.patch_size)
        if grid == "full":
            module.model.apply_pooling = _keep_grid
        else:
            self._side = math.ceil(self._side / 2)
        if self.token_width != len(module.model.image_newline):
            # The class's own forward closes a video with it, in the width of projected tokens.
            newline = module.model.image_newline
            module.model.image_newline = torch.nn.Parameter(
                newline.new_zeros(self.token_width), requires_grad=False
            )

    @no_grad
    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        video = self.module.get_video_features(pixel_values_videos=pixels[None]).pooler_output
        tokens: torch.Tensor = video[0, :-1]  # the newline belongs to the prompt, not to a frame
        return tokens.reshape(len(pixels), self._side, self._side, self.token_width)


LLAVA_ONEVISION = Adapter(
    name="llava_onevision",
    architecture="LlavaOnevisionForConditionalGeneration",
    placeholder="<video>",
    # The newline is one small vector of the model; both sides read it and the tower leaves it.
    parts_of_vision=LLAVA_PARTS_OF_VISION,
    tower=_OnevisionTower,
    decoder=NewlineDecoder,
    projector=LLAVA_PROJECTOR,
    pools_projected=True,
    prompt=Prompt(
        "<|im_start|>user {video}\n{question}{choices}<|im_end|><|im_start|>assistant\n",
        newline=True,
    ),
)
