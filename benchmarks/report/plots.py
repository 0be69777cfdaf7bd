"""Plots of shares from 0 to 1: bars, curves over a logarithmic axis, and parts of a whole."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from benchmarks.report.page import render

_WIDTH, _HEIGHT = 460, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 448, 12, 260


@dataclass(frozen=True, slots=True)
class Bar:
    """A share with its interval; equal ends draw none."""

    label: str
    value: float
    low: float
    high: float
    note: str


@dataclass(frozen=True, slots=True)
class Line:
    """A curve.

    Args:
        name: In the legend.
        color: Number of its colour, 0 to 6.
        points: (x, share, half of the interval or nan), by growing x.
    """

    name: str
    color: int
    points: tuple[tuple[float, float, float], ...]


def bars(rows: Sequence[Bar]) -> Markup:
    """Draw horizontal bars; labels wrap, so none is cut."""
    return render("bars.html.j2", rows=rows)


def shares(parts: Sequence[tuple[str, float]], unit: str) -> Markup:
    """Draw parts of a whole as one bar, the largest first.

    Args:
        parts: (name, size) each.
        unit: Of the sizes.
    """
    total = sum(size for _, size in parts) or 1.0
    ordered = sorted(parts, key=lambda part: -part[1])
    return render(
        "shares.html.j2", parts=[(name, size, size / total) for name, size in ordered], unit=unit
    )


def curves(
    lines: Sequence[Line],
    *,
    x_label: str,
    y_label: str,
    title: str = "",
    note: str = "",
    legend: bool = False,
) -> Markup:
    """Draw curves with their intervals.

    Args:
        lines: At least one of them with a point.
        x_label, y_label: Of the axes.
        title, note: Above the plot.
        legend: Whether the names are listed above it.
    """
    xs = sorted({x for line in lines for x, _, _ in line.points})
    first, last = math.log2(xs[0]), math.log2(xs[-1])

    def at(x: float) -> float:
        share = (math.log2(x) - first) / (last - first) if last > first else 0.5
        return _LEFT + 12 + share * (_RIGHT - _LEFT - 24)

    def up(y: float) -> float:
        return round(_BOTTOM - min(max(y, 0.0), 1.0) * (_BOTTOM - _TOP), 1)

    placed = []
    for number, line in enumerate(lines):
        # Lines are set apart sideways by a little, so that intervals can be told from each other.
        shift = (number - (len(lines) - 1) / 2) * 1.6
        points = [
            {
                "x": round(at(x) + shift, 1),
                "y": up(share),
                "low": None if math.isnan(margin) else up(share - margin),
                "high": None if math.isnan(margin) else up(share + margin),
                "note": f"{x:g}: {share:.3f} ± {margin:.3f}",
            }
            for x, share, margin in line.points
        ]
        placed.append({"name": line.name, "color": line.color, "placed": points})
    return render(
        "curves.html.j2",
        lines=placed,
        x_ticks=[(round(at(x), 1), f"{x:g}") for x in xs],
        y_ticks=[(up(y), f"{100 * y:.0f} %") for y in (0.0, 0.25, 0.5, 0.75, 1.0)],
        x_label=x_label,
        y_label=y_label,
        title=title,
        note=note,
        legend=legend,
        width=_WIDTH,
        height=_HEIGHT,
        left=_LEFT,
        right=_RIGHT,
        bottom=_BOTTOM,
    )
