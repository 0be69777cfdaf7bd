"""Conv-Gate fusion: features of a high-resolution tower added to those of a low-resolution one.

Parameter names are those of the published checkpoint under `fuse_module.`.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor, nn

from longvid.errors import OpError, require_one_of

Variant = Literal["gate_sum", "gate_concat", "concat", "raw_concat"]


class ConvGateFusion(nn.Module):
    """Join CLIP's tokens X with a map S of as many cells.

        H = proj(gelu(conv(S)))            1x1 both
        L = X + proj(gelu(depthwise(X)))   7x7, then 1x1
        g = tanh(gate(mean of [L; H]))     one number a frame

    `gate_sum`, the released variant, is L + g H; `gate_concat` [L; g H]; `concat` [L; H];
    `raw_concat` [X; S], without a weight. Both last projections start at zero, so that an untrained
    `gate_sum` returns X bit for bit.

    Args:
        low_width: D, of X.
        high_width: C, of S.
        variant: How they are joined.

    Raises:
        ConfigError: The variant is not known.

    Source: MG-LLaVA, `DualPathFuseModule` and its variants 1 to 3.
    """

    def __init__(self, low_width: int, high_width: int, variant: Variant = "gate_sum") -> None:
        super().__init__()
        require_one_of("The fusion", variant, get_args(Variant))
        self.variant = variant
        self.width = fused_width(low_width, high_width, variant)
        if variant == "raw_concat":
            return
        self.slow_conv = nn.Conv2d(high_width, high_width, 1)
        self.slow_proj = nn.Conv2d(high_width, low_width, 1)
        self.fast_conv = nn.Conv2d(low_width, low_width, 7, padding=3, groups=low_width)
        self.fast_proj = nn.Conv2d(low_width, low_width, 1)
        for convolution in (self.slow_conv, self.fast_conv):
            nn.init.xavier_uniform_(convolution.weight)
        for projection in (self.slow_proj, self.fast_proj):
            nn.init.zeros_(projection.weight)
            nn.init.zeros_(projection.bias)  # type: ignore[arg-type]  # it has one
        if variant != "concat":
            self.gate = nn.Sequential(
                nn.Linear(2 * low_width, low_width // 2), nn.GELU(), nn.Linear(low_width // 2, 1)
            )

    def paths(self, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
        """Return L and H, (B, N, D) each.

        Args:
            low: (B, N, D) tokens in reading order.
            high: (B, C, h, w) with h * w = N.
        """
        grid = low.mT.reshape(*low.mT.shape[:2], *high.shape[-2:])
        local = grid + self.fast_proj(nn.functional.gelu(self.fast_conv(grid)))
        fine = self.slow_proj(nn.functional.gelu(self.slow_conv(high)))
        return local.flatten(2).mT, fine.flatten(2).mT

    def strength(self, local: Tensor, fine: Tensor) -> Tensor:
        """Return g of every frame, (B, 1)."""
        mean = torch.cat([local, fine], dim=2).mean(dim=1)
        strength: Tensor = torch.tanh(self.gate(mean))
        return strength

    def forward(self, low: Tensor, high: Tensor) -> Tensor:
        """Return (B, N, width).

        Args:
            low: (B, N, D).
            high: (B, C, h, w) with h * w = N.

        Raises:
            OpError: The grids differ.
        """
        if low.ndim != 3 or high.ndim != 4 or high.shape[-2] * high.shape[-1] != low.shape[1]:
            raise OpError(
                "Conv-Gate fusion needs tokens (B, N, D) and a map (B, C, h, w) of N cells, got "
                f"{tuple(low.shape)} and {tuple(high.shape)}."
            )
        if self.variant == "raw_concat":
            return torch.cat([low, high.flatten(2).mT], dim=2)
        local, fine = self.paths(low, high)
        if self.variant == "concat":
            return torch.cat([local, fine], dim=2)
        fine = self.strength(local, fine)[:, None] * fine
        return local + fine if self.variant == "gate_sum" else torch.cat([local, fine], dim=2)


def fused_width(low_width: int, high_width: int, variant: Variant) -> int:
    """Return the width of a token that a variant makes."""
    if variant == "gate_sum":
        return low_width
    return low_width + (high_width if variant == "raw_concat" else low_width)
