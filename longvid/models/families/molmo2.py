"""Molmo2: patches pooled 3 x 3 by attention; the time before each frame, which all see each other.

A token is added to the embedding of the placeholder that it stands for. Every visual token sees
every other, later ones too, so a prompt is read whole and its front is not used again.

Source: `Molmo2ForConditionalGeneration` of transformers (get_video_features, forward), its
processor (get_video_string) and video processor (arange_for_pooling).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from einops import rearrange

from longvid.lazy_import import F, no_grad, torch
from longvid.models.families.hf_family import Adapter
from longvid.models.families.llava import LlavaDecoder, StillTower
from longvid.models.families.protocol import FramePiece, Piece, Prompt, Spliced
from longvid.models.families.qwen2_5_vl import QWEN_CHAT
from longvid.models.preprocessing import PixelFormat

_POOLED = 3
"""Patches a side in a token of a video, in every published checkpoint."""


class _Tower(StillTower):
    @no_grad
    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        patches = rearrange(
            pixels, "t c (h p) (w q) -> t (h w) (p q c)", p=self._patch, q=self._patch
        )
        num_frames, num_patches = patches.shape[:2]
        rows, columns = (side // self._patch for side in pixels.shape[-2:])
        windows, grid = _windows(rows, columns)
        offsets = num_patches * torch.arange(num_frames).view(-1, 1, 1)
        pooled = torch.where(windows >= 0, windows + offsets, -1).flatten(0, 1)
        features = self.module.get_video_features(
            patches,
            pooled.to(pixels.device),
            torch.tensor([[num_frames, *grid]], device=pixels.device),
        )
        tokens: torch.Tensor = features.pooler_output[0]
        return tokens.reshape(num_frames, *grid, self.token_width)


def _windows(rows: int, columns: int) -> tuple[torch.Tensor, tuple[int, int]]:
    """Return the patches of each token, (h * w, 9) int64 with -1 for none, and (h, w)."""
    index = torch.arange(rows * columns).view(rows, columns)
    lacking = [-side % _POOLED for side in (columns, rows)]
    index = F.pad(index, [n for each in lacking for n in (each // 2, (each + 1) // 2)], value=-1)
    windows = rearrange(index, "(h p) (w q) -> (h w) (p q)", p=_POOLED, q=_POOLED)
    return windows, (index.shape[0] // _POOLED, index.shape[1] // _POOLED)


class _Decoder(LlavaDecoder):
    divisible = False

    def splice(self, pieces: Sequence[Piece], *, newline: bool) -> Spliced:
        """Put text and frames in one sequence, frames and their marks seeing each other."""
        config = self.module.config
        marks = torch.tensor([config.frame_start_token_id, config.frame_end_token_id])
        place = self.embed([config.image_patch_id])  # (1, D)
        shown: list[Piece] = []
        kinds: list[torch.Tensor] = []
        for piece in pieces:
            if isinstance(piece, FramePiece):
                piece = dataclasses.replace(piece, tokens=piece.tokens.to(place) + place)
                kinds.append(torch.ones(len(piece.tokens), dtype=torch.long))
            else:
                kinds.append(torch.isin(torch.tensor(piece.ids), marks).long())
            shown.append(piece)
        kind = torch.cat(kinds)[None].to(place.device)
        return dataclasses.replace(super().splice(shown, newline=newline), kind=kind)


def _pixels(folder: Path, config: Any, most_pixels: int) -> PixelFormat:
    return PixelFormat.read(folder, int(config.vision_config.image_size[0]))


MOLMO2 = Adapter(
    name="molmo2",
    architecture="Molmo2ForConditionalGeneration",
    placeholder="<im_patch>",
    placeholder_field="image_patch_id",
    parts_of_vision=("model.vision_tower", "model.multi_modal_projector"),
    tower=lambda module, grid: _Tower(module),
    decoder=_Decoder,
    pixels=_pixels,
    patches_joined=lambda config: _POOLED,
    rewrites=(("<|video|>", "<im_patch>"),),
    prompt=Prompt(
        QWEN_CHAT,
        frame_prefix="{seconds} <frame_start>",
        frame_suffix="<frame_end>",
        frame_separator=" ",
    ),
)
