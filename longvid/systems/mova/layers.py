"""Layers of MoV-Adapter, with the parameter names of the published checkpoint."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from longvid.errors import ConfigError

_HEAD = 64


def rotary_table(side: int, width: int = _HEAD) -> tuple[Tensor, Tensor]:
    """Return cosines and sines of a square grid, (side * side, width) each.

    The first half of the channels turns with the row, the second with the column; each angle
    serves a pair of neighbours.
    """
    frequencies = 10000.0 ** (-torch.arange(0, width // 2, 2).float() / (width // 2))
    angles = torch.arange(side)[:, None] * frequencies  # (side, width / 4)
    angles = angles.repeat_interleave(2, dim=1)
    rows = angles[:, None].expand(side, side, -1)
    columns = angles[None].expand(side, side, -1)
    grid = torch.cat([rows, columns], dim=2).flatten(0, 1)
    return grid.cos(), grid.sin()


def rotate(x: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
    """Turn each pair of channels by its angle, (..., N, width)."""
    even, odd = x[..., ::2], x[..., 1::2]
    turned = torch.stack([-odd, even], dim=-1).flatten(-2)
    return x * cosines + turned * sines


class Attention(nn.Module):
    """Attention of a grid to a grid, in heads of 64, rotary on both sides.

    Args:
        width: Of the queries, a multiple of 64.
        value_width: Of what is attended to.

    Raises:
        ConfigError: The width is no multiple of 64.
    """

    def __init__(self, width: int, value_width: int) -> None:
        super().__init__()
        if width % _HEAD:
            raise ConfigError(f"MoV-Adapter needs a width that is a multiple of 64, got {width}.")
        self.q_proj = nn.Linear(width, width, bias=False)
        self.k_proj = nn.Linear(value_width, width, bias=False)
        self.v_proj = nn.Linear(value_width, width, bias=False)
        self.inner_attn_ln = nn.LayerNorm(width)
        self.proj = nn.Linear(width, width)
        nn.init.zeros_(self.proj.weight)
        nn.init.zeros_(self.proj.bias)

    def forward(self, x: Tensor, value: Tensor) -> Tensor:
        """Return (B, N, width).

        Args:
            x: (B, N, width).
            value: (B, N, value_width), of the same grid.
        """
        cosines, sines = (t.to(x.device) for t in rotary_table(math.isqrt(x.shape[1])))
        query, key, values = (
            rearrange(layer(source), "b n (h d) -> b h n d", d=_HEAD)
            for layer, source in ((self.q_proj, x), (self.k_proj, value), (self.v_proj, value))
        )
        query = rotate(query, cosines, sines).to(values.dtype)
        key = rotate(key, cosines, sines).to(values.dtype)
        attended = F.scaled_dot_product_attention(query, key, values)
        joined: Tensor = self.proj(self.inner_attn_ln(rearrange(attended, "b h n d -> b n (h d)")))
        return joined


class FeedForward(nn.Module):
    """SwiGLU with a norm before its last layer."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.w1 = nn.Linear(width, hidden)
        self.w2 = nn.Linear(width, hidden)
        self.ffn_ln = nn.LayerNorm(hidden)
        self.w3 = nn.Linear(hidden, width)
        nn.init.zeros_(self.w3.weight)
        nn.init.zeros_(self.w3.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return the shape of `x`."""
        out: Tensor = self.w3(self.ffn_ln(F.silu(self.w1(x)) * self.w2(x)))
        return out


class _NormedConvolution(nn.Module):
    def __init__(self, width: int, kernel: int, groups: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, kernel, padding=kernel // 2, groups=groups, bias=False)
        # timm puts its own norm of this name in, with another epsilon than the class declares.
        self.bn = nn.LayerNorm(width, eps=1e-5)

    def forward(self, x: Tensor) -> Tensor:
        normed: Tensor = self.bn(self.conv(x).movedim(1, -1))
        return normed.movedim(-1, 1)


class _SqueezeExcite(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(width, width // 4, 1)
        self.fc2 = nn.Conv2d(width // 4, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        scale = self.fc2(F.silu(self.fc1(x.mean(dim=(2, 3), keepdim=True))))
        return x * torch.sigmoid(scale)


class _RegBlock(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = _NormedConvolution(width, 1)
        self.conv2 = _NormedConvolution(width, 3, groups=width)
        self.se = _SqueezeExcite(width)
        self.conv3 = _NormedConvolution(width, 1)
        nn.init.zeros_(self.conv3.bn.weight)
        nn.init.zeros_(self.conv3.bn.bias)

    def forward(self, x: Tensor) -> Tensor:
        y = F.silu(self.conv2(F.silu(self.conv1(x))))
        out: Tensor = x + self.conv3(self.se(y))
        return out


class DownsampleStage(nn.Module):
    """A residual stage of one block, as timm's RegStage of depth 1: `b1.*`."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.b1 = _RegBlock(width)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, width, h, w)."""
        out: Tensor = self.b1(x)
        return out
