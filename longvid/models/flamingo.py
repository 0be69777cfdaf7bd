"""Flamingo's Perceiver resampler: the tokens of a clip into a fixed number, whatever its length.

Parameter names are those of OpenFlamingo's checkpoints, under `perceiver.`. The resamplers of
IDEFICS and IDEFICS2 and the Q-Formers are classes of transformers.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from longvid.errors import OpError


class _Attention(nn.Module):
    def __init__(self, width: int, num_heads: int, head_width: int) -> None:
        super().__init__()
        self._num_heads = num_heads
        inner = num_heads * head_width
        self.norm_media = nn.LayerNorm(width)
        self.norm_latents = nn.LayerNorm(width)
        self.to_q = nn.Linear(width, inner, bias=False)
        self.to_kv = nn.Linear(width, 2 * inner, bias=False)
        self.to_out = nn.Linear(inner, width, bias=False)

    def forward(self, tokens: Tensor, latents: Tensor) -> Tensor:
        latents = self.norm_latents(latents)
        rows = torch.cat([self.norm_media(tokens), latents], dim=-2)
        heads = [self.to_q(latents), *self.to_kv(rows).chunk(2, dim=-1)]
        query, key, value = (
            rearrange(one, "b t n (h d) -> b t h n d", h=self._num_heads) for one in heads
        )
        attended = F.scaled_dot_product_attention(query, key, value)
        out: Tensor = self.to_out(rearrange(attended, "b t h n d -> b t n (h d)"))
        return out


class FlamingoResampler(nn.Module):
    """Learned latents that attend to a clip's tokens and to themselves.

    Args:
        width: Of tokens and latents.
        depth: Layers.
        num_heads, head_width: Of the attention.
        num_latents: Tokens that come out of a clip.
        max_frames: Frames with an embedding of their own; 0 for none.

    Source: OpenFlamingo, `PerceiverResampler`.
    """

    def __init__(
        self,
        width: int,
        depth: int = 6,
        num_heads: int = 8,
        head_width: int = 64,
        num_latents: int = 64,
        max_frames: int = 0,
    ) -> None:
        super().__init__()
        self.latents = nn.Parameter(torch.randn(num_latents, width))
        self.frame_embs = nn.Parameter(torch.randn(max_frames, width)) if max_frames else None
        self.layers = nn.ModuleList(
            nn.ModuleList(
                [
                    _Attention(width, num_heads, head_width),
                    nn.Sequential(
                        nn.LayerNorm(width),
                        nn.Linear(width, 4 * width, bias=False),
                        nn.GELU(),
                        nn.Linear(4 * width, width, bias=False),
                    ),
                ]
            )
            for _ in range(depth)
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return (B, clips, num_latents, width).

        Args:
            tokens: (B, clips, T, N, width).

        Raises:
            OpError: A clip has more frames than there are embeddings.
        """
        num_frames = tokens.shape[2]
        if self.frame_embs is not None:
            if num_frames > len(self.frame_embs):
                raise OpError(
                    f"The resampler knows {len(self.frame_embs)} frames of a clip, got "
                    f"{num_frames}; cut the clip."
                )
            tokens = tokens + self.frame_embs[:num_frames, None]
        return self.resample(tokens.flatten(2, 3))

    def resample(self, tokens: Tensor) -> Tensor:
        """Return (B, clips, num_latents, width) of tokens that know their frames.

        Args:
            tokens: (B, clips, N, width).
        """
        latents = self.latents.expand(*tokens.shape[:2], *self.latents.shape)
        for layer in self.layers:
            latents = layer[0](tokens, latents) + latents  # type: ignore[index]  # a pair
            latents = layer[1](latents) + latents  # type: ignore[index]
        out: Tensor = self.norm(latents)
        return out
