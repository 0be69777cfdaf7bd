"""Pooling: every frame keeps a coarser picture of itself, at places known beforehand.

The published formulas are functions of `longvid.models`; these parts apply them to the frames of
a segment and keep account of where the pooled tokens lie and what they stand for.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from longvid.compress.grid import (
    FrameGroup,
    Placed,
    concatenate,
    equal_groups,
    full_grids,
    gather,
    grid_centres,
)
from longvid.errors import ConfigError, OpError
from longvid.lazy_import import torch
from longvid.methods import slowfast_pooling
from longvid.methods.content_tokens import content_tokens, grid_size
from longvid.methods.token_pooling import describe, pool_cells, require_finite
from longvid.types import Segment, Tokens

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class SlowFastPooling:
    """Pool slow frames finely and all frames coarsely (SlowFast-LLaVA), within one segment.

    Which frames are slow was decided when they were sampled (`segment.slow`). The original shows
    all slow tokens of a video first and the fast ones after them; here they stay in time order,
    a frame's slow tokens before its fast ones. `longvid.methods.slowfast_pooling.aggregate` has the
    original order. Needs full square patch grids.

    Args:
        slow_mode: How slow frames are pooled, one of `slowfast_pooling.POOLING_MODES`.
            temporal_global_pool puts its tokens at the mean slow frame; spatial_temporal_pool
            makes 2304 tokens whatever it is given, which no segment is meant to hold.
        slow_height, slow_width: A grid that slow frames are averaged to, in place of `slow_mode`,
            which divides a side by 2 at most; 0 and 0 for none. Not of the original.
        fast_height, fast_width: The coarse grid.
        fast_sees_slow: Slow frames have fast tokens too, as published, except in a segment that
            would grow by it. Otherwise a frame is either slow or fast.

    Source: SlowFast-LLaVA, section 3.2.
    """

    # An odd grid loses its last row and column (2-D modes) or its last patch (1-D modes), and
    # the two pathways count a slow frame twice.
    conserves_size: ClassVar[bool] = False

    slow_mode: str = "spatial_1d_max_pool"
    slow_height: int = 0
    slow_width: int = 0
    fast_height: int = 4
    fast_width: int = 4
    fast_sees_slow: bool = True

    def __post_init__(self) -> None:
        if self.fast_height < 1 or self.fast_width < 1:
            raise ConfigError(
                "slowfast_pooling needs a fast grid of at least 1x1, got "
                f"{self.fast_height}x{self.fast_width}."
            )
        if min(self.slow_height, self.slow_width) < bool(self.slow_height or self.slow_width):
            raise ConfigError(
                "slowfast_pooling needs a slow grid of at least 1x1, or 0x0 for none, got "
                f"{self.slow_height}x{self.slow_width}."
            )
        if self.slow_mode == "spatial_temporal_pool":
            raise ConfigError(
                "slowfast_pooling.slow_mode 'spatial_temporal_pool' makes 2304 tokens of a whole "
                "video and cannot compress its segments; use temporal_global_pool or a spatial "
                "mode."
            )
        self._layout()

    def _layout(self) -> slowfast_pooling.SlowFastLayout:
        return slowfast_pooling.SlowFastLayout(
            slow_mode=self.slow_mode, fast_height=self.fast_height, fast_width=self.fast_width
        )

    def setup(self, device: str = "cpu") -> SlowFastPooling | Placed:
        return self if device == "cpu" else Placed(self, device)

    def __call__(self, segment: Segment) -> Segment:
        """Pool one segment.

        Raises:
            OpError: A token is not finite, or a frame is not a full square grid at least as fine
                as the fast grid.
        """
        require_finite("slowfast_pooling", segment)
        slow = segment.slow.to(segment.tokens.data.device)
        pathways: tuple[list[Tokens], list[Tokens], list[Tokens]] = ([], [], [])
        for group in full_grids("slowfast_pooling", segment):
            self._require_fit(group, segment)
            is_slow = slow[group.frames]
            if bool(is_slow.any()):
                pathways[0].append(self._slow(segment.tokens, _subset(group, is_slow)))
                pathways[1].append(self._fast(segment.tokens, _subset(group, is_slow)))
            if not bool(is_slow.all()):
                pathways[2].append(self._fast(segment.tokens, _subset(group, ~is_slow)))
        of_slow, again, of_fast = pathways
        total = sum(len(piece) for pieces in pathways for piece in pieces)
        if not self.fast_sees_slow or total > len(segment.tokens):
            again = []
        return segment.with_tokens(concatenate([*of_slow, *again, *of_fast], segment.tokens))

    def _require_fit(self, group: FrameGroup, segment: Segment) -> None:
        if group.height != group.width:
            raise OpError(
                f"slowfast_pooling: frame {int(group.frames[0])} has a grid of "
                f"{group.height}x{group.width} patches, in {describe(segment)}; it must be "
                "square, so use grid_pooling, or let the encoder pad frames (encoder.fit = 'pad')."
            )
        least = max(self.fast_height, self.fast_width, self.slow_height, self.slow_width, 2)
        if group.height < least:
            slow = f"{self.slow_height}x{self.slow_width}" if self.slow_height else "half a side"
            raise OpError(
                f"slowfast_pooling: frames of {group.height}x{group.width} patches cannot be "
                f"pooled to {slow} and to a fast grid of {self.fast_height}x{self.fast_width}, in "
                f"{describe(segment)}; lower fast_height and fast_width, slow_height and "
                "slow_width, or leave out slowfast_pooling."
            )

    def _slow(self, tokens: Tokens, group: FrameGroup) -> Tokens:
        if self.slow_height:
            return _averaged(tokens, group, self.slow_height, self.slow_width)
        data = slowfast_pooling.pool(gather(tokens.data, group.tokens), self.slow_mode)
        # Where tokens lie is an average of places, also where their data is a maximum.
        facts = slowfast_pooling.pool(
            _facts(tokens, group), self.slow_mode.replace("_max_", "_avg_")
        )
        if self.slow_mode.startswith("spatial_1d"):
            patches = 2.0
        elif self.slow_mode.startswith("spatial_2d"):
            patches = 4.0
        else:
            patches = group.tokens.numel() / len(data)
        return Tokens(
            data=data,
            frame=facts[:, 2].floor().int(),
            position=facts[:, :2].contiguous(),
            size=facts[:, 3] * patches,
        )

    def _fast(self, tokens: Tokens, group: FrameGroup) -> Tokens:
        return _averaged(tokens, group, self.fast_height, self.fast_width)


@dataclass(frozen=True, slots=True)
class ContentTokens:
    """Describe a frame by one content token, or by a small grid of them (LLaMA-VID).

    The tokens are those that the encoder keeps, by default as the language model reads them. The
    original pools before its projector, as `encoder.keep = "tower"` has it; for a projector that
    is not linear the two differ.

    Args:
        content: "none" keeps all tokens. "mean" is one token per frame; merged tokens weigh as
            much as the patches they stand for. "grid:k" averages blocks of floor(side / k)
            patches of a full square grid, as many as fit, which is k x k where k divides it.

    Source: LLaMA-VID, section 3.2; `llamavid_arch.py`.
    """

    # Under grid:k a side that k does not divide loses its last rows and columns.
    conserves_size: ClassVar[bool] = False

    content: str = "mean"

    def __post_init__(self) -> None:
        grid_size(self.content)

    def setup(self, device: str = "cpu") -> ContentTokens | Placed:
        return self if device == "cpu" else Placed(self, device)

    def __call__(self, segment: Segment) -> Segment:
        """Pool one segment.

        Raises:
            OpError: A token is not finite; under "grid:k", a frame is not a full square grid of
                at least k rows.
        """
        require_finite("content_tokens", segment)
        tokens = segment.tokens
        if self.content == "none":
            return segment
        if self.content == "mean" and not bool((tokens.size == 1).all()):
            return segment.with_tokens(pool_cells(tokens, 1, 1))
        if self.content == "mean":
            counts = tokens.counts(segment.num_frames)
            runs = equal_groups(counts.cumsum(0) - counts, counts)
            groups = [(frames, index) for frames, index in runs]
        else:
            grids = full_grids("content_tokens", segment)
            groups = [(group.frames, group.tokens) for group in grids]
        return segment.with_tokens(
            concatenate([self._pool(tokens, frames, index) for frames, index in groups], tokens)
        )

    def _pool(self, tokens: Tokens, frames: Tensor, index: Tensor) -> Tokens:
        data = content_tokens(gather(tokens.data, index), self.content)  # (K, n, D)
        size = content_tokens(gather(tokens.size, index).unsqueeze(2), self.content)
        position = content_tokens(gather(tokens.position, index), self.content)
        grid = grid_size(self.content) or 1
        patches = index.shape[1] if grid == 1 else (math.isqrt(index.shape[1]) // grid) ** 2
        return Tokens(
            data=data.flatten(0, 1),
            frame=frames.int().repeat_interleave(data.shape[1]),
            position=position.flatten(0, 1),
            size=size.flatten() * patches,
        )


@dataclass(frozen=True, slots=True)
class GridPooling:
    """Average each frame's tokens over the cells of a coarse grid, whatever tokens it holds.

    A token belongs to the cell that its position lies in, so the frames need no full grid:
    merged and pruned frames pool too. A cell without tokens gives none.

    Args:
        height, width: The grid.
    """

    conserves_size: ClassVar[bool] = True

    height: int = 4
    width: int = 4

    def __post_init__(self) -> None:
        if self.height < 1 or self.width < 1:
            raise ConfigError(
                f"grid_pooling needs a grid of at least 1x1, got {self.height}x{self.width}."
            )

    def setup(self, device: str = "cpu") -> GridPooling | Placed:
        return self if device == "cpu" else Placed(self, device)

    def __call__(self, segment: Segment) -> Segment:
        require_finite("grid_pooling", segment)
        return segment.with_tokens(pool_cells(segment.tokens, self.height, self.width))


def _averaged(tokens: Tokens, group: FrameGroup, height: int, width: int) -> Tokens:
    """Average every frame of a group over a height x width grid, as the fast pathway does."""
    layout = slowfast_pooling.SlowFastLayout(fast_height=height, fast_width=width)
    num_cells = height * width
    centres = grid_centres(height, width, tokens.data.device)
    size = slowfast_pooling.fast_tokens(gather(tokens.size, group.tokens).unsqueeze(2), layout)
    return Tokens(
        data=slowfast_pooling.fast_tokens(gather(tokens.data, group.tokens), layout),
        frame=group.frames.int().repeat_interleave(num_cells),
        position=centres.repeat(len(group.frames), 1),
        size=size.flatten() * (group.tokens.shape[1] / num_cells),
    )


def _subset(group: FrameGroup, mask: Tensor) -> FrameGroup:
    return FrameGroup(group.frames[mask], group.tokens[mask], group.height, group.width)


def _facts(tokens: Tokens, group: FrameGroup) -> Tensor:
    """Return (K, n, 4) float32: row, column, frame and size of the tokens of a group."""
    index = group.tokens
    return torch.cat(
        [
            gather(tokens.position, index),
            tokens.frame[index].float().unsqueeze(2),
            gather(tokens.size, index).unsqueeze(2),
        ],
        dim=2,
    )
