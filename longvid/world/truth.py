"""Where every thing of a film truly is: the boxes of its outlines, at any time.

The painter knows each thing's place, size and angle; a box is what the outline spans, without the
dark rim that is drawn around it, cut to the frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch

from longvid.models.mini_vocabulary import SHAPES
from longvid.world.atlas import RANGE, inside
from longvid.world.draw import pack, pose
from longvid.world.scene import SIGN_RADIUS, Film
from longvid.world.views import SIGN_SLOT

_PANEL_HALF = 0.95
_GRID = 201

Corners = tuple[float, float, float, float]


def outline_extents(shape: int, angle: float) -> Corners:
    """Return what an outline of radius 1 spans when turned: left, top, right, bottom.

    Args:
        shape: Index into `SHAPES`.
        angle: Radians, as the painter turns it.
    """
    points = _points(shape)
    cos, sin = np.cos(angle), np.sin(angle)
    x = cos * points[:, 0] - sin * points[:, 1]
    y = sin * points[:, 0] + cos * points[:, 1]
    return float(x.min()), float(y.min()), float(x.max()), float(y.max())


def true_boxes(
    film: Film, things: Sequence[tuple[int, int]], pts_seconds: Sequence[float]
) -> dict[tuple[int, int], dict[int, Corners]]:
    """Return the box of each thing in each frame that shows it.

    Args:
        film: Any film.
        things: (shot, number) of things, `SIGN_SLOT` for a shot's sign.
        pts_seconds: Times of the frames.

    Returns:
        For each thing, boxes in [0, 1] by the frame's place in `pts_seconds`.
    """
    shots, fractions = film.locate(np.asarray(pts_seconds, dtype=np.float64))
    poses = pose(
        pack(film.shots), torch.from_numpy(shots), torch.from_numpy(fractions.astype(np.float32))
    )
    found: dict[tuple[int, int], dict[int, Corners]] = {thing: {} for thing in things}
    for shot, slot in things:
        for frame in np.flatnonzero(shots == shot).tolist():
            if slot == SIGN_SLOT:
                sign = film.shots[shot]
                reach = SIGN_RADIUS * _PANEL_HALF
                x, y = sign.sign_x, sign.sign_y
                found[shot, slot][frame] = _cut((x - reach, y - reach, x + reach, y + reach))
            elif bool(poses.visible[frame, slot]):
                x, y, radius, angle = (
                    float(value[frame, slot])
                    for value in (poses.x, poses.y, poses.radius, poses.angle)
                )
                extents = outline_extents(int(poses.shape[frame, slot]), round(angle, 2))
                left, top, right, bottom = (radius * edge for edge in extents)
                found[shot, slot][frame] = _cut((x + left, y + top, x + right, y + bottom))
    return found


@lru_cache(maxsize=len(SHAPES))
def _points(shape: int) -> np.ndarray:
    axis = np.linspace(-RANGE, RANGE, _GRID)
    y, x = np.meshgrid(axis, axis, indexing="ij")
    within = inside(shape, x, y)
    return np.stack([x[within], y[within]], axis=1)


def _cut(box: Corners) -> Corners:
    left, top, right, bottom = (min(1.0, max(0.0, edge)) for edge in box)
    return left, top, right, bottom
