"""Fit outlines of the drawn world to a picture: draw them as the painter does, and compare.

What is drawn is a flat shape with a rim of a pixel on a background; JPEG and H.264 keep its
lightness and halve its color. The fit moves, scales and turns an outline until a drawing of it, its
color blurred as theirs, differs least from the picture. A pixel's difference counts at most so
much, so that what is in front of a shape does not pull it away.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from longvid.world.atlas import RANGE, SIDE, distance_fields
from longvid.world.draw import COLOR_RGB, DARK, LIGHT, OUTLINE_PIXELS

Floats = npt.NDArray[np.float32]

#: RGB to lightness and two differences of color, as JPEG has them.
_YCBCR = np.array(
    [[0.299, 0.587, 0.114], [-0.1687, -0.3313, 0.5], [0.5, -0.4187, -0.0813]], dtype=np.float32
)
_BLACK = len(COLOR_RGB) - 1
#: A pixel's squared difference counts at most this much.
_MOST = 0.05
#: Steps of the first round, of the place in pixels, of the radius in its own measure, in radians.
_STEP_PIXELS, _STEP_RADIUS, _STEP_ANGLE = 1.0, 0.10, 0.13
_ROUNDS, _ROUNDS_OF_ALL = 7, 3
#: Larger windows are looked at in every second or third pixel each way.
_SIDE = 36
_MARGIN = 3
#: What a turned outline must be better by: few things spin.
_TURNED = 0.002


@dataclass(frozen=True, slots=True)
class Outline:
    """A shape of the world in a picture: place and radius in pixels, angle in radians."""

    shape: int
    x: float
    y: float
    radius: float
    angle: float = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class Window:
    """A part of a picture.

    Args:
        left, top: Where it begins, pixels.
        step: Of its pixels in the picture, each way.
        planes: (h, w, 3) lightness and colors, as of `planes_of`.
        background: (3,) of what is around the shape.
    """

    left: int
    top: int
    step: int
    planes: Floats
    background: Floats


def planes_of(picture: npt.NDArray[np.uint8]) -> Floats:
    """Return lightness and two differences of color of a picture (H, W, 3), in units of one."""
    scaled = picture.astype(np.float32) / 255
    return np.asarray(scaled @ _YCBCR.T)


def window_around(planes: Floats, box: Sequence[int]) -> Window:
    """Cut a window around a region; the median at its edges is the background.

    Where the region is large, its color is not blurred and fewer pixels say as much.

    Args:
        planes: Of the whole picture.
        box: Left, top, right, bottom of the region, pixels.
    """
    left, top, right, bottom = box
    reach_x, reach_y = _MARGIN + (right - left) // 3, _MARGIN + (bottom - top) // 3
    columns = slice(max(0, left - reach_x), min(planes.shape[1], right + reach_x))
    rows = slice(max(0, top - reach_y), min(planes.shape[0], bottom + reach_y))
    part = planes[rows, columns]
    edges = (part[:2], part[-2:], part[:, :2], part[:, -2:])
    background = np.median(np.concatenate([edge.reshape(-1, 3) for edge in edges]), axis=0)
    step = max(1, max(part.shape[:2]) // _SIDE)
    part = part[::step, ::step]
    return Window(columns.start, rows.start, step, part, background.astype(np.float32))


def fit(
    window: Window, color: int, starts: Sequence[Outline], refined: int = 5
) -> tuple[Outline, float]:
    """Return the outline that fits best, and how much it differs, 0 for not at all.

    Args:
        window: Where it is.
        color: Index into the world's colors.
        starts: Guesses, at least one.
        refined: The best guess of that many shapes is moved.
    """
    tables = _Tables.of(window, color)
    given = np.array([(s.shape, s.x, s.y, np.log(s.radius), s.angle) for s in starts], np.float64)
    costs = tables.costs(given)
    order = np.argsort(costs, kind="stable")
    _, first = np.unique(given[order, 0], return_index=True)
    best = order[np.sort(first)[:refined]]
    found, cost = given[best], costs[best]
    step = np.array([0, _STEP_PIXELS, _STEP_PIXELS, _STEP_RADIUS, _STEP_ANGLE])
    moves = np.concatenate([np.diag(step)[1:], -np.diag(step)[1:]])
    for number in range(_ROUNDS):
        if number == _ROUNDS_OF_ALL:
            leading = np.argsort(cost, kind="stable")[:2]
            found, cost = found[leading], cost[leading]
        tried = (found[:, None] + moves).reshape(-1, 5)
        of_moves = tables.costs(tried).reshape(len(found), -1)
        # All moves that help are made at once where that helps more than the best alone.
        gain = np.maximum(0, cost[:, None] - of_moves)
        weight = gain / np.maximum(gain.max(axis=1, keepdims=True), 1e-12)
        together = found + weight @ moves
        of_together = tables.costs(together)
        single = found + moves[of_moves.argmin(axis=1)]
        of_single = of_moves.min(axis=1)
        for candidate, candidate_cost in ((single, of_single), (together, of_together)):
            better = candidate_cost < cost
            found = np.where(better[:, None], candidate, found)
            cost = np.where(better, candidate_cost, cost)
        moves = moves * np.where(gain.max() > 0, 0.7, 0.5)
    one = int(cost.argmin())
    shape, x, y, log_radius, angle = found[one].tolist()
    return Outline(int(shape), x, y, float(np.exp(log_radius)), angle), float(cost[one])


@dataclass(frozen=True, slots=True, eq=False)
class _Tables:
    """What every drawing into one window needs."""

    window: Window
    fill: Floats  # (3,)
    edge: Floats  # (3,)

    @classmethod
    def of(cls, window: Window, color: int) -> _Tables:
        edge = LIGHT if color == _BLACK else DARK
        fill = _YCBCR @ np.array(COLOR_RGB[color], np.float32)
        return cls(window, fill, _YCBCR @ np.full(3, edge, np.float32))

    def costs(self, outlines: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Return each drawing's mean difference, (K,); a row is shape, x, y, log radius, angle."""
        height, width = self.window.planes.shape[:2]
        shape = outlines[:, 0].astype(np.int64)
        radius = np.exp(outlines[:, 3])
        across = self.window.step * np.arange(width) + 0.5 + self.window.left
        down = self.window.step * np.arange(height) + 0.5 + self.window.top
        dx = (across[None] - outlines[:, 1, None]) / radius[:, None]
        dy = (down[None] - outlines[:, 2, None]) / radius[:, None]
        cos, sin = np.cos(outlines[:, 4])[:, None, None], np.sin(outlines[:, 4])[:, None, None]
        u = cos * dx[:, None, :] + sin * dy[:, :, None]
        v = cos * dy[:, :, None] - sin * dx[:, None, :]
        scale = SIDE / (2 * RANGE)
        column = ((u + RANGE) * scale).clip(0, SIDE - 1).astype(np.int64)
        row = ((v + RANGE) * scale).clip(0, SIDE - 1).astype(np.int64)
        fields = distance_fields()
        distance = fields[shape[:, None, None], row, column] * radius[:, None, None]
        fill = (0.5 - distance).clip(0, 1).astype(np.float32)[..., None]
        rim = (0.5 + OUTLINE_PIXELS - distance).clip(0, 1).astype(np.float32)[..., None]
        drawn = self.window.background + rim * (self.edge - self.window.background)
        drawn = drawn + fill * (self.fill - drawn)
        if self.window.step == 1:
            drawn[..., 1:] = _blurred(drawn[..., 1:])
        error = ((drawn - self.window.planes) ** 2).sum(axis=-1)
        turned = _TURNED * (np.abs(outlines[:, 4]) > 1e-9)
        return np.asarray(np.minimum(error, _MOST).mean(axis=(1, 2)) / _MOST + turned)


def _blurred(planes: Floats) -> Floats:
    """Blur (K, h, w, 2) over three pixels each way, as halving and doubling a plane does."""
    wide = np.pad(planes, ((0, 0), (1, 1), (0, 0), (0, 0)), mode="edge")
    planes = np.asarray((wide[:, :-2] + 2 * wide[:, 1:-1] + wide[:, 2:]) / 4, np.float32)
    wide = np.pad(planes, ((0, 0), (0, 0), (1, 1), (0, 0)), mode="edge")
    return np.asarray((wide[:, :, :-2] + 2 * wide[:, :, 1:-1] + wide[:, :, 2:]) / 4, np.float32)
