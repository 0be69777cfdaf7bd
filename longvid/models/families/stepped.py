"""What families share that see each step of a video as a picture of its own, its time as text."""

from __future__ import annotations

from longvid.lazy_import import torch
from longvid.models.families.positions import SteppedPositions
from longvid.models.families.qwen2_5_vl import GridDecoder, PairTower


class MeanTimeTower(PairTower):
    """A tower whose steps are shown at the mean of their frames' times."""

    def step_seconds(self, pts_seconds: torch.Tensor) -> torch.Tensor:
        """Say when steps are shown, (steps, 2) to (steps,)."""
        return (pts_seconds[:, 0] + pts_seconds[:, -1]) / 2


class SteppedDecoder(GridDecoder):
    """A language model with three rotary axes, on which every step starts anew."""

    positions = SteppedPositions
