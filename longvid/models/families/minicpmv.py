"""MiniCPM-V 4.6: patches joined twice, 4 x 4 to a token, a language model of linear attention.

A frame is its overview alone: the slices that the model's own processor cuts out of large pictures
are left out, as it does with `max_slice_nums = 1`.

Source: `MiniCPMV4_6ForConditionalGeneration` of transformers (get_video_features), its processor
(replace_video_token) and video processor (find_best_resize).
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from einops import rearrange

from longvid.lazy_import import no_grad, torch
from longvid.models.families.aspect_sizes import SameArea, fields_of
from longvid.models.families.hf_family import Adapter
from longvid.models.families.llava import StillTower
from longvid.models.families.protocol import Prompt
from longvid.models.families.qwen2_5_vl import QWEN_CHAT
from longvid.models.families.video_llama_3 import HiddenDecoder
from longvid.models.preprocessing import PixelFormat, processor_table

_SIDE = 448


def _joined(config: Any) -> int:
    """Return how many patches a side a token joins: the tower's own merger may be left out."""
    in_tower = 1 if config.downsample_mode == "4x" else 2
    return int(in_tower * config.merge_kernel_size[0] ** config.merger_times)


def _pixels(folder: Path, config: Any, most_pixels: int) -> SameArea:
    table = processor_table(folder)
    area = most_pixels or int(table.get("scale_resolution", _SIDE)) ** 2
    step = int(config.vision_config.patch_size) * _joined(config)
    side = max(round(math.sqrt(area) / step), 1) * step
    return SameArea(**fields_of(PixelFormat.read(folder, side)), area=area, step=step)


class _Tower(StillTower):
    def __init__(self, module: Any) -> None:
        super().__init__(module)
        self._joined = _joined(module.config)

    @no_grad
    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        rows, columns = (side // self._patch for side in pixels.shape[-2:])
        # Patches of all frames side by side, as one picture of a patch's height.
        row = rearrange(pixels, "t c (h p) (w q) -> 1 c p (t h w q)", p=self._patch, q=self._patch)
        sizes = torch.tensor([[rows, columns]] * len(pixels), device=pixels.device)
        tokens = torch.cat(self.module.get_video_features(row, sizes.int()).pooler_output)
        grid = (len(pixels), rows // self._joined, columns // self._joined)
        return tokens.reshape(*grid, self.token_width)


MINICPM_V_4_6 = Adapter(
    name="minicpmv4_6",
    architecture="MiniCPMV4_6ForConditionalGeneration",
    placeholder="<|video_pad|>",
    parts_of_vision=("model.vision_tower", "model.merger"),
    tower=lambda module, grid: _Tower(module),
    decoder=HiddenDecoder,
    pixels=_pixels,
    patches_joined=_joined,
    prompt=Prompt(
        QWEN_CHAT.replace("{video}", "{video}\n"),
        video_prefix="<image_id>0</image_id>",
        frame_prefix="<image>",
        frame_suffix="</image>",
    ),
)
