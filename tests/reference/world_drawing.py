"""Frames of the drawn world, thing by thing: the slow twin of `longvid.world.draw.Painter`."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch

from longvid.world.atlas import GLYPH_ID, PANEL_ID, RANGE, SIDE, distance_fields
from longvid.world.draw import (
    _BLACK,
    BACKGROUND_RGB,
    COLOR_RGB,
    DARK,
    GLYPH_GRAY,
    LIGHT,
    MAX_THINGS,
    OUTLINE_PIXELS,
    PANEL_GRAY,
    _noise,
    _texture,
    pack,
    pose,
)
from longvid.world.scene import (
    SIGN_RADIUS,
    Shot,
)


def draw_one(shot: Shot, fraction: float, size: int = 64) -> np.ndarray:
    """Draw one frame the slow way, thing by thing over the whole frame: (3, size, size) uint8."""
    table = pack([shot])
    poses = pose(table, torch.zeros(1, dtype=torch.long), torch.tensor([fraction]))
    axis = (torch.arange(size) + 0.5) / size
    seed = table.scenery[:, 1:4]
    light = _texture(shot.background, torch.from_numpy(_noise()), seed, axis)[0].numpy()
    base = np.asarray(BACKGROUND_RGB[shot.background], dtype=np.float32)
    base = base * np.float32(0.9 + 0.2 * shot.texture[2])
    canvas = np.clip(base + light[..., None], 0, 1).astype(np.float32)
    pixels = np.arange(size, dtype=np.float32) + 0.5

    def paint(
        outline: int, x: float, y: float, radius: float, angle: float,
        color: Sequence[float], edge: float | None,
    ) -> None:  # fmt: skip
        dx = (pixels - x * size)[None, :] / (radius * size)
        dy = (pixels - y * size)[:, None] / (radius * size)
        across = math.cos(angle) * dx + math.sin(angle) * dy
        down = math.cos(angle) * dy - math.sin(angle) * dx
        column = np.clip((across + RANGE) * SIDE / (2 * RANGE), 0, SIDE - 1).astype(int)
        row = np.clip((down + RANGE) * SIDE / (2 * RANGE), 0, SIDE - 1).astype(int)
        distance = distance_fields()[outline][row, column] * radius * size
        near = np.maximum(np.abs(across), np.abs(down)) <= RANGE * math.sqrt(2)
        fill = np.clip(0.5 - distance, 0, 1) * near
        if edge is not None:
            rim = np.clip(0.5 + OUTLINE_PIXELS - distance, 0, 1) * near
            canvas[:] = canvas + rim[..., None] * (edge - canvas)
        canvas[:] = canvas + fill[..., None] * (np.asarray(color, dtype=np.float32) - canvas)

    for slot in range(MAX_THINGS):
        if poses.visible[0, slot]:
            color = int(poses.color[0, slot])
            place = (poses.x, poses.y, poses.radius, poses.angle)
            x, y, radius, angle = (float(value[0, slot]) for value in place)
            edge = LIGHT if color == _BLACK else DARK
            paint(int(poses.shape[0, slot]), x, y, radius, angle, COLOR_RGB[color], edge)
    if shot.sign >= 0:
        x, y = shot.sign_x, shot.sign_y
        paint(PANEL_ID, x, y, SIGN_RADIUS, 0.0, (PANEL_GRAY,) * 3, DARK)
        paint(GLYPH_ID + shot.sign, x, y, SIGN_RADIUS, 0.0, (GLYPH_GRAY,) * 3, None)
    frame: np.ndarray = (canvas * 255.0 + 0.5).astype(np.uint8)
    return frame.transpose(2, 0, 1)
