"""Find shapes of the drawn world in a picture, by colour and outline; nothing here is trained.

A region of pixels near one of the world's colours is compared with the outline of every shape at
every angle, scaled to the region; the share that they have in common is the score. It knows the
world's eight colours and eight shapes, and finds nothing in real footage but chance.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from PIL import Image

from longvid.methods.tracking import Detection
from longvid.models.mini_vocabulary import COLORS, SHAPES
from longvid.world.atlas import inside
from longvid.world.draw import COLOR_RGB
from longvid.world.scene import ROUND_SHAPES
from longvid.world.truth import outline_extents

__all__ = ["find_shapes"]

_REACH = 0.30  # of a colour, in RGB from 0 to 1; the nearest two are 0.41 apart
_LEAST_SIDE, _MOST_SIDE = 0.06, 0.5
_ANGLES = 24
_CELLS = 24
_SIDE = 192  # pixels that the longer side has at least
_LEAST_SCORE = 0.6
_RIM = 1 / 3  # pixels


def find_shapes(picture: np.ndarray) -> list[Detection]:
    """Return every shape found, labelled "red star", best first.

    The rim around a shape mixes into its outermost pixels, so that a region ends a third of a pixel
    inside the outline and lacks its tips; the box is that of the outline of the region's area, the
    lost edge added, at the region's centre.

    Args:
        picture: (H, W, 3) uint8.
    """
    pixels = _enlarged(picture).astype(np.float32) / 255
    palette = np.asarray(COLOR_RGB, dtype=np.float32)
    distance = np.linalg.norm(pixels[:, :, None] - palette, axis=3)
    nearest = distance.argmin(axis=2)
    near = distance.min(axis=2) < _REACH
    rim = _RIM * near.shape[0] / picture.shape[0]
    found: list[Detection] = []
    for color in np.unique(nearest[near]).tolist():
        for mask, top, left in _regions(near & (nearest == color)):
            one = _matched(mask, top, left, near.shape, COLORS[color], rim)
            if one is not None:
                found.append(one)
    return sorted(found, key=lambda one: -one.score)


def _enlarged(picture: np.ndarray) -> np.ndarray:
    """Return a small picture larger: edges then fall between its pixels."""
    height, width = picture.shape[:2]
    times = -(-_SIDE // max(height, width))
    if times <= 1:
        return picture
    image = Image.fromarray(np.ascontiguousarray(picture))
    return np.asarray(image.resize((times * width, times * height), Image.Resampling.BICUBIC))


def _matched(
    mask: np.ndarray,
    top: int,
    left: int,
    size: tuple[int, ...],
    color: str,
    rim: float,
) -> Detection | None:
    """Compare a region with all outlines; None where none fits."""
    height, width = mask.shape
    sides = height / size[0], width / size[1]
    if min(sides) < _LEAST_SIDE or max(sides) > _MOST_SIDE:
        return None
    shapes, templates, extents, areas, centers = _templates()
    # The region as its own box shows it, and each outline as its own box does: no scale is left.
    rows = ((np.arange(_CELLS) + 0.5) * height / _CELLS).astype(int)
    columns = ((np.arange(_CELLS) + 0.5) * width / _CELLS).astype(int)
    region = mask[rows][:, columns]
    shared = (templates & region).sum(axis=(1, 2))
    score = shared / (templates | region).sum(axis=(1, 2))
    # A turned outline spans a box of its own aspect.
    aspect = (extents[:, 2] - extents[:, 0]) / (extents[:, 3] - extents[:, 1])
    ratio = aspect * height / width
    score = score * np.minimum(ratio, 1 / ratio)
    best = int(score.argmax())
    if score[best] < _LEAST_SCORE:
        return None
    box = _placed(mask, top, left, size, float(areas[best]), centers[best], extents[best], rim)
    return Detection(f"{color} {SHAPES[shapes[best]]}", box, float(score[best]))


def _placed(
    mask: np.ndarray,
    top: int,
    left: int,
    size: tuple[int, ...],
    area: float,
    center: np.ndarray,
    extents: np.ndarray,
    rim: float,
) -> tuple[float, float, float, float]:
    """Return the box of an outline of radius 1 that is scaled and moved onto a region."""
    wide = np.pad(mask, 1)
    edges = (wide[1:] != wide[:-1]).sum() + (wide[:, 1:] != wide[:, :-1]).sum()
    radius = np.sqrt((mask.sum() + rim * edges * np.pi / 4) / area)
    rows, columns = np.nonzero(mask)
    x = left + columns.mean() + 0.5 - radius * center[0]
    y = top + rows.mean() + 0.5 - radius * center[1]
    box = np.array([x, y, x, y]) + radius * extents
    box = (box / np.array([size[1], size[0]] * 2)).clip(0, 1)
    return float(box[0]), float(box[1]), float(box[2]), float(box[3])


@lru_cache(maxsize=1)
def _templates() -> tuple[np.ndarray, ...]:
    """Return shape indices (n,), outlines in their own boxes (n, CELLS, CELLS), extents (n, 4),
    areas (n,) and centres of mass (n, 2) of outlines of radius 1."""
    shapes, outlines, extents, areas, centers = [], [], [], [], []
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
    tables = (shapes, outlines, extents, areas, centers)
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
