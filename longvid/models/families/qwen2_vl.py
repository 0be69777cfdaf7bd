"""Qwen2-VL: as Qwen2.5-VL, but time is the number of a step among those shown, not its seconds.

Source: `Qwen2VLForConditionalGeneration` of transformers (get_video_features, get_rope_index).
"""

from __future__ import annotations

import dataclasses

from longvid.models.families.positions import CountedPositions
from longvid.models.families.qwen2_5_vl import QWEN2_5_VL, GridDecoder


class _CountingDecoder(GridDecoder):
    positions = CountedPositions


QWEN2_VL = dataclasses.replace(
    QWEN2_5_VL,
    name="qwen2_vl",
    architecture="Qwen2VLForConditionalGeneration",
    decoder=_CountingDecoder,
)
