"""SmolVLM2: patches are shuffled into few tokens, and every frame is preceded by its clock time.

Source: `SmolVLMForConditionalGeneration` of transformers (get_image_features) and its processor
(replace_video_token) and video processor (resize).
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from longvid.lazy_import import no_grad, torch
from longvid.models.families.hf_family import Adapter
from longvid.models.families.llava import LlavaDecoder, StillTower
from longvid.models.families.protocol import Prompt
from longvid.models.preprocessing import PixelFormat, processor_table

_MOST_EDGE = 4096


@dataclass(frozen=True, slots=True)
class ScaledTwice(PixelFormat):
    """The format of a tower whose pictures are first scaled in their aspect, then squashed.

    Args:
        longest_edge: Pixels of the longer side after the first step; 0 leaves that step out.
    """

    longest_edge: int = 0

    def resize(self, frames: torch.Tensor) -> torch.Tensor:
        """Scale frames until their longer side fits, then to this size, rounding after each.

        A wide picture loses rows in the first step that the second does not bring back.

        Args:
            frames: (T, 3, H, W) uint8 on the CPU.

        Returns:
            (T, 3, height, width) uint8.
        """
        if self.longest_edge:
            height, width = frames.shape[-2:]
            height, width = _with_longest_edge(height, width, self.longest_edge)
            first = dataclasses.replace(self, height=height, width=width)
            frames = PixelFormat.resize(first, frames)
        return PixelFormat.resize(self, frames)


def _with_longest_edge(height: int, width: int, longest_edge: int) -> tuple[int, int]:
    """Return the size of a picture whose longer side is scaled; the other becomes even.

    >>> _with_longest_edge(720, 1280, 384), _with_longest_edge(1280, 718, 384)
    ((216, 384), (384, 216))
    """
    longest_edge = min(longest_edge, _MOST_EDGE)
    aspect = width / height
    if width >= height:
        shorter = int(longest_edge / aspect)
        return max(1, shorter + shorter % 2), longest_edge
    shorter = int(longest_edge * aspect)
    return longest_edge, max(1, shorter + shorter % 2)


def _pixels(folder: Path, config: Any, most_pixels: int) -> PixelFormat:
    """Read both sizes; `size` goes before what older releases say beside the sampling."""
    table = processor_table(folder)
    sampling = table.get("video_sampling") or {}
    side = _longest_edge(table.get("max_image_size")) or int(config.vision_config.image_size)
    plain = PixelFormat.read(folder, side)
    return ScaledTwice(
        **{field.name: getattr(plain, field.name) for field in dataclasses.fields(plain)}
        | {"fit": "native"},
        longest_edge=_longest_edge(table.get("size") or sampling.get("video_size")),
    )


def _longest_edge(size: Any) -> int:
    """Return the longest edge that a preprocessor states, 0 if it states none."""
    return int(size.get("longest_edge", 0)) if isinstance(size, dict) else 0


class _SmolTower(StillTower):
    @no_grad
    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        model = self.module.model
        height, width = (side // self._patch for side in pixels.shape[-2:])
        # get_image_features would take a frame of zeros for padding and drop it.
        patches = model.vision_model(
            pixel_values=pixels,
            patch_attention_mask=torch.ones(
                len(pixels), height, width, dtype=torch.bool, device=pixels.device
            ),
        ).last_hidden_state
        tokens: torch.Tensor = model.connector(patches)
        side = math.isqrt(tokens.shape[1])  # the connector knows squares only
        return tokens.reshape(len(pixels), side, side, self.token_width)


SMOLVLM = Adapter(
    name="smolvlm",
    architecture="SmolVLMForConditionalGeneration",
    placeholder="<image>",
    placeholder_field="image_token_id",
    parts_of_text=("model.text_model", "lm_head"),
    parts_of_vision=("model.vision_model", "model.connector"),
    tower=lambda module, grid: _SmolTower(module),
    decoder=LlavaDecoder,
    pixels=_pixels,
    # The space before the first word belongs to it, as tokenizers of this kind read it.
    rewrites=((": <video>", ":<video>"), ("<video>", "<image>\n\n")),
    prompt=Prompt(
        "<|im_start|>User:{video}\n\n{question}{choices}<end_of_utterance>\nAssistant:",
        video_prefix=(
            " You are provided the following series of {num_frames} frames from a {duration} "
            "[H:MM:SS] video.\n"
        ),
        frame_prefix="\nFrame from {clock}:<fake_token_around_image><global-img>",
        frame_suffix="<fake_token_around_image>",
    ),
)
