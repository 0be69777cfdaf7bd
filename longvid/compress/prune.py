"""Pruning: tokens that repeat what an earlier frame shows at the same place are left out.

Cosine similarities are an op; these parts know windows, thresholds and ratios.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

from longvid.compress.grid import Placed, equal_groups, gather, same_grid
from longvid.errors import ConfigError, OpError, require_at_least
from longvid.lazy_import import ops, torch
from longvid.methods.token_pooling import require_finite
from longvid.types import Segment, Tokens

if TYPE_CHECKING:
    from torch import Tensor


class GridPruning(ABC):
    """Prune by comparing tokens at the same place of different frames."""

    __slots__ = ()

    name: ClassVar[str]
    conserves_size: ClassVar[bool] = False

    def setup(self, device: str = "cpu") -> Self | Placed:
        return self if device == "cpu" else Placed(self, device)

    def __call__(self, segment: Segment) -> Segment:
        if len(segment.tokens) == 0:
            return segment
        tokens = segment.tokens
        refused_later = self._refuses(segment) and not tokens.data.is_cuda
        if not refused_later:
            require_finite(self.name, segment)
        index = same_grid(self.name, segment)
        try:
            data, keep = self._prune(gather(tokens.data, index))
        except OpError:
            require_finite(self.name, segment)  # says which token it is
            raise
        kept = index[keep]
        return segment.with_tokens(
            Tokens(data, tokens.frame[kept], tokens.position[kept], tokens.size[kept])
        )

    def _refuses(self, segment: Segment) -> bool:
        """Tell whether `_prune` itself refuses what is not finite, in every channel of a token.

        Then tokens are read once less, which costs as much as pruning them.
        """
        return False

    @abstractmethod
    def _prune(self, data: Tensor) -> tuple[Tensor, Tensor]:
        """Return those of the tokens (T, n, D) that stay, (K, D), and mark them, (T, n) bool."""


@dataclass(frozen=True, slots=True)
class SpatialTokenCompression(GridPruning):
    """Keep the first frame of every window, and of the others what differs from it (LongVU STC).

    A token goes when its cosine similarity to the token at the same place of the window's first
    frame reaches the threshold.

    Args:
        window: Frames per window, counted from the start of the segment.
        threshold: Similarity from which a token counts as a repetition. 0.8 in training and for
            EgoSchema and MVBench, 0.65 for VideoMME, 0.77 for MLVU, 0.75 in the paper.

    Source: LongVU, section 3.3; `cambrian_arch.py`.
    """

    name: ClassVar[str] = "stc"

    window: int = 8
    threshold: float = 0.8

    def __post_init__(self) -> None:
        require_at_least("stc.window", self.window, 1)
        if not -1 <= self.threshold <= 1:
            raise ConfigError(f"stc.threshold is a cosine in [-1, 1], got {self.threshold}.")

    def _prune(self, data: Tensor) -> tuple[Tensor, Tensor]:
        packed, keep, cu_seqlens = ops.prune(data, self.window, self.threshold)
        return packed[: int(cu_seqlens[-1])], keep


@dataclass(frozen=True, slots=True)
class DyCoke(GridPruning):
    """Prune the most repetitive tokens of every second frame, then of every fourth (DyCoke TTM).

    Frame 1 of every pair keeps the tokens least similar to frame 0 at the same place; then, of
    every two pairs, the second pair's frame 0 does so with regard to the first pair's.

    Args:
        ratio: Share of the tokens of such a frame that go.

    Three things differ from the official code. It keeps int((1 - ratio) * N) tokens, 58 of 196 at
    0.7 where this keeps 59, because 1 - 0.7 is rounded down. It leaves the last group of four
    frames without the second step, and it drops the last frame of an odd number; here every group
    is pruned and no frame is dropped.

    Source: DyCoke, section 3.2 (token temporal merging); `llava_arch.py`.
    """

    name: ClassVar[str] = "dycoke"

    ratio: float = 0.7

    def __post_init__(self) -> None:
        if not 0 <= self.ratio <= 1:
            raise ConfigError(f"dycoke.ratio must be in [0, 1], got {self.ratio}.")

    def _prune(self, data: Tensor) -> tuple[Tensor, Tensor]:
        keep = torch.ones(data.shape[:2], dtype=torch.bool, device=data.device)
        num_kept = data.shape[1] - int(data.shape[1] * self.ratio)
        for step in (1, 2):  # frames 1, 3, 5, ... against 0, 2, 4, ...; then 2, 6, ... against 0, 4
            similarity = ops.token_cosine(data[::step], 2)[1::2]
            order = similarity.sort(dim=1, stable=True).indices[:, :num_kept]
            keep[step :: 2 * step] = torch.zeros_like(similarity, dtype=torch.bool).scatter_(
                1, order, True
            )
        return data[keep], keep


@dataclass(frozen=True, slots=True)
class RandomPruning:
    """Keep a random share of each frame's tokens: the baseline that every method must beat.

    Args:
        ratio: Share of tokens that go; every frame keeps at least one.
        seed: Gives the same tokens for the same segment of the same video every time.
    """

    conserves_size: ClassVar[bool] = False

    ratio: float = 0.5
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.ratio <= 1:
            raise ConfigError(f"random.ratio must be in [0, 1], got {self.ratio}.")

    def setup(self, device: str = "cpu") -> RandomPruning:
        return self

    def __call__(self, segment: Segment) -> Segment:
        # A segment draws the same numbers whichever worker handles it, in whatever order.
        name = f"{self.seed}/{segment.video_id}/{segment.segment_index}"
        seed = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=7).digest())
        generator = torch.Generator().manual_seed(seed)
        tokens = segment.tokens
        draw = torch.rand(len(tokens), generator=generator)
        counts = tokens.counts(segment.num_frames)
        keep = torch.zeros(len(tokens), dtype=torch.bool)
        for _, index in equal_groups(counts.cumsum(0) - counts, counts):
            num_kept = max(1, index.shape[1] - int(index.shape[1] * self.ratio))
            chosen = draw[index].sort(dim=1, stable=True).indices[:, :num_kept]
            keep[index.gather(1, chosen)] = True
        return segment.with_tokens(tokens.keep(keep))
