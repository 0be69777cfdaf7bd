"""Qwen2.5-VL: pairs of frames in windows, and a position of time, row and column for every token.

A token keeps the position that it had in the whole video, whatever is merged or left out around it:
time in the model's own ticks since the video's first frame, row and column on the grid it was
encoded on. A merged token stands at the rounded mean of its parts.

Source: `Qwen2_5_VLForConditionalGeneration` of transformers (get_video_features, get_rope_index);
the tower runs that class's own forward.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from longvid.errors import ModelError
from longvid.lazy_import import no_grad, torch
from longvid.models.families.hf_family import Adapter
from longvid.models.families.llava import LlavaDecoder
from longvid.models.families.protocol import FramePiece, Piece, Prompt, Spliced
from longvid.models.families.qwen_pixels import qwen_pixels, to_patches

__all__ = ["QWEN2_5_VL", "QWEN_CHAT", "GridDecoder", "PairTower"]

#: Opening and closing of a prompt, the same in Qwen2.5-VL and Qwen3-VL but for the system's line.
QWEN_CHAT = "<|im_start|>user\n{video}{question}{choices}<|im_end|>\n<|im_start|>assistant\n"

# Seconds times ticks that fall this little short of a whole number are meant to be it.
_SLACK = 1e-4


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

    def splice(self, pieces: Sequence[Piece], *, newline: bool) -> Spliced:
        """Put text and frames in one sequence, each token at its position of three axes."""
        spliced = super().splice(pieces, newline=newline)
        positions = self._positions(pieces).to(spliced.inputs_embeds.device)
        return Spliced(
            inputs_embeds=spliced.inputs_embeds,
            attention_mask=spliced.attention_mask,
            position_ids=positions[:, None],  # (3, 1, L)
        )

    def _positions(self, pieces: Sequence[Piece]) -> torch.Tensor:
        """Give every token its position, (3, L) int64.

        Text counts on along all axes at once. A video starts where the text before it ends; the
        text after it goes on behind the longer side of its grid.
        """
        parts = [torch.zeros(3, 0, dtype=torch.long)]
        at = 0
        shown: list[FramePiece] = []
        for piece in (*pieces, None):
            if isinstance(piece, FramePiece) and not self._begins_anew(shown, piece):
                shown.append(piece)
                continue
            if shown:
                parts += [at + self._in_video(frame, index) for index, frame in enumerate(shown)]
                at += max(max(frame.grid) for frame in shown)
            shown = [piece] if isinstance(piece, FramePiece) else []
            if piece is not None and not isinstance(piece, FramePiece):
                parts.append((at + torch.arange(len(piece.ids))).expand(3, -1))
                at += len(piece.ids)
        return torch.cat(parts, dim=1)

    def _begins_anew(self, shown: Sequence[FramePiece], frame: FramePiece) -> bool:
        """Tell whether a frame is the first of another video than those just shown."""
        return bool(shown) and frame.pts_seconds < shown[-1].pts_seconds

    def _in_video(self, frame: FramePiece, index: int) -> torch.Tensor:
        """Return the positions of a frame's tokens from where its video starts, (3, n) int64."""
        cells = _cells(frame)
        time = torch.full((1, len(cells)), self._ticks(frame, index))
        return torch.cat([time, cells.T])

    def _ticks(self, frame: FramePiece, index: int) -> int:
        """Return the place in time of the frame that is shown as number `index` of its video."""
        per_second = float(self.module.config.vision_config.tokens_per_second)
        seconds = frame.pts_seconds - frame.origin_seconds
        return max(0, math.floor(per_second * seconds + _SLACK))


def _cells(frame: FramePiece) -> torch.Tensor:
    """Return the row and column of each token on the grid it was encoded on, (n, 2) int64."""
    if 0 in frame.grid:
        raise ModelError(
            "The tokens do not say the grid they were laid out on, which this model's positions "
            "need; index the videos again."
        )
    sides = torch.tensor(frame.grid)
    cells = (frame.position.double() * sides - 0.5).round().long()
    return torch.minimum(cells.clamp_min(0), sides - 1)


QWEN2_5_VL = Adapter(
    name="qwen2_5_vl",
    architecture="Qwen2_5_VLForConditionalGeneration",
    placeholder="<|video_pad|>",
    placeholder_field="video_token_id",
    parts_of_text=("model.language_model", "lm_head"),
    parts_of_vision=("model.visual",),
    tower=lambda module, grid: PairTower(module),
    decoder=GridDecoder,
    pixels=qwen_pixels,
    prompt=Prompt(
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
        + QWEN_CHAT.replace("{video}", "<|vision_start|>{video}<|vision_end|>")
    ),
)
