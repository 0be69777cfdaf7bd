"""The spatial vision aggregator (SVA) of Cambrian-1 and LongVU: fuse two towers into one grid.

Every cell of a coarse grid asks the patches under it, of all towers at once, what is there. One
learned query serves all cells; they differ by the patches they see. Parameter names are those of
the released checkpoints.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from longvid.errors import ModelError, OpError
from longvid.models.weights import load_parameters
from longvid.systems.longvu.padded_grid import group_patches

_NUM_HEADS = 16

# Frames in memory at one time, as the original encodes them; it changes no number.
_BLOCK_FRAMES = 64


def _normed_linear(width: int, hidden: int) -> nn.Sequential:
    return nn.Sequential(nn.LayerNorm(width), nn.Linear(width, hidden, bias=False))


class _CrossAttention(nn.Module):
    """Attend to the patches of all towers together, each with its own keys and values."""

    def __init__(self, width: int, num_towers: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.q_proj = _normed_linear(width, width)
        for tower in range(num_towers):
            self.add_module(f"k_proj_{tower}", _normed_linear(width, width))
            self.add_module(f"v_proj_{tower}", _normed_linear(width, width))
        self.o_proj = nn.Linear(width, width, bias=False)

    def forward(self, queries: Tensor, towers: Sequence[Tensor], mask: Tensor) -> Tensor:
        keys = [self.get_submodule(f"k_proj_{k}")(x) for k, x in enumerate(towers)]
        values = [self.get_submodule(f"v_proj_{k}")(x) for k, x in enumerate(towers)]
        q, k, v = (
            rearrange(x, "b n (a c) -> b a n c", a=self.num_heads)
            for x in (self.q_proj(queries), torch.cat(keys, 1), torch.cat(values, 1))
        )
        attended = F.scaled_dot_product_attention(q, k, v, attn_mask=mask[:, None, None, :])
        out: Tensor = self.o_proj(rearrange(attended, "b a n c -> b n (a c)"))
        return out


class _Mlp(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear_1 = nn.Linear(width, width, bias=False)
        self.linear_2 = nn.Linear(width, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.linear_2(F.gelu(self.linear_1(x)))
        return out


class _SamplerLayer(nn.Module):
    """u = W_in [q; W_ctx ctx];  q <- q + W_b GELU(W_a LN(u + attention(u)))."""

    def __init__(self, width: int, group_sides: Sequence[int], num_heads: int) -> None:
        super().__init__()
        self.proj_context = nn.Linear(width, width, bias=False)
        self.proj_in = nn.Linear(2 * width, width, bias=False)
        self.proj_out = _Mlp(width)
        self.norm = nn.LayerNorm(width)
        self.cross_attn = _CrossAttention(width, len(group_sides), num_heads)
        for tower, side in enumerate(group_sides):
            if side > 1:  # a group of one patch needs no position
                position = nn.Parameter(torch.randn(side * side, width))
                self.register_parameter(f"pos_embed_{tower}", position)

    def forward(
        self, queries: Tensor, context: Tensor, towers: Sequence[Tensor], mask: Tensor
    ) -> Tensor:
        u = self.proj_in(torch.cat([queries, self.proj_context(context)], dim=-1))
        placed = [
            x + self.get_parameter(f"pos_embed_{k}") if x.shape[1] > 1 else x
            for k, x in enumerate(towers)
        ]
        change: Tensor = self.proj_out(self.norm(u + self.cross_attn(u, placed, mask)))
        return queries + change


class VisionTokenSampler(nn.Module):
    """The stack of cross-attention layers of one grid of queries.

    Args:
        width: Width of queries and of the projected tower tokens.
        group_sides: For each tower, the side of the patch group under a query.
        depth: Number of layers.
        num_heads: Attention heads.

    Source: Cambrian-1 section 3; LongVU, `vision_sampler.py`.
    """

    def __init__(
        self, width: int, group_sides: Sequence[int], depth: int, num_heads: int = _NUM_HEADS
    ) -> None:
        super().__init__()
        if width % num_heads:
            raise ModelError(
                f"SVA width {width} is not a multiple of its {num_heads} attention heads."
            )
        self.group_sides = tuple(group_sides)
        self.layers = nn.ModuleList(
            _SamplerLayer(width, group_sides, num_heads) for _ in range(depth)
        )

    def forward(
        self, queries: Tensor, context: Tensor, groups: Sequence[Tensor], masks: Sequence[Tensor]
    ) -> Tensor:
        """Let each query look at its group in every tower.

        Args:
            queries: (B, 1, width).
            context: (B, 1, width), the mean of the frame each query belongs to.
            groups: For each tower (B, r * r, width).
            masks: For each tower (B, r * r) bool, false for patches that are not seen.

        Returns:
            (B, 1, width).

        Raises:
            OpError: A group has another size than the sampler was built for.
        """
        sizes = tuple(x.shape[1] for x in groups)
        if sizes != tuple(side * side for side in self.group_sides):
            raise OpError(
                f"The aggregator was built for patch groups of {self.group_sides} a side and got "
                f"groups of {sizes} patches; query_num of the configuration must be the "
                "checkpoint's (144 for video, 576 for image)."
            )
        mask = torch.cat(list(masks), dim=1)
        for layer in self.layers:
            queries = layer(queries, context, groups, mask)
        return queries


class SpatialVisionAggregator(nn.Module):
    """Project two towers, aggregate them on the query grid, and project to the language model.

    Args:
        tower_widths: Token width of each tower; the first gives the context of a frame.
        tower_sides: Side of the patch grid of each tower.
        query_side: Side of the query grid, which must divide every tower's.
        width: Width inside the aggregator.
        llm_width: Token width D of the language model.
        depth: Number of layers.
        num_heads: Attention heads.

    Source: LongVU section 3.1, `cambrian_arch.py`; the defaults are the released sizes.
    """

    def __init__(
        self,
        tower_widths: Sequence[int] = (1152, 1536),
        tower_sides: Sequence[int] = (24, 24),
        query_side: int = 12,
        width: int = 1024,
        llm_width: int = 3584,
        depth: int = 3,
        num_heads: int = _NUM_HEADS,
    ) -> None:
        super().__init__()
        for side in tower_sides:
            if side % query_side:
                raise ModelError(
                    f"A tower grid of side {side} does not divide among {query_side} x "
                    f"{query_side} queries."
                )
        self.query_side = query_side
        self.num_towers = len(tower_widths)
        for tower, tower_width in enumerate(tower_widths):
            self.add_module(
                f"mm_projector_aux_{tower}",
                nn.Sequential(
                    nn.Linear(tower_width, width),
                    nn.GELU(),
                    nn.Linear(width, width),
                    nn.LayerNorm(width),
                ),
            )
        group_sides = [side // query_side for side in tower_sides]
        self.vision_sampler_0 = VisionTokenSampler(width, group_sides, depth, num_heads)
        self.vision_query = nn.Parameter(torch.randn(1, width) / math.sqrt(width))
        self.mm_projector = nn.Sequential(
            nn.Linear(width, llm_width), nn.GELU(), nn.Linear(llm_width, llm_width)
        )

    def aggregate(self, towers: Sequence[Tensor], width: int, height: int) -> Tensor:
        """Fuse the towers of each frame into one grid.

        Args:
            towers: For each tower (F, P_k, C_k).
            width: Width of the picture before padding, as `grid.content_box` reads it.
            height: Height of the picture.

        Returns:
            (F, query_side * query_side, width of the aggregator), not yet projected.

        Raises:
            OpError: The towers are not those the aggregator was built for.
        """
        if len(towers) != self.num_towers:
            raise OpError(f"The aggregator has {self.num_towers} towers, got {len(towers)}.")
        blocks = zip(*(torch.split(tower, _BLOCK_FRAMES) for tower in towers), strict=True)
        return torch.cat([self._aggregate_block(block, width, height) for block in blocks])

    def _aggregate_block(self, towers: Sequence[Tensor], width: int, height: int) -> Tensor:
        projected = [self.get_submodule(f"mm_projector_aux_{k}")(x) for k, x in enumerate(towers)]
        num_frames, num_queries = len(projected[0]), self.query_side**2
        context = projected[0].mean(1).repeat_interleave(num_queries, dim=0)[:, None]
        grouped = [group_patches(x, self.query_side, width, height) for x in projected]
        queries = self.vision_query.expand(num_frames * num_queries, 1, -1)
        aggregated: Tensor = self.vision_sampler_0(
            queries, context, [groups for groups, _ in grouped], [mask for _, mask in grouped]
        )
        return rearrange(aggregated, "(f q) 1 d -> f q d", f=num_frames)

    def project(self, x: Tensor) -> Tensor:
        """Project aggregated tokens (F, n, width) to the language model's width (F, n, D)."""
        tokens: Tensor = self.mm_projector(x)
        return tokens


def load_released(aggregator: SpatialVisionAggregator, state: dict[str, Tensor]) -> Tensor:
    """Load the aggregator from a released checkpoint and return its newline token.

    Takes the parameters of the aggregator, with or without the leading `model.`; the language
    model is left out.

    Returns:
        `image_newline` (D,).

    Raises:
        ModelError: A parameter is missing or has another shape.
    """
    plain = {name.removeprefix("model."): value for name, value in state.items()}
    if "image_newline" not in plain:
        raise ModelError("The LongVU checkpoint has no image_newline, which ends a row of tokens.")
    hint = "a checkpoint for images (576 queries) has no pos_embed"
    load_parameters(aggregator, plain, "LongVU", hint)
    return plain["image_newline"]
