"""Find shapes of the drawn world in a picture, by colour and outline; nothing here is trained.

A region of pixels near one of the world's colours is compared with the outline of every shape at
every angle, scaled to the region; the share that they have in common is the score. The best of them
are guesses that `outline_fit` moves until a drawing of one fits the picture. It knows the world's
eight colours and eight shapes, and finds nothing in real footage but chance.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image

from longvid.methods.tracking import Detection
from longvid.models.mini_vocabulary import COLORS, SHAPES
from longvid.world.atlas import inside
from longvid.world.draw import COLOR_RGB
from longvid.world.outline_fit import Outline, fit, planes_of, window_around
from longvid.world.scene import ROUND_SHAPES
from longvid.world.truth import outline_extents

_REACH = 0.30  # of a colour, in RGB from 0 to 1; the nearest two are 0.41 apart
_LEAST_SIDE, _MOST_SIDE = 0.06, 0.5
_ANGLES = 24
_CELLS = 24
_SIDE = 192  # pixels that the longer side has at least
_RIM = 1 / 3  # pixels
_CLEAR = 0.85  # of a region that is seen as a whole
_MOST_DIFFERENCE = 0.5
_DARK, _LEAST_GLYPH = 0.5, 0.06


def find_shapes(picture: np.ndarray, colors: Collection[str] = COLORS) -> list[Detection]:
    """Return every shape found, labelled "red star", best first.

    Args:
        picture: (H, W, 3) uint8.
        colors: Only shapes of these are looked for.
    """
    pixels = _enlarged(picture).astype(np.float32) / 255
    palette = np.asarray(COLOR_RGB, dtype=np.float32)
    squares = (pixels**2).sum(axis=2, keepdims=True) + (palette**2).sum(axis=1)
    distance = squares - 2 * (pixels @ palette.T)
    nearest = distance.argmin(axis=2)
    near = distance.min(axis=2) < _REACH**2
    times = near.shape[0] // picture.shape[0]
    planes = planes_of(picture)
    found: list[Detection] = []
    for color in np.unique(nearest[near]).tolist():
        if COLORS[color] not in colors:
            continue
        for mask, top, left in _regions(near & (nearest == color)):
            region = _Region(mask, top, left, near.shape, times)
            one = _matched(region, color, planes)
            if one is not None:
                found.append(one)
    return sorted(found, key=lambda one: -one.score)


@dataclass(frozen=True, slots=True, eq=False)
class _Region:
    """Connected pixels of one colour, in their box of an enlarged picture."""

    mask: np.ndarray
    top: int
    left: int
    size: tuple[int, ...]
    times: int

    @property
    def box(self) -> tuple[float, float, float, float]:
        """Return left, top, right, bottom in pixels of the picture as it was."""
        height, width = self.mask.shape
        left, top, times = self.left, self.top, self.times
        return left / times, top / times, (left + width) / times, (top + height) / times


def _enlarged(picture: np.ndarray) -> np.ndarray:
    """Return a small picture larger: edges then fall between its pixels."""
    height, width = picture.shape[:2]
    times = -(-_SIDE // max(height, width))
    if times <= 1:
        return picture
    image = Image.fromarray(np.ascontiguousarray(picture))
    return np.asarray(image.resize((times * width, times * height), Image.Resampling.BICUBIC))


def _matched(region: _Region, color: int, planes: np.ndarray) -> Detection | None:
    """Compare a region with all outlines, and fit the best of them; None where none fits."""
    height, width = region.mask.shape
    sides = height / region.size[0], width / region.size[1]
    if min(sides) < _LEAST_SIDE or max(sides) > _MOST_SIDE or not _is_thick(region):
        return None
    shapes, angles, templates, extents, areas, centers = _templates()
    # The region as its own box shows it, and each outline as its own box does: no scale is left.
    rows = ((np.arange(_CELLS) + 0.5) * height / _CELLS).astype(int)
    columns = ((np.arange(_CELLS) + 0.5) * width / _CELLS).astype(int)
    seen = region.mask[rows][:, columns]
    shared = (templates & seen).sum(axis=(1, 2))
    score = shared / (templates | seen).sum(axis=(1, 2))
    # A turned outline spans a box of its own aspect.
    aspect = (extents[:, 2] - extents[:, 0]) / (extents[:, 3] - extents[:, 1])
    ratio = aspect * height / width
    score = score * np.minimum(ratio, 1 / ratio)
    order = np.argsort(-score, kind="stable")
    _, first = np.unique(shapes[order], return_index=True)
    starts = []
    for place in order[np.sort(first)].tolist():  # of each shape, at the best angle
        x, y, radius = _placed(region, float(areas[place]), centers[place])
        starts.append(Outline(int(shapes[place]), x, y, radius, float(angles[place])))
    is_clear = score[order[0]] >= _CLEAR
    if not is_clear:
        starts += _partly_hidden(region.box)
    left, top, right, bottom = region.box
    outside = (int(left), int(top), int(np.ceil(right)), int(np.ceil(bottom)))
    window = window_around(planes, outside)
    one, difference = fit(window, color, starts, 3 if is_clear else 5)
    if difference > _MOST_DIFFERENCE or _is_sign(planes, one, color):
        return None
    edges = np.array(outline_extents(one.shape, round(one.angle, 2))) * one.radius
    box = np.array([one.x, one.y, one.x, one.y]) + edges
    box = (box / np.array([planes.shape[1], planes.shape[0]] * 2)).clip(0, 1)
    corners = float(box[0]), float(box[1]), float(box[2]), float(box[3])
    return Detection(f"{COLORS[color]} {SHAPES[one.shape]}", corners, 1.0 - difference)


def _is_thick(region: _Region) -> bool:
    """Tell a shape from a rim: somewhere it is more than two pixels thick."""
    side = 2 * region.times + 1
    if min(region.mask.shape) < side:
        return False
    sums = np.pad(region.mask.cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))
    blocks = sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side] + sums[:-side, :-side]
    return bool(blocks.max() == side * side)


def _is_sign(planes: np.ndarray, one: Outline, color: int) -> bool:
    """Tell a sign's panel from a white square: it has a dark glyph on it."""
    if (COLORS[color], SHAPES[one.shape]) != ("white", "square"):
        return False
    reach = one.radius / 2
    rows = slice(max(0, round(one.y - reach)), max(1, round(one.y + reach)))
    columns = slice(max(0, round(one.x - reach)), max(1, round(one.x + reach)))
    lightness = planes[rows, columns, 0]
    return bool(lightness.size) and float((lightness < _DARK).mean()) > _LEAST_GLYPH


