"""GLM-4.1V, GLM-4.5V and GLM-4.6V: each step is a picture, and its time follows it.

A tower's steps join two frames, and a step is shown with its first. GLM-4.1V and GLM-4.5V write
whole seconds, GLM-4.6V a decimal and the unit.

Source: `Glm4vForConditionalGeneration` of transformers (get_video_features, get_rope_index) and
its processors (replace_frame_token_id).
"""

from __future__ import annotations

import dataclasses

from longvid.models.families.hf_family import Adapter
from longvid.models.families.protocol import Prompt
from longvid.models.families.qwen2_5_vl import PairTower
from longvid.models.families.qwen_pixels import qwen_pixels
from longvid.models.families.stepped import SteppedDecoder

_WHOLE_SECONDS = Prompt(
    "[gMASK]<sop><|user|>\n<|begin_of_video|>{video}<|end_of_video|>{question}{choices}"
    "<|assistant|>\n",
    frame_prefix="<|begin_of_image|>",
    frame_suffix="<|end_of_image|>{whole_seconds}",
)

GLM4V = Adapter(
    name="glm4v",
    architecture="Glm4vForConditionalGeneration",
    placeholder="<|video|>",
    parts_of_vision=("model.visual",),
    tower=lambda module, grid: PairTower(module),
    decoder=SteppedDecoder,
    pixels=qwen_pixels,
    prompt=_WHOLE_SECONDS,
)

GLM4V_MOE = dataclasses.replace(
    GLM4V, name="glm4v_moe", architecture="Glm4vMoeForConditionalGeneration"
)

GLM46V = dataclasses.replace(
    GLM4V,
    name="glm46v",
    architecture="Glm46VForConditionalGeneration",
    prompt=dataclasses.replace(_WHOLE_SECONDS, frame_suffix="<|end_of_image|>{seconds} seconds"),
)
