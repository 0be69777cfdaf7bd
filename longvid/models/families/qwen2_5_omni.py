"""Qwen2.5-Omni, the half that reads: pictures and words. What is said in a video is read as text.

Its tower is Qwen2.5-VL's. Time is finer, and the text after a video goes on behind its last tick.
Neither its ears nor its voice are loaded: lines of speech come with the question, as for any model.

Source: `Qwen2_5OmniThinkerForConditionalGeneration` of transformers (get_video_features,
get_rope_index).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from longvid.models.families.positions import GridPositions
from longvid.models.families.protocol import FramePiece
from longvid.models.families.qwen2_5_vl import QWEN2_5_VL, QWEN_CHAT, GridDecoder
from longvid.models.families.video_llama_3 import HiddenDecoder

_UNHEARD = ("model.audio_tower",)


class _Positions(GridPositions):
    def _per_second(self) -> float:
        return float(self._config.position_id_per_seconds)

    def _length(self, shown: Sequence[FramePiece]) -> int:
        ticks = (self._ticks(frame, index) for index, frame in enumerate(shown))
        return max(1 + max(ticks), super()._length(shown))


class _Decoder(HiddenDecoder, GridDecoder):
    positions = _Positions


QWEN2_5_OMNI = dataclasses.replace(
    QWEN2_5_VL,
    name="qwen2_5_omni",
    architecture="Qwen2_5OmniThinkerForConditionalGeneration",
    placeholder="<|VIDEO|>",
    parts_of_text=(*QWEN2_5_VL.parts_of_text, *_UNHEARD),
    parts_of_vision=(*QWEN2_5_VL.parts_of_vision, *_UNHEARD),
    decoder=_Decoder,
    prompt=dataclasses.replace(
        QWEN2_5_VL.prompt,
        template="<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
        + QWEN_CHAT.replace("{video}", "<|vision_bos|>{video}<|vision_eos|>"),
    ),
)
