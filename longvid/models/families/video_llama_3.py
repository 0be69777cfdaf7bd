"""VideoLLaMA 3: frames of any size, patches joined 2 x 2, the time written before each frame.

What the model's own processor drops where pixels hardly change is left to compressors here.

Source: `VideoLlama3ForConditionalGeneration` of transformers (get_video_features) and its
processor (replace_video_token).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from longvid.lazy_import import no_grad, torch
from longvid.models.families.hf_family import Adapter
from longvid.models.families.llava import LlavaDecoder, StillTower
from longvid.models.families.protocol import Prompt, Spliced
from longvid.models.families.qwen2_5_vl import QWEN_CHAT
from longvid.models.families.qwen_pixels import AnySize, any_size, to_patches

_MERGE = 2  # of a video; pictures are not merged


class _Tower(StillTower):
    @no_grad
    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        rows, columns = (side // self._patch for side in pixels.shape[-2:])
        output = self.module.get_video_features(
            pixel_values_videos=to_patches(pixels, self._patch, _MERGE, 1),
            video_grid_thw=torch.tensor([[len(pixels), rows, columns]], device=pixels.device),
            video_merge_sizes=torch.tensor([_MERGE], device=pixels.device),
        )
        tokens: torch.Tensor = output.pooler_output[0]
        return tokens.reshape(len(pixels), rows // _MERGE, columns // _MERGE, self.token_width)


class HiddenDecoder(LlavaDecoder):
    """The decoder of a class whose own forward makes logits of every position."""

    @no_grad
    def logits(
        self, spliced: Spliced, cache: Any = None, *, keep: int = 1, start: int = 0
    ) -> torch.Tensor:
        mask = spliced.attention_mask
        hidden = self.module.model(
            inputs_embeds=spliced.inputs_embeds,
            attention_mask=torch.cat([mask.new_ones(1, start), mask], dim=1),
            position_ids=spliced.position_ids + start,
            past_key_values=cache,
            use_cache=cache is not None,
        ).last_hidden_state
        logits: torch.Tensor = self.module.lm_head(hidden[:, -keep:]).float()
        return logits


def _pixels(folder: Path, config: Any, most_pixels: int) -> AnySize:
    return any_size(folder, int(config.vision_config.patch_size) * _MERGE, most_pixels)


VIDEO_LLAMA_3 = Adapter(
    name="video_llama_3",
    architecture="VideoLlama3ForConditionalGeneration",
    placeholder="<|video_pad|>",
    parts_of_vision=("model.vision_model", "model.projector"),
    tower=lambda module, grid: _Tower(module),
    decoder=HiddenDecoder,
    pixels=_pixels,
    prompt=Prompt(
        QWEN_CHAT.replace("{video}", "{video}\n"),
        frame_prefix="Time {seconds}s:",
        frame_separator=",",
    ),
)
