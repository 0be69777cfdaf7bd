"""Outlines of shapes, the sign's panel and its glyphs, as signed distance fields.

Every outline lives in the square [-RANGE, RANGE]² where a radius is 1; the field is negative inside
and its unit is the radius, so one table serves every size, angle and sub-pixel offset.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from longvid.models.mini_vocabulary import SHAPES, SIGNS

RANGE = 1.3
SIDE = 96
PANEL_ID = len(SHAPES)
GLYPH_ID = PANEL_ID + 1
"""Index of the first glyph; glyph i of `SIGNS` is `GLYPH_ID + i`."""

_GLYPHS = {  # five columns, seven rows
    "c": "01110 10001 10000 10000 10000 10001 01110",
    "e": "11111 10000 10000 11110 10000 10000 11111",
    "f": "11111 10000 10000 11110 10000 10000 10000",
    "h": "10001 10001 10001 11111 10001 10001 10001",
    "j": "00111 00010 00010 00010 00010 10010 01100",
    "k": "10001 10010 10100 11000 10100 10010 10001",
    "l": "10000 10000 10000 10000 10000 10000 11111",
    "m": "10001 11011 10101 10101 10001 10001 10001",
    "p": "11110 10001 10001 11110 10000 10000 10000",
    "r": "11110 10001 10001 11110 10100 10010 10001",
    "t": "11111 00100 00100 00100 00100 00100 00100",
    "v": "10001 10001 10001 10001 10001 01010 00100",
    "w": "10001 10001 10001 10101 10101 11011 10001",
    "x": "10001 10001 01010 00100 01010 10001 10001",
    "y": "10001 10001 01010 00100 00100 00100 00100",
    "2": "01110 10001 00001 00110 01000 10000 11111",
    "3": "11110 00001 00001 01110 00001 00001 11110",
    "4": "00010 00110 01010 10010 11111 00010 00010",
    "5": "11111 10000 11110 00001 00001 10001 01110",
    "6": "01110 10000 10000 11110 10001 10001 01110",
    "7": "11111 00001 00010 00100 00100 01000 01000",
    "8": "01110 10001 10001 01110 10001 10001 01110",
    "9": "01110 10001 10001 01111 00001 00001 01110",
}
_CELL = 0.2


def inside(outline: int, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Tell which points lie inside an outline of radius 1 (y points down)."""
    return np.asarray(_inside(outline, x, y), dtype=bool)


def _inside(outline: int, x: np.ndarray, y: np.ndarray) -> Any:
    radius = np.hypot(x, y)
    if outline == PANEL_ID:
        return np.maximum(np.abs(x), np.abs(y)) <= 0.95
    if outline >= GLYPH_ID:
        rows = _GLYPHS[SIGNS[outline - GLYPH_ID]].split()
        bitmap = np.array([[digit == "1" for digit in row] for row in rows])
        column = np.floor(x / _CELL + 2.5).astype(int)
        row = np.floor(y / _CELL + 3.5).astype(int)
        valid = (column >= 0) & (column < 5) & (row >= 0) & (row < 7)
        return valid & bitmap[np.clip(row, 0, 6), np.clip(column, 0, 4)]
    name = SHAPES[outline]
    if name == "circle":
        return radius <= 0.92
    if name == "square":
        return np.maximum(np.abs(x), np.abs(y)) <= 0.8
    if name == "triangle":
        return (y <= 0.75) & (np.abs(x) * 1.75 <= (y + 1.0) * 0.95)
    if name == "star":
        angle = np.mod(np.arctan2(x, -y) + np.pi / 5, 2 * np.pi / 5) - np.pi / 5
        px, py = radius * np.cos(angle), radius * np.abs(np.sin(angle))
        inner_x, inner_y = 0.45 * np.cos(np.pi / 5), 0.45 * np.sin(np.pi / 5)
        return (inner_x - 1.0) * py - inner_y * (px - 1.0) >= 0.0
    if name == "cross":
        arm = (np.abs(x) <= 0.3) | (np.abs(y) <= 0.3)
        return arm & (np.maximum(np.abs(x), np.abs(y)) <= 0.95)
    if name == "ring":
        return (radius <= 1.0) & (radius >= 0.52)
    if name == "moon":
        return (radius <= 1.0) & (np.hypot(x - 0.45, y) >= 0.8)
    hx, hy = 1.15 * x, 0.1 - 1.15 * y  # heart
    return (hx**2 + hy**2 - 1.0) ** 3 - hx**2 * hy**3 <= 0.0


@lru_cache(maxsize=1)
def distance_fields() -> np.ndarray:
    """Return the table of distances, (outlines, SIDE, SIDE) float32 in units of the radius."""
    axis = (np.arange(SIDE) + 0.5) / SIDE * 2 * RANGE - RANGE
    fine = (np.arange(2 * SIDE) + 0.5) / SIDE * RANGE - RANGE
    y, x = np.meshgrid(axis, axis, indexing="ij")
    fine_y, fine_x = np.meshgrid(fine, fine, indexing="ij")
    points = np.stack([x.ravel(), y.ravel()], axis=1)
    fields = []
    for outline in range(GLYPH_ID + len(SIGNS)):
        mask = inside(outline, fine_x, fine_y)
        across, down = mask[:, 1:] != mask[:, :-1], mask[1:] != mask[:-1]
        half = RANGE / SIDE / 2
        border = np.concatenate(
            [
                np.stack([fine_x[:, 1:][across] - half, fine_y[:, 1:][across]], axis=1),
                np.stack([fine_x[1:][down], fine_y[1:][down] - half], axis=1),
            ]
        )
        square = (points**2).sum(1)[:, None] + (border**2).sum(1)[None] - 2 * points @ border.T
        distance = np.sqrt(np.maximum(square.min(axis=1), 0.0)).reshape(SIDE, SIDE)
        fields.append(np.where(inside(outline, x, y), -distance, distance))
    return np.stack(fields).astype(np.float32)