def _placed(region: _Region, area: float, center: np.ndarray) -> tuple[float, float, float]:
    """Return place and radius, in pixels of the picture, of an outline with a region's area.

    The rim around a shape mixes into its outermost pixels, so that a region ends a third of a
    pixel inside the outline.
    """
    mask, times = region.mask, region.times
    wide = np.pad(mask, 1)
    edges = (wide[1:] != wide[:-1]).sum() + (wide[:, 1:] != wide[:, :-1]).sum()
    radius = np.sqrt((mask.sum() + _RIM * times * edges * np.pi / 4) / area)
    rows, columns = np.nonzero(mask)
    x = region.left + columns.mean() + 0.5 - radius * center[0]
    y = region.top + rows.mean() + 0.5 - radius * center[1]
    return float(x) / times, float(y) / times, float(radius) / times


def _partly_hidden(box: tuple[float, float, float, float]) -> list[Outline]:
    """Guess every upright shape that ends where a region does, on three of its four sides."""
    left, top, right, bottom = box
    guesses = []
    for shape in range(len(SHAPES)):
        from_left, from_top, from_right, from_bottom = outline_extents(shape, 0.0)
        by_height = (bottom - top + 2 * _RIM) / (from_bottom - from_top)
        by_width = (right - left + 2 * _RIM) / (from_right - from_left)
        x, y = (left + right) / 2, (top + bottom) / 2
        middle_x, middle_y = (from_left + from_right) / 2, (from_top + from_bottom) / 2
        mean = (by_height + by_width) / 2
        guesses += [
            Outline(shape, x - mean * middle_x, y - mean * middle_y, mean),
            Outline(shape, left - by_height * from_left, y - by_height * middle_y, by_height),
            Outline(shape, right - by_height * from_right, y - by_height * middle_y, by_height),
            Outline(shape, x - by_width * middle_x, top - by_width * from_top, by_width),
            Outline(shape, x - by_width * middle_x, bottom - by_width * from_bottom, by_width),
        ]
    return guesses


@lru_cache(maxsize=1)
def _templates() -> tuple[np.ndarray, ...]:
    """Return shapes (n,), angles (n,), outlines in their own boxes (n, CELLS, CELLS), extents
    (n, 4), areas (n,) and centres of mass (n, 2) of outlines of radius 1."""
    shapes, angles, outlines, extents, areas, centers = [], [], [], [], [], []
    steps = (np.arange(_CELLS) + 0.5) / _CELLS
    for shape in range(len(SHAPES)):
        for number in range(1 if shape in ROUND_SHAPES else _ANGLES):
            angle = 2 * np.pi * number / _ANGLES
            left, top, right, bottom = outline_extents(shape, angle)
            x, y = np.meshgrid(left + steps * (right - left), top + steps * (bottom - top))
            cos, sin = np.cos(angle), np.sin(angle)
            outline = inside(shape, cos * x + sin * y, cos * y - sin * x)
            outlines.append(outline)
            areas.append(outline.mean() * (right - left) * (bottom - top))
            centers.append((x[outline].mean(), y[outline].mean()))
            extents.append((left, top, right, bottom))
            shapes.append(shape)
            angles.append(angle)
    tables = (shapes, angles, outlines, extents, areas, centers)
    return tuple(np.asarray(table) for table in tables)


def _regions(mask: np.ndarray) -> list[tuple[np.ndarray, int, int]]:
    """Return the connected regions of a mask: each in its box, with the box's top and left."""
    parent: list[int] = []

    def root(label: int) -> int:
        while parent[label] != label:
            parent[label] = parent[parent[label]]
            label = parent[label]
        return label

    runs: list[tuple[int, int, int, int]] = []  # row, start, end, label
    above: list[tuple[int, int, int, int]] = []
    for row in range(mask.shape[0]):
        edges = np.flatnonzero(np.diff(np.concatenate([[False], mask[row], [False]])))
        here = []
        for start, end in edges.reshape(-1, 2).tolist():
            label = len(parent)
            parent.append(label)
            for _, other_start, other_end, other in above:
                if other_start < end and start < other_end:
                    parent[root(label)] = root(other)
            here.append((row, start, end, label))
        runs += here
        above = here
    grouped: dict[int, list[tuple[int, int, int, int]]] = {}
    for run in runs:
        grouped.setdefault(root(run[3]), []).append(run)
    regions = []
    for members in grouped.values():
        top, bottom = members[0][0], members[-1][0] + 1
        left, right = min(run[1] for run in members), max(run[2] for run in members)
        region = np.zeros((bottom - top, right - left), dtype=bool)
        for row, start, end, _ in members:
            region[row - top, start - left : end - left] = True
        regions.append((region, top, left))
    return regions
