"""One token for each object of a frame: pooled features of its box, projected.

Parameter names are those of the published checkpoint.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from longvid.methods.roi_pooling import pool_boxes


class BoxProjector(nn.Module):
    """Linear, GELU, Linear: `projector.model.*` of tokens, `bbox_projector.model.*` of boxes."""

    def __init__(self, width: int, llm_width: int) -> None:
        super().__init__()
        self.model = nn.Sequential(
            nn.Linear(width, llm_width), nn.GELU(), nn.Linear(llm_width, llm_width)
        )

    def forward(self, features: Tensor) -> Tensor:
        """Return (..., llm_width)."""
        projected: Tensor = self.model(features)
        return projected


class MultiLevelPooling(nn.Module):
    """Pool each level of a pyramid by its own linear layer, and add them.

    The original projects the RoI grid and then takes its mean; a linear layer and a mean commute.

    Args:
        widths: Channels of each level.
        width: Of the result.

    Source: MG-LLaVA, `multi_level_linear`.
    """

    def __init__(self, widths: Sequence[int], width: int = 1024) -> None:
        super().__init__()
        self.multi_level_linear = nn.ModuleList(nn.Linear(one, width) for one in widths)

    def forward(
        self, levels: Sequence[Tensor], boxes: Tensor, scales: Sequence[float], bins: int = 7
    ) -> Tensor:
        """Return (n, width).

        Args:
            levels: (C_i, H_i, W_i) maps of one frame.
            boxes: (n, 4) in pixels of the picture.
            scales: Cells a pixel, of each level.
            bins: Of the RoI grid.
        """
        layers = zip(self.multi_level_linear, levels, scales, strict=True)
        pooled = [layer(pool_boxes(level, boxes, scale, bins)) for layer, level, scale in layers]
        return torch.stack(pooled).sum(dim=0)
