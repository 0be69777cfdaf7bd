"""Gemma 4: patches pooled 3 x 3, the clock time before each frame, of at most 70 tokens.

In the larger sizes the tokens of a frame see each other; in the smaller ones every layer reads an
embedding of its own beside the hidden state, which a visual token has from the padding token. Both
have sliding windows, so a prompt is read whole and its front is not used again. Sound is left out.

Source: `Gemma4ForConditionalGeneration` of transformers (get_video_features, forward), its
processor (replace_video_token) and video processor (get_aspect_ratio_preserving_size).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from einops import rearrange

from longvid.lazy_import import no_grad, torch
from longvid.models.families.aspect_sizes import WithinTokens, fields_of
from longvid.models.families.hf_family import Adapter
from longvid.models.families.llava import LlavaDecoder, StillTower
from longvid.models.families.protocol import FramePiece, Piece, Prompt, Spliced
from longvid.models.preprocessing import PixelFormat, processor_table

_MOST_TOKENS = 70
_VIDEO = 2  # a token's kind, as transformers numbers them
_UNHEARD = ("model.audio_tower", "model.embed_audio")


def _pixels(folder: Path, config: Any, most_pixels: int) -> WithinTokens:
    vision = config.vision_config
    step = int(vision.patch_size) * int(vision.pooling_kernel_size)
    stated = int(processor_table(folder).get("max_soft_tokens", _MOST_TOKENS))
    most = max(1, most_pixels // step**2) if most_pixels else stated
    plain = PixelFormat.read(folder, math.isqrt(most) * step)
    return WithinTokens(**fields_of(plain), most_tokens=most, step=step)


class _Tower(StillTower):
    def __init__(self, module: Any) -> None:
        super().__init__(module)
        self._pooled = int(module.config.vision_config.pooling_kernel_size)

    @no_grad
    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        """Turn rescaled pixels (T, 3, H, W) into tokens on their grid, (T, h, w, D)."""
        rows, columns = (side // self._patch for side in pixels.shape[-2:])
        places = torch.cartesian_prod(torch.arange(rows), torch.arange(columns)).flip(1)  # (x, y)
        features = self.module.model.get_video_features(
            rearrange(pixels, "t c (h p) (w q) -> t (h w) (p q c)", p=self._patch, q=self._patch),
            places.expand(len(pixels), -1, -1).to(pixels.device),
            num_frames_per_video=torch.tensor([len(pixels)]),
        )
        tokens: torch.Tensor = features.pooler_output[0]
        grid = (len(pixels), rows // self._pooled, columns // self._pooled)
        return tokens.reshape(*grid, self.token_width)


class _Decoder(LlavaDecoder):
    @no_grad
    def splice(self, pieces: Sequence[Piece], *, newline: bool) -> Spliced:
        """Put text and frames in one sequence, with their kinds and what each layer reads."""
        padding = self.module.config.text_config.pad_token_id
        ids: list[int] = []
        kinds: list[int] = []
        for piece in pieces:
            visual = isinstance(piece, FramePiece)
            new = [padding] * len(piece.tokens) if isinstance(piece, FramePiece) else piece.ids
            ids += new
            kinds += [_VIDEO if visual else 0] * len(new)
        spliced = super().splice(pieces, newline=newline)
        device = spliced.inputs_embeds.device
        by_layer = None
        if self.module.config.text_config.hidden_size_per_layer_input:
            row = torch.tensor([ids], device=device)
            found = self.module.model.language_model.get_per_layer_inputs(row)  # (1, L, K, d)
            by_layer = found.permute(2, 0, 1, 3)
        kind = torch.tensor([kinds], device=device)
        return dataclasses.replace(spliced, kind=kind, by_layer=by_layer)


GEMMA4 = Adapter(
    name="gemma4",
    architecture="Gemma4ForConditionalGeneration",
    placeholder="<|video|>",
    parts_of_text=("model.language_model", "lm_head", *_UNHEARD),
    parts_of_vision=("model.vision_tower", "model.embed_vision", *_UNHEARD),
    tower=lambda module, grid: _Tower(module),
    decoder=_Decoder,
    pixels=_pixels,
    patches_joined=lambda config: int(config.vision_config.pooling_kernel_size),
    prompt=Prompt(
        "<bos><|turn>user\n{video}{question}{choices}<turn|>\n<|turn>model\n",
        frame_prefix="{clock} <|image>",
        frame_suffix="<image|>",
        frame_separator=" ",
    ),
)
