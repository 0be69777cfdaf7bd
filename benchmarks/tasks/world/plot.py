"""Plots as inline SVG: lines with intervals over a logarithmic axis. They know no films."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

__all__ = ["Line", "line_plot"]

_WIDTH, _HEIGHT = 460, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 12, 12, 40


@dataclass(frozen=True, slots=True)
class Line:
    """A line: its name, CSS class, and points (x, y, half of the interval)."""

    name: str
    style: str
    points: tuple[tuple[float, float, float], ...]


def line_plot(lines: Sequence[Line], *, x_label: str, y_label: str, title: str) -> str:
    """Draw lines with y from 0 to 1 and x on a logarithmic axis.

    Args:
        lines: At least one of them with a point; the legend is the caller's.
        x_label, y_label: Of the axes.
        title: For readers who see no picture.
    """
    xs = sorted({x for line in lines for x, _, _ in line.points})
    first, last = math.log2(xs[0]), math.log2(xs[-1])

    def at(x: float) -> float:
        share = (math.log2(x) - first) / (last - first) if last > first else 0.5
        return _LEFT + 12 + share * (_WIDTH - _LEFT - _RIGHT - 24)

    def up(y: float) -> float:
        return _HEIGHT - _BOTTOM - min(max(y, 0.0), 1.0) * (_HEIGHT - _TOP - _BOTTOM)

    parts = [
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(title)}">',
    ]
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        y = up(tick)
        parts.append(
            f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<text class="tick" x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{tick:g}</text>'
        )
    parts += [
        f'<text class="tick" x="{at(x):.1f}" y="{_HEIGHT - _BOTTOM + 16}" '
        f'text-anchor="middle">{x:g}</text>'
        for x in xs
    ]
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    parts.append(
        f'<text class="axis" x="{middle:.0f}" y="{_HEIGHT - 6}" text-anchor="middle">'
        f"{escape(x_label)}</text>"
        f'<text class="axis" transform="translate(11 {up(0.5):.0f}) rotate(-90)" '
        f'text-anchor="middle">{escape(y_label)}</text>'
    )
    # Lines are set apart sideways by a little, so that intervals can be told from each other.
    for number, line in enumerate(lines):
        shift = (number - (len(lines) - 1) / 2) * 1.6
        parts.append(_draw(line, [(at(x) + shift, up(y), up(y - m), up(y + m), x, y, m)
                                  for x, y, m in line.points]))  # fmt: skip
    parts.append("</svg>")
    return "".join(parts)


def _draw(line: Line, points: Sequence[tuple[float, ...]]) -> str:
    """Draw one line: its intervals, itself, and marks that say their values when pointed at."""
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y, *_ in points)
    parts = [f'<g class="{line.style}">']
    for x, _, low, high, *_ in points:
        if not math.isnan(low):
            parts.append(
                f'<line class="bar" x1="{x:.1f}" x2="{x:.1f}" y1="{low:.1f}" y2="{high:.1f}"/>'
            )
    parts.append(f'<polyline points="{path}"/>')
    for x, y, _, _, value, share, margin in points:
        parts.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3"><title>{escape(line.name)}, {value:g}: '
            f"{share:.3f} ± {margin:.3f}</title></circle>"
        )
    parts.append("</g>")
    return "".join(parts)
