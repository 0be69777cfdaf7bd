"""Qwen2.5-VL: pairs of frames in windows, and a position of time, row and column for every token.

A token keeps the position that it had in the whole video; time is in the model's own ticks since
the video's first frame.

Source: `Qwen2_5_VLForConditionalGeneration` of transformers (get_video_features, get_rope_index);
the tower runs that class's own forward.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from longvid.lazy_import import no_grad, torch
from longvid.models.families.hf_family import Adapter
from longvid.models.families.llava import LlavaDecoder
from longvid.models.families.positions import GridPositions
from longvid.models.families.protocol import Piece, Prompt, Spliced
from longvid.models.families.qwen_pixels import qwen_pixels, to_patches

#: Opening and closing of a prompt, the same in Qwen2.5-VL and Qwen3-VL but for the system's line.
QWEN_CHAT = "<|im_start|>user\n{video}{question}{choices}<|im_end|>\n<|im_start|>assistant\n"


class PairTower:
    """The vision tower of a Qwen-VL, which joins two frames into one step of time."""

    def __init__(self, module: Any) -> None:
        self.module = module
        vision = module.config.vision_config
        self.token_width = int(module.config.text_config.hidden_size)
        self.frames_per_step = int(vision.temporal_patch_size)
        self._patch = int(vision.patch_size)
        self._merge = int(vision.spatial_merge_size)

    def step_seconds(self, pts_seconds: torch.Tensor) -> torch.Tensor:
        """Say when steps are shown: with their first frame, (steps, 2) to (steps,)."""
        return pts_seconds[:, 0]

    @no_grad
    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        """Turn normalised pixels (T, 3, H, W) into tokens on their grid, (steps, h, w, D).

        H and W are whole patches times their merging.
        """
        lacking = -len(pixels) % self.frames_per_step
        pixels = torch.cat([pixels, pixels[-1:].expand(lacking, -1, -1, -1)])
        steps = len(pixels) // self.frames_per_step
        rows, columns = (side // self._patch for side in pixels.shape[-2:])
        output = self.module.get_video_features(
            pixel_values_videos=to_patches(pixels, self._patch, self._merge, self.frames_per_step),
            video_grid_thw=torch.tensor([[steps, rows, columns]], device=pixels.device),
        )
        grid = (steps, rows // self._merge, columns // self._merge)
        return self._tokens(output).reshape(*grid, self.token_width)

    def _tokens(self, output: Any) -> torch.Tensor:
        """Take the tokens (steps * h * w, D) from what the model gives for one video."""
        tokens: torch.Tensor = output.pooler_output[0]
        return tokens


class GridDecoder(LlavaDecoder):
    """A language model with three rotary axes: time, row and column."""

    #: What its positions are; needs no weights.
    positions: ClassVar[type[GridPositions]] = GridPositions

    def splice(self, pieces: Sequence[Piece], *, newline: bool) -> Spliced:
        """Put text and frames in one sequence, each token at its position of three axes."""
        spliced = super().splice(pieces, newline=newline)
        positions = self.positions(self.module.config)(pieces)
        return Spliced(
            inputs_embeds=spliced.inputs_embeds,
            attention_mask=spliced.attention_mask,
            position_ids=positions[:, None].to(spliced.inputs_embeds.device),  # (3, 1, L)
        )


QWEN2_5_VL = Adapter(
    name="qwen2_5_vl",
    architecture="Qwen2_5_VLForConditionalGeneration",
    placeholder="<|video_pad|>",
    parts_of_vision=("model.visual",),
    tower=lambda module, grid: PairTower(module),
    decoder=GridDecoder,
    pixels=qwen_pixels,
    prompt=Prompt(
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
        + QWEN_CHAT.replace("{video}", "<|vision_start|>{video}<|vision_end|>")
    ),
)
