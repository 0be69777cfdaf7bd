"""LLaVA-NeXT: every frame is a picture of one tile, closed by the newline vector.

A still picture is shown to this family as a view of the whole and as tiles of its parts; the frames
of a video are shown as the view alone, which is what the model itself makes of a picture of one
tile.

Source: `LlavaNextForConditionalGeneration` of transformers (get_image_features,
pack_image_features).
"""

from __future__ import annotations

from collections.abc import Callable
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


class ViewTower(StillTower):
    """The vision tower, with its projector or without, one view a frame.

    Args:
        module: A LLaVA-NeXT or LLaVA-NeXT-Video.
        pool: Works on patches (T, P, C) before the projector; None for nothing.
        stride: By how much `pool` divides a side of the grid.
    """

    def __init__(self, module: Any, pool: Callable[[Any], Any] | None = None, stride: int = 1):
        super().__init__(module)
        self._pool = pool
        self._stride = stride

    @no_grad
    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        config, model = self.module.config, self.module.model
        hidden = model.vision_tower(pixels, output_hidden_states=True).hidden_states
        layers = config.vision_feature_layer
        layers = [layers] if isinstance(layers, int) else layers
        patches = torch.cat([hidden[layer] for layer in layers], dim=-1)  # (T, P, C)
        if config.vision_feature_select_strategy == "default":
            patches = patches[:, 1:]
        height, width = self._grid_of(patches, pixels)
        if self._pool is not None:
            patches = self._pool(patches)
        tokens: torch.Tensor = model.multi_modal_projector(patches)
        return tokens.reshape(
            len(tokens), height // self._stride, width // self._stride, self.token_width
        )


class _NextDecoder(NewlineDecoder):
    closes_frames = True


LLAVA_NEXT = Adapter(
    name="llava_next",
    architecture="LlavaNextForConditionalGeneration",
    placeholder="<image>",
    placeholder_field="image_token_id",
    parts_of_vision=LLAVA_PARTS_OF_VISION,
    tower=lambda module, grid: ViewTower(module),
    decoder=_NextDecoder,
    content_type="image",
    projector=LLAVA_PROJECTOR,
    prompt=Prompt(
        "A chat between a curious human and an artificial intelligence assistant. The assistant "
        "gives helpful, detailed, and polite answers to the human's questions. USER: {video}\n"
        "{question}{choices} ASSISTANT:",
        newline=True,
    ),
)
