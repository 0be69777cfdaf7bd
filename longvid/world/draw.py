"""Frames from shots: a batched painter in torch that runs on any device.

Each thing is painted in a small window around it, for all frames at once: one gather from the
distance fields gives the outline at any size, angle and sub-pixel place. Its slow twin draws
without windows (`tests/reference/world_drawing.py`); the two agree to one grey level.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from longvid.world.atlas import GLYPH_ID, PANEL_ID, RANGE, SIDE, distance_fields
from longvid.world.scene import (
    APPEARS,
    AROUND,
    BOUNCE,
    BOUNCE_HEIGHT,
    CHANGES,
    COLLIDES,
    GROW,
    ORBIT_RADIUS,
    SHRINK,
    SIGN_RADIUS,
    SPIN,
    VANISHES,
    Shot,
)

MAX_THINGS = 4
MAX_RADIUS = 0.19
OUTLINE_PIXELS = 1.0
NOISE_SIDE = 256

COLOR_RGB = (
    (0.86, 0.12, 0.12),  # red
    (0.10, 0.70, 0.18),  # green
    (0.12, 0.26, 0.92),  # blue
    (0.97, 0.90, 0.10),  # yellow
    (0.60, 0.14, 0.74),  # purple
    (1.00, 0.52, 0.05),  # orange
    (1.00, 1.00, 1.00),  # white
    (0.03, 0.03, 0.03),  # black
)
BACKGROUND_RGB = (
    (0.36, 0.50, 0.27),  # grass
    (0.33, 0.50, 0.64),  # water
    (0.72, 0.63, 0.44),  # sand
    (0.58, 0.36, 0.29),  # brick
    (0.46, 0.46, 0.47),  # stone
    (0.78, 0.81, 0.84),  # snow
)
DARK, LIGHT = 0.07, 0.93
PANEL_GRAY, GLYPH_GRAY = 0.96, 0.05

# columns of ShotTable.things
_SHAPE, _COLOR, _RADIUS, _X, _Y, _TO_X, _TO_Y, _MOTION, _TURNS, _PHASE, _EVENT, _AT, _AFTER = range(
    13
)


@dataclass(frozen=True, slots=True)
class ShotTable:
    """Shots as arrays: things (S, 4, 13) f32, present (S, 4) bool, scenery (S, 7) f32.

    The scenery columns are background, three texture numbers in [0, 1), sign (-1 none), sign x,
    sign y.
    """

    things: Tensor
    present: Tensor
    scenery: Tensor


@dataclass(frozen=True, slots=True)
class Poses:
    """Where and how each thing is seen in each frame: all (N, 4); `color` changes with events."""

    shape: Tensor
    color: Tensor
    x: Tensor
    y: Tensor
    radius: Tensor
    angle: Tensor
    visible: Tensor


def pack(shots: Sequence[Shot], device: torch.device | str = "cpu") -> ShotTable:
    """Lay shots out as arrays on a device."""
    things = np.zeros((len(shots), MAX_THINGS, 13), dtype=np.float32)
    present = np.zeros((len(shots), MAX_THINGS), dtype=bool)
    rows: list[tuple[float, ...]] = []
    slots: list[tuple[int, int]] = []
    for index, shot in enumerate(shots):
        for slot, t in enumerate(shot.things):
            slots.append((index, slot))
            rows.append(
                (t.shape, t.color, t.radius, t.x, t.y, t.to_x, t.to_y, t.motion, t.turns, t.phase,
                 t.event, t.event_at, t.color_after)
            )  # fmt: skip
    if rows:
        at = np.asarray(slots)
        things[at[:, 0], at[:, 1]] = rows
        present[at[:, 0], at[:, 1]] = True
    scenery = np.asarray(
        [(s.background, *s.texture, s.sign, s.sign_x, s.sign_y) for s in shots], dtype=np.float32
    ).reshape(len(shots), 7)
    return ShotTable(
        torch.from_numpy(things).to(device),
        torch.from_numpy(present).to(device),
        torch.from_numpy(scenery).to(device),
    )


def pose(table: ShotTable, shot_index: Tensor, fraction: Tensor) -> Poses:
    """Place every thing of every frame.

    Args:
        shot_index: (N,) int64 rows of the table.
        fraction: (N,) float32, how much of the shot has passed.
    """
    thing = table.things[shot_index]  # (N, 4, 13)
    u = fraction.to(thing.dtype)[:, None].expand(-1, MAX_THINGS)
    column = thing.unbind(-1)
    motion, event, at = column[_MOTION], column[_EVENT], column[_AT]
    turn = column[_TURNS] * u + column[_PHASE]
    ahead = torch.where(event == COLLIDES, 1.0 - (u / at - 1.0).abs(), u)
    x = column[_X] + (column[_TO_X] - column[_X]) * ahead
    y = column[_Y] + (column[_TO_Y] - column[_Y]) * ahead
    around = motion == AROUND
    x = torch.where(around, x + ORBIT_RADIUS * torch.cos(2 * math.pi * turn), x)
    y = torch.where(around, y + ORBIT_RADIUS * torch.sin(2 * math.pi * turn), y)
    y = torch.where(motion == BOUNCE, y - BOUNCE_HEIGHT * torch.sin(math.pi * turn).abs(), y)
    radius = column[_RADIUS]
    radius = torch.where(motion == GROW, radius * (0.45 + 0.55 * u), radius)
    radius = torch.where(motion == SHRINK, radius * (1.0 - 0.55 * u), radius)
    angle = torch.where(motion == SPIN, 2 * math.pi * turn, torch.zeros_like(turn))
    visible = table.present[shot_index]
    visible = visible & ~((event == APPEARS) & (u < at)) & ~((event == VANISHES) & (u >= at))
    color = torch.where((event == CHANGES) & (u >= at), column[_AFTER], column[_COLOR])
    return Poses(column[_SHAPE].long(), color.long(), x, y, radius, angle, visible)


class Painter:
    """Draw frames of one size on one device."""

    def __init__(self, size: int = 64, device: torch.device | str = "cpu") -> None:
        self.size = size
        self.device = torch.device(device)
        self._fields = torch.from_numpy(distance_fields()).to(device).reshape(-1)
        self._noise = torch.from_numpy(_noise()).to(device)
        self._colors = torch.tensor(COLOR_RGB, device=device)
        self._window = 2 * math.ceil(MAX_RADIUS * size + 1 + OUTLINE_PIXELS)
        self._offsets = torch.arange(self._window, device=device, dtype=torch.float32)

    @torch.no_grad()
    def draw(self, table: ShotTable, shot_index: Tensor, fraction: Tensor) -> Tensor:
        """Draw N frames, (N, 3, size, size) uint8 RGB.

        Args:
            shot_index: (N,) int64 rows of the table.
            fraction: (N,) float32 in [0, 1], how much of the shot has passed.
        """
        poses = pose(table, shot_index, fraction)
        shots, inverse = torch.unique(shot_index, return_inverse=True)
        canvas = self._backgrounds(table.scenery[shots])[inverse]  # (N, size, size, 3)
        flat = canvas.reshape(-1, 3)
        for slot in range(MAX_THINGS):
            at = poses.visible[:, slot].nonzero()[:, 0]
            if len(at):
                color = poses.color[at, slot]
                edge = torch.where(color == _BLACK, LIGHT, DARK)
                self._paint(
                    flat, at, poses.shape[at, slot], poses.x[at, slot], poses.y[at, slot],
                    poses.radius[at, slot], poses.angle[at, slot], self._colors[color], edge,
                )  # fmt: skip
        scenery = table.scenery[shot_index]
        at = (scenery[:, 4] >= 0).nonzero()[:, 0]
        if len(at):
            sign, x, y = scenery[at, 4].long(), scenery[at, 5], scenery[at, 6]
            radius, zero = torch.full_like(x, SIGN_RADIUS), torch.zeros_like(x)
            panel = torch.full((len(at), 3), PANEL_GRAY, device=self.device)
            glyph = torch.full((len(at), 3), GLYPH_GRAY, device=self.device)
            edge = torch.full_like(x, DARK)
            panel_id = torch.full_like(sign, PANEL_ID)
            self._paint(flat, at, panel_id, x, y, radius, zero, panel, edge)
            self._paint(flat, at, GLYPH_ID + sign, x, y, radius, zero, glyph, None)
        frames = (canvas * 255.0 + 0.5).to(torch.uint8)
        return frames.permute(0, 3, 1, 2).contiguous()

    def _paint(
        self,
        flat: Tensor,
        frame: Tensor,
        outline: Tensor,
        x: Tensor,
        y: Tensor,
        radius: Tensor,
        angle: Tensor,
        color: Tensor,
        edge: Tensor | None,
    ) -> None:
        """Paint one thing into each of the named frames; flat is (N*size*size, 3)."""
        size, window = self.size, self._window
        pixel_x, pixel_y, pixel_r = x * size, y * size, radius * size
        left = (pixel_x - window / 2).round().clamp(0, size - window)
        top = (pixel_y - window / 2).round().clamp(0, size - window)
        dx = (left[:, None] + self._offsets + 0.5 - pixel_x[:, None]) / pixel_r[:, None]  # (n, W)
        dy = (top[:, None] + self._offsets + 0.5 - pixel_y[:, None]) / pixel_r[:, None]
        cos, sin = torch.cos(angle)[:, None, None], torch.sin(angle)[:, None, None]
        across = cos * dx[:, None, :] + sin * dy[:, :, None]  # (n, W, W)
        down = cos * dy[:, :, None] - sin * dx[:, None, :]
        scale = SIDE / (2 * RANGE)
        column = ((across + RANGE) * scale).clamp_(0, SIDE - 1).int()
        row = ((down + RANGE) * scale).clamp_(0, SIDE - 1).int()
        index = row.mul_(SIDE).add_(column).add_((outline * (SIDE * SIDE)).int()[:, None, None])
        distance = self._fields[index] * pixel_r[:, None, None]  # pixels
        row_start = (frame[:, None] * size + top.long()[:, None] + self._offsets.long()) * size
        target = row_start[:, :, None] + (left.long()[:, None] + self._offsets.long())[:, None, :]
        target = target.reshape(-1)
        under = flat[target].reshape(len(frame), window * window, 3)
        fill = (0.5 - distance).clamp_(0, 1).reshape(len(frame), -1, 1)
        if edge is not None:
            rim = (0.5 + OUTLINE_PIXELS - distance).clamp_(0, 1).reshape(len(frame), -1, 1)
            under = under.lerp(edge[:, None, None].expand_as(under), rim)
        flat[target] = under.lerp(color[:, None].expand_as(under), fill).reshape(-1, 3)

    def _backgrounds(self, scenery: Tensor) -> Tensor:
        """Draw textured backgrounds: (S, 7) scenery to (S, size, size, 3)."""
        size = self.size
        axis = (torch.arange(size, device=self.device) + 0.5) / size
        kind = scenery[:, 0].long()
        seed = scenery[:, 1:4]
        canvas = torch.empty(len(scenery), size, size, 3, device=self.device)
        for value, base in enumerate(BACKGROUND_RGB):
            at = (kind == value).nonzero()[:, 0]
            if len(at):
                light = _texture(value, self._noise, seed[at], axis)  # (n, size, size)
                color = torch.tensor(base, device=self.device) * (0.9 + 0.2 * seed[at, 2, None])
                canvas[at] = (color[:, None, None] + light[..., None]).clamp_(0, 1)
        return canvas


_BLACK = len(COLOR_RGB) - 1


def _noise() -> np.ndarray:
    """Return the bank of noise textures are cut from: (NOISE_SIDE, NOISE_SIDE) in [-1, 1]."""
    rng = np.random.Generator(np.random.Philox(key=[20_260, 1]))
    return (rng.random((NOISE_SIDE, NOISE_SIDE), dtype=np.float32) * 2 - 1).astype(np.float32)


def _texture(kind: int, noise: Tensor, seed: Tensor, axis: Tensor) -> Tensor:
    """Return the lightness texture of one kind of background: (n, 3) seeds to (n, size, size)."""
    offset = (seed[:, :2] * NOISE_SIDE).floor()
    x, y = axis[None, None, :], axis[None, :, None]
    s0, s1 = seed[:, 0, None, None], seed[:, 1, None, None]

    def cut(columns: float, rows: float) -> Tensor:
        column = ((axis * columns).floor()[None] + offset[:, :1]).long() % NOISE_SIDE
        row = ((axis * rows).floor()[None] + offset[:, 1:]).long() % NOISE_SIDE
        return noise[row[:, :, None], column[:, None, :]]

    if kind == 0:  # grass: upright blades
        return 0.07 * cut(48, 8)
    if kind == 1:  # water: level waves
        wave = torch.sin(2 * math.pi * (y * (5 + 3 * s0) + s1 + 0.15 * torch.sin(9 * x + 6 * s0)))
        return 0.06 * wave.expand(-1, len(axis), -1)
    if kind == 2:  # sand: fine grains
        return 0.05 * cut(64, 64)
    if kind == 3:  # brick: courses and mortar
        course = (y * 8 + s0).expand(-1, -1, len(axis))
        brick = x * 4 + s1 + 0.5 * (course.floor() % 2)
        mortar = (course % 1.0 < 0.2) | (brick % 1.0 < 0.1)
        return torch.where(mortar, 0.12, 0.02 * cut(4, 8))
    if kind == 4:  # stone: broad patches
        return 0.06 * cut(7, 7) + 0.02 * cut(32, 32)
    return -0.10 * (cut(40, 40) > 0.9).float()  # snow: a few dark specks
