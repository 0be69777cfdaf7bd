"""IDEFICS2: pictures in their own aspect, 64 latents of each, a mark between them.

Source: `Idefics2ForConditionalGeneration` of transformers and its processor; pictures are not
split, as its video and its fast setting have it.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from longvid.lazy_import import later, torch
from longvid.models.families.aspect_sizes import fields_of
from longvid.models.families.llava import LlavaDecoder
from longvid.models.families.protocol import Prompt
from longvid.models.families.queried import QueriedAdapter, QueriedTower
from longvid.models.preprocessing import PixelFormat, processor_table

if TYPE_CHECKING:
    from longvid.models import resamplers
else:
    resamplers = later("longvid.models.resamplers")

_SHORTEST, _LONGEST = 378, 980
_MARK = "<fake_token_around_image>"


@dataclass(frozen=True, slots=True)
class BetweenEdges(PixelFormat):
    """The format of a tower whose pictures keep their aspect between two lengths of an edge.

    Args:
        shortest, longest: Pixels; the shortest counts where a picture is narrower than both allow.
    """

    shortest: int = _SHORTEST
    longest: int = _LONGEST

    def resize(self, frames: torch.Tensor) -> torch.Tensor:
        """Bring frames between the edges, (T, 3, H, W) uint8 to (T, 3, H', W') uint8."""
        height, width = frames.shape[-2:]
        aspect = width / height
        if width >= height and width > self.longest:
            height, width = int(self.longest / aspect), self.longest
        elif height > width and height > self.longest:
            height, width = self.longest, int(self.longest * aspect)
        height, width = max(height, self.shortest), max(width, self.shortest)
        return PixelFormat.resize(dataclasses.replace(self, height=height, width=width), frames)


def _pixels(folder: Path, config: Any, most_pixels: int) -> PixelFormat:
    size = processor_table(folder).get("size") or {}
    longest = int(size.get("longest_edge", _LONGEST))
    shortest = int(size.get("shortest_edge", _SHORTEST))
    plain = fields_of(PixelFormat.read(folder, longest))
    return BetweenEdges(**plain, shortest=shortest, longest=longest)


def _tower(module: Any, grid: str) -> QueriedTower:
    model, patch = module.model, int(module.config.vision_config.patch_size)

    def patches(pixels: torch.Tensor) -> torch.Tensor:
        height, width = (side // patch for side in pixels.shape[-2:])
        seen = torch.ones(len(pixels), height, width, dtype=torch.bool, device=pixels.device)
        # get_image_features would take a frame of zeros for padding and drop it.
        output = model.vision_model(pixel_values=pixels, patch_attention_mask=seen)
        tokens: torch.Tensor = output.last_hidden_state
        return tokens.reshape(len(pixels), height, width, -1)

    read = None if model.connector is None else lambda tokens: resamplers.idefics2(module, tokens)
    return QueriedTower(module, patches, read)


IDEFICS2 = QueriedAdapter(
    name="idefics2",
    architecture="Idefics2ForConditionalGeneration",
    placeholder="<image>",
    placeholder_field="image_token_id",
    parts_of_text=("model.text_model", "lm_head"),
    parts_of_vision=("model.vision_model", "model.connector"),
    tower=_tower,
    decoder=LlavaDecoder,
    content_type="image",
    pixels=_pixels,
    patches_joined=lambda config: 1,
    queries=("model.connector",),
    num_queries=lambda config: int(config.perceiver_config.resampler_n_latents),
    # The processor puts a space between the last mark and a word.
    rewrites=(("<image>", "<image> "),),
    prompt=Prompt(
        "User:{video} {question}{choices}<end_of_utterance>\nAssistant:",
        video_prefix=_MARK,
        frame_suffix=_MARK,
    ),
)
