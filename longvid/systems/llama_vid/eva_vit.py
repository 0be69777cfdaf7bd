"""The EVA-CLIP-G/14 vision tower of LLaMA-VID: a plain pre-norm vision transformer.

Parameter names are those of the released `eva_vit_g.pth`. There is no final norm: the released
file's `norm.*`, `head.*` and 40th block are never used. This module does not preprocess pixels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from longvid.errors import ConfigError, OpError
from longvid.models.weights import load_parameters

_NORM_EPSILON = 1e-6


@dataclass(frozen=True, slots=True)
class EvaConfig:
    """Sizes of an EVA vision transformer; the defaults are EVA-CLIP-G/14 as LLaMA-VID uses it.

    Args:
        image_size: Side of the square image, pixels.
        patch_size: Side of a patch, pixels.
        width: Token width C.
        depth: Number of blocks. The checkpoint holds 40; the last is never built.
        num_heads: Attention heads.
        mlp_width: Hidden width of a block's MLP, int(width * 4.3637) as released.
    """

    image_size: int = 224
    patch_size: int = 14
    width: int = 1408
    depth: int = 39
    num_heads: int = 16
    mlp_width: int = 6144

    def __post_init__(self) -> None:
        if self.width % self.num_heads:
            raise ConfigError(
                f"width {self.width} is not a multiple of num_heads {self.num_heads}."
            )
        if self.image_size < self.patch_size:
            raise ConfigError(
                f"image_size {self.image_size} is below patch_size {self.patch_size}."
            )

    @property
    def grid_side(self) -> int:
        """Patches along one side of the image."""
        return self.image_size // self.patch_size


def interpolate_position_embedding(position: Tensor, num_patches: int) -> Tensor:
    """Resize a learned position embedding to another square grid, keeping the CLS position.

    Bicubic, corners not aligned. An embedding of the right size is returned as it is.

    Args:
        position: (1, 1 + n, C) float, CLS first, n a square number.
        num_patches: The number of patches wanted, a square number.

    Returns:
        (1, 1 + num_patches, C) in position's dtype.

    Raises:
        OpError: One of the two grids is not square.

    Source: LLaMA-VID, `eva_vit.py` interpolate_pos_embed (16x16 to 24x24 for 336 pixels).
    """
    old_side, new_side = math.isqrt(position.shape[1] - 1), math.isqrt(num_patches)
    if old_side**2 != position.shape[1] - 1 or new_side**2 != num_patches:
        raise OpError(
            f"Position embeddings are resized between square grids, got {position.shape[1] - 1} "
            f"and {num_patches} patches."
        )
    if old_side == new_side:
        return position
    grid = rearrange(position[:, 1:].float(), "b (h w) c -> b c h w", h=old_side)
    grid = F.interpolate(grid, size=(new_side, new_side), mode="bicubic", align_corners=False)
    patches = rearrange(grid, "b c h w -> b (h w) c").to(position.dtype)
    return torch.cat([position[:, :1], patches], dim=1)


class _PatchEmbedding(nn.Module):
    def __init__(self, config: EvaConfig) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, config.width, config.patch_size, stride=config.patch_size)

    def forward(self, images: Tensor) -> Tensor:
        patches: Tensor = self.proj(images)
        return rearrange(patches, "b c h w -> b (h w) c")


class _Attention(nn.Module):
    """Self-attention with one qkv matrix, biases for queries and values and none for keys."""

    def __init__(self, config: EvaConfig) -> None:
        super().__init__()
        self.num_heads = config.num_heads
        self.q_bias = nn.Parameter(torch.zeros(config.width))
        self.v_bias = nn.Parameter(torch.zeros(config.width))
        self.qkv = nn.Linear(config.width, 3 * config.width, bias=False)
        self.proj = nn.Linear(config.width, config.width)

    def forward(self, x: Tensor) -> Tensor:
        bias = torch.cat([self.q_bias, torch.zeros_like(self.v_bias), self.v_bias])
        qkv = F.linear(x, self.qkv.weight, bias)
        q, k, v = rearrange(qkv, "b n (s a c) -> s b a n c", s=3, a=self.num_heads)
        attended = F.scaled_dot_product_attention(q, k, v)
        out: Tensor = self.proj(rearrange(attended, "b a n c -> b n (a c)"))
        return out


class _Mlp(nn.Module):
    def __init__(self, config: EvaConfig) -> None:
        super().__init__()
        self.fc1 = nn.Linear(config.width, config.mlp_width)
        self.fc2 = nn.Linear(config.mlp_width, config.width)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc2(F.gelu(self.fc1(x)))
        return out


class _Block(nn.Module):
    def __init__(self, config: EvaConfig) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(config.width, eps=_NORM_EPSILON)
        self.attn = _Attention(config)
        self.norm2 = nn.LayerNorm(config.width, eps=_NORM_EPSILON)
        self.mlp = _Mlp(config)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        mixed: Tensor = self.mlp(self.norm2(x))
        return x + mixed


class EvaVisionTransformer(nn.Module):
    """Turn images into CLS and patch tokens.

    Source: LLaMA-VID, `eva_vit.py` (BLIP-2's EVA-CLIP-G).
    """

    def __init__(self, config: EvaConfig) -> None:
        super().__init__()
        self.config = config
        self.cls_token = nn.Parameter(torch.zeros(1, 1, config.width))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + config.grid_side**2, config.width))
        self.patch_embed = _PatchEmbedding(config)
        self.blocks = nn.ModuleList(_Block(config) for _ in range(config.depth))

    def forward(self, images: Tensor) -> Tensor:
        """Encode images.

        Args:
            images: (B, 3, H, W) float, H = W = image_size, normalised as CLIP does.

        Returns:
            (B, 1 + P, C), CLS first, raw output of the last block.

        Raises:
            OpError: The images have another size.
        """
        side = self.config.image_size
        if images.dim() != 4 or images.shape[1:] != (3, side, side):
            raise OpError(
                f"The EVA tower takes images of shape (B, 3, {side}, {side}), "
                f"got {tuple(images.shape)}; resize them or build the tower for another size."
            )
        x: Tensor = self.patch_embed(images)
        x = torch.cat([self.cls_token.expand(x.shape[0], -1, -1), x], dim=1) + self.pos_embed
        for block in self.blocks:
            x = block(x)
        return x

    def load_released(self, state: dict[str, Tensor]) -> None:
        """Load the released checkpoint, resizing its position embedding to this image size.

        The final norm, the head and blocks beyond `depth` are left out, as the original does.

        Args:
            state: Parameters by name, as in `eva_vit_g.pth`.

        Raises:
            ModelError: A parameter is missing or has another shape.
        """
        if "pos_embed" in state:
            places = self.config.grid_side**2
            state = {
                **state,
                "pos_embed": interpolate_position_embedding(state["pos_embed"], places),
            }
        hint = "it must be eva_vit_g.pth or a tower of the same names"
        load_parameters(self, state, "EVA", hint)
