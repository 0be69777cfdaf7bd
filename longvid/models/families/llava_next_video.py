"""LLaVA-NeXT-Video: patches are pooled 2 x 2 before the projector; nothing marks a frame.

longvid keeps the whole grid by default, because its compressors pool in their own way; with
`grid="model"` the tokens are the model's own, pooling included.

Source: `LlavaNextVideoForConditionalGeneration` of transformers (get_video_features).
"""

from __future__ import annotations

from typing import Any

from longvid.models.families.hf_family import Adapter
from longvid.models.families.llava import LLAVA_PARTS_OF_VISION, LLAVA_PROJECTOR, LlavaDecoder
from longvid.models.families.llava_next import ViewTower
from longvid.models.families.protocol import Prompt


def _tower(module: Any, grid: str) -> ViewTower:
    if grid == "full":
        return ViewTower(module)
    return ViewTower(module, module.model.vision_resampler, int(module.config.spatial_pool_stride))


LLAVA_NEXT_VIDEO = Adapter(
    name="llava_next_video",
    architecture="LlavaNextVideoForConditionalGeneration",
    placeholder="<video>",
    parts_of_vision=(*LLAVA_PARTS_OF_VISION, "model.vision_resampler"),
    tower=_tower,
    decoder=LlavaDecoder,
    projector=LLAVA_PROJECTOR,
    prompt=Prompt("USER: {video}\n{question}{choices} ASSISTANT:"),
)
