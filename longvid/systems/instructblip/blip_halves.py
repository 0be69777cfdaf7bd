"""InstructBLIP's halves: a tower whose tokens a store keeps, and the language model.

What stands between them reads the question (`models.question_qformer`).

Source: `InstructBlipForConditionalGeneration` and `InstructBlipVideoForConditionalGeneration` of
transformers, which have one network.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from longvid.errors import ModelError
from longvid.lazy_import import torch
from longvid.models.families.blip2 import BlipAdapter, InnerDecoder, blip_patches
from longvid.models.families.protocol import PROJECTED, TOWER, Prompt, Tower
from longvid.models.families.queried import QueriedTower

_QUERIES = ("qformer", "language_projection")


@dataclass(frozen=True, slots=True)
class AskingAdapter(BlipAdapter):
    """A family whose queries read the question, so that only the tower's tokens can be kept."""

    def token_width(self, folder: Path) -> int:
        """Refuse: there is no token of the language model's width before a question is known."""
        raise ModelError(
            f"The queries of {folder} read the question, so nothing after them can be kept; set "
            "encoder.keep = 'tower' and llm.name = 'instructblip', as --config instructblip does."
        )

    def load_tower(
        self, folder: Path, grid: str, dtype: torch.dtype, device: str, keep: str = PROJECTED
    ) -> Tower:
        if keep != TOWER:
            self.token_width(folder)
        return BlipAdapter.load_tower(self, folder, grid, dtype, device, keep)


def _tower(module: Any, grid: str) -> QueriedTower:
    return QueriedTower(module, lambda pixels: blip_patches(module, pixels), None)


INSTRUCTBLIP = AskingAdapter(
    name="instructblip",
    architecture="InstructBlipForConditionalGeneration",
    placeholder="<image>",
    placeholder_field="image_token_id",
    parts_of_text=("language_model",),
    # The queries themselves are one small parameter, which the class wants to be there.
    parts_of_vision=("vision_model", *_QUERIES),
    tower=_tower,
    decoder=InnerDecoder,
    content_type="image",
    queries=_QUERIES,
    num_queries=lambda config: int(config.num_query_tokens),
    class_tokens=1,
    prompt=Prompt("{video}{question}{choices}", before_start=True),
)
INSTRUCTBLIPVIDEO = dataclasses.replace(
    INSTRUCTBLIP,
    name="instructblipvideo",
    architecture="InstructBlipVideoForConditionalGeneration",
    placeholder="<video>",
    placeholder_field="video_token_id",
    content_type="video",
)
