"""MoV-Adapter: a base grid looks at the maps of chosen experts, gated by the question."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from longvid.errors import ConfigError, OpError
from longvid.systems.mova.layers import Attention, DownsampleStage, FeedForward

_TEXT_WIDTH = 1024  # of BERT-large's first token
_OFF = 1e6


class AdapterBlock(nn.Module):
    """Gate, attention to the experts, attention to itself, feed-forward."""

    def __init__(self, width: int, expert_widths: Sequence[int], topk: int) -> None:
        super().__init__()
        count = len(expert_widths)
        if not 1 <= topk <= count:
            raise ConfigError(f"MoV-Adapter needs topk from 1 to {count} experts, got {topk}.")
        self.topk = topk
        self.cross_attn = nn.ModuleList(Attention(width, one) for one in expert_widths)
        self.norm1 = nn.ModuleList(nn.LayerNorm(width) for _ in expert_widths)
        self.norm2 = nn.ModuleList(nn.LayerNorm(one) for one in expert_widths)
        self.self_attn = Attention(width, width)
        self.norm3 = nn.LayerNorm(width)
        self.norm4 = nn.LayerNorm(width)
        self.mlp = FeedForward(width, int(width * 8 / 3))
        last = nn.Linear(width, count)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.gate = nn.Sequential(nn.Linear(_TEXT_WIDTH + width, width), nn.GELU(), last)

    def gate_logits(self, x: Tensor, text: Tensor) -> Tensor:
        """Return (B, E) before experts are turned off."""
        logits: Tensor = self.gate(torch.cat([text, x.mean(dim=1)], dim=1))
        return logits

    def weights(self, x: Tensor, text: Tensor, routing: Tensor) -> Tensor:
        """Return the weight of each expert, (B, E) float32, at most `topk` of them not 0."""
        logits = self.gate_logits(x, text).float() - _OFF * (1.0 - routing)
        share = torch.softmax(logits, dim=1)
        best = share.topk(self.topk, dim=1).indices
        kept = torch.zeros_like(share).scatter(1, best, share.gather(1, best))
        return kept / kept.sum(dim=1, keepdim=True)

    def forward(
        self, x: Tensor, experts: Sequence[Tensor], text: Tensor, routing: Tensor
    ) -> Tensor:
        """Return (B, N, width); an expert that nobody chose is not run."""
        weights = self.weights(x, text, routing).to(x.dtype)
        added = torch.zeros_like(x)
        for number, expert in enumerate(experts):
            if bool(routing[:, number].any()):
                query, value = self.norm1[number](x), self.norm2[number](expert)
                attended = self.cross_attn[number](query, value)
                added = added + weights[:, number, None, None] * attended
        x = x + routing.any(dim=1)[:, None, None] * added
        y = self.norm3(x)
        x = x + self.self_attn(y, y)
        out: Tensor = x + self.mlp(self.norm4(x))
        return out


class MoVAdapter(nn.Module):
    """Base tokens and expert maps into a quarter as many tokens of the language model's width.

    Untrained it returns pooled base tokens, projected.

    Args:
        width: d, of the base tokens; a multiple of 64.
        expert_widths: Channels of each expert, in the order of the routing bits.
        count: N, tokens of the base grid; a square of an even side.
        llm_width: D.
        depth: Blocks.
        topk: Experts that keep a weight in a block.

    Raises:
        ConfigError: A size does not fit.

    Source: MoVA, `MoVAdapter`; the text encoder in front of it is BERT-large, whose first token of
    the conversation's questions is `text`.
    """

    def __init__(
        self,
        width: int = 1024,
        expert_widths: Sequence[int] = (1536, 512, 256, 1536, 768, 768, 256),
        count: int = 2304,
        llm_width: int = 4096,
        depth: int = 3,
        topk: int = 3,
    ) -> None:
        super().__init__()
        side = math.isqrt(count)
        if side * side != count or side % 2:
            raise ConfigError(
                f"MoV-Adapter needs a square grid of an even side, got {count} cells."
            )
        self.widths = (width, *expert_widths)
        self.pos_embed = nn.Parameter(torch.zeros(1, count, width))
        self.blocks = nn.ModuleList(AdapterBlock(width, expert_widths, topk) for _ in range(depth))
        self.downsample = nn.Sequential(
            DownsampleStage(width), nn.AvgPool2d(2), DownsampleStage(width)
        )
        self.mlp = nn.Sequential(
            nn.Linear(width, llm_width), nn.GELU(), nn.Linear(llm_width, llm_width)
        )

    def forward(self, features: Tensor, text: Tensor, routing: Tensor) -> Tensor:
        """Return (B, N / 4, llm_width).

        Args:
            features: (B, N, d + all expert channels), base first.
            text: (B, 1024).
            routing: (B, E), 1 for an expert that is chosen.

        Raises:
            OpError: A shape does not fit.
        """
        fits = features.ndim == 3 and features.shape[1:] == (
            self.pos_embed.shape[1],
            sum(self.widths),
        )
        if not fits or routing.shape != (len(features), len(self.widths) - 1):
            raise OpError(
                f"MoV-Adapter needs features (B, {self.pos_embed.shape[1]}, {sum(self.widths)}) "
                f"and routing (B, {len(self.widths) - 1}), got {tuple(features.shape)} and "
                f"{tuple(routing.shape)}."
            )
        base, *experts = torch.split(features, list(self.widths), dim=2)
        routing = routing.float()
        x = base + self.pos_embed
        for block in self.blocks:
            x = block(x, experts, text, routing)
        side = math.isqrt(x.shape[1])
        grid = ((x + base) / 2).mT.reshape(len(x), -1, side, side)
        out: Tensor = self.mlp(self.downsample(grid).flatten(2).mT)
        return out
