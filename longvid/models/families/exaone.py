"""EXAONE 4.5 and HyperCLOVA X Vision V2: Qwen2.5-VL's tower, a language model of one rotary axis.

A token's position is its index, so what is left of a frame takes the places of what is gone.

Source: `Exaone4_5_ForConditionalGeneration` and `HyperCLOVAXVisionV2ForConditionalGeneration` of
transformers (get_video_features) and their processors (replace_video_token).
"""

from __future__ import annotations

import dataclasses

from longvid.models.families.llava import LlavaDecoder
from longvid.models.families.protocol import Prompt
from longvid.models.families.qwen2_5_vl import QWEN2_5_VL

EXAONE_4_5 = dataclasses.replace(
    QWEN2_5_VL,
    name="exaone4_5",
    architecture="Exaone4_5_ForConditionalGeneration",
    decoder=LlavaDecoder,
    prompt=Prompt("<|user|>\n<vision>{video}</vision>{question}{choices}\n<|assistant|>\n"),
)

HYPERCLOVAX_VISION_V2 = dataclasses.replace(
    QWEN2_5_VL,
    name="hyperclovax_vision_v2",
    architecture="HyperCLOVAXVisionV2ForConditionalGeneration",
    parts_of_vision=("model.vision_model", "model.projector"),
    decoder=LlavaDecoder,
)
