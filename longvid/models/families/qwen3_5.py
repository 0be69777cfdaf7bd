"""Qwen3.5, dense and mixture of experts: time is text, layers of linear attention between others.

Steps are laid out as Qwen3-VL's, without its features of inner layers. Linear attention keeps a
state instead of keys and values, so a prompt is read whole and its front is not used again.

Source: `Qwen3_5ForConditionalGeneration` of transformers (get_video_features, get_rope_index).
"""

from __future__ import annotations

import dataclasses

from longvid.models.families.qwen3_vl import QWEN3_VL
from longvid.models.families.stepped import MeanTimeTower, SteppedDecoder

QWEN3_5 = dataclasses.replace(
    QWEN3_VL,
    name="qwen3_5",
    architecture="Qwen3_5ForConditionalGeneration",
    tower=lambda module, grid: MeanTimeTower(module),
    decoder=SteppedDecoder,
    layers_fed=lambda config: 1,
)

QWEN3_5_MOE = dataclasses.replace(
    QWEN3_5, name="qwen3_5_moe", architecture="Qwen3_5MoeForConditionalGeneration"
)
