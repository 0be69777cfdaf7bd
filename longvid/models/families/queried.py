"""Families whose language model is shown what learned queries read of a picture.

Of each frame the language model gets as many tokens as there are queries, and none of them has a
place in the frame: they are kept as one row. The encoder runs the queries where it keeps projected
tokens; where it keeps the tower's, a compressor of the same checkpoint (`compress.learned_queries`)
runs them, and both make tokens of one space.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from longvid.errors import ModelError
from longvid.lazy_import import no_grad, torch
from longvid.models.families.hf_family import Adapter
from longvid.models.families.llava import StillTower
from longvid.models.families.protocol import PROJECTED, TOWER, Projector, Tower


@dataclass(frozen=True, slots=True)
class QueriedAdapter(Adapter):
    """A family with queries between its tower and its language model.

    Args:
        queries: Submodules that read what the tower gives.
        num_queries: Reads from the configuration how many tokens they make of a frame.
        class_tokens: Tokens of the tower that stand for the whole frame, before its patches.
    """

    queries: tuple[str, ...] = ()
    num_queries: Callable[[Any], int] = lambda config: 0
    class_tokens: int = 0

    @property
    def between(self) -> tuple[str, ...]:
        return self.queries

    def frame_grid(self, config: Any, patches: tuple[int, int], keep: str) -> tuple[int, int]:
        if keep == PROJECTED:
            return 1, self.num_queries(config)
        rows, columns = patches
        return (1, self.class_tokens + rows * columns) if self.class_tokens else patches

    def tower_width(self, folder: Path, grid: str) -> int:
        return int(self.stated(folder).vision_config.hidden_size)

    def load_tower(
        self, folder: Path, grid: str, dtype: torch.dtype, device: str, keep: str = PROJECTED
    ) -> Tower:
        dropped = (*self.parts_of_text, *(self.queries if keep == TOWER else ()))
        return self.tower(self._load(folder, dropped, dtype, device), grid)

    def load_projector(self, folder: Path, dtype: torch.dtype, device: str) -> Projector:  # type: ignore[override]  # it has none
        """Refuse: queries read a frame as a whole."""
        raise ModelError(
            f"{folder} is of the family {self.name}, whose queries read whole frames; let a "
            "compressor of the checkpoint run them while indexing."
        )


class QueriedTower(StillTower):
    """A vision tower, with the queries that read it or without.

    Args:
        module: The model.
        patches: Runs the tower, pixels (T, 3, H, W) to tokens on their grid (T, h, w, C).
        read: Runs the queries, (T, N, C) to (T, queries, D); None leaves the tower's tokens.
    """

    def __init__(
        self,
        module: Any,
        patches: Callable[[torch.Tensor], torch.Tensor],
        read: Callable[[torch.Tensor], torch.Tensor] | None,
    ) -> None:
        self.module = module
        self._patches, self._read = patches, read
        config = module.config.vision_config if read is None else module.config.text_config
        self.token_width = int(config.hidden_size)

    @no_grad
    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        """Turn normalised pixels (T, 3, H, W) into (T, h, w, C), or (T, 1, queries, D)."""
        tokens = self._patches(pixels)
        if self._read is None:
            return tokens
        return self._read(tokens.flatten(1, 2))[:, None]
