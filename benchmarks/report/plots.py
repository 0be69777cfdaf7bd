"""Plots as inline SVG: no library, no script, readable in light and dark."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

__all__ = ["bars", "curve", "stacked"]

_WIDTH = 640
_LABEL = 190
_ROW = 26
_COLORS = ("var(--c0)", "var(--c1)", "var(--c2)", "var(--c3)", "var(--c4)", "var(--c5)")


def bars(rows: Sequence[tuple[str, float, float | None, str]]) -> str:
    """Draw horizontal bars from 0 to 1.

    Args:
        rows: (label, value, standard error or None, note at the end) each.
    """
    height = _ROW * len(rows) + 28
    span = _WIDTH - _LABEL - 130
    parts = [_axis(span, height - 24)]
    for number, (label, value, error, note) in enumerate(rows):
        y = number * _ROW + 4
        x = _LABEL + span * value
        parts.append(
            f'<text x="{_LABEL - 8}" y="{y + 13}" text-anchor="end">{escape(_short(label))}</text>'
            f'<rect x="{_LABEL}" y="{y}" width="{max(span * value, 1):.1f}" height="18" rx="2" '
            f'fill="{_COLORS[0]}"/>'
        )
        if error is not None and error > 0:
            left, right = _LABEL + span * max(0, value - error), x + span * error
            parts.append(
                f'<path d="M{left:.1f} {y + 9}H{right:.1f}M{left:.1f} {y + 5}v8M{right:.1f} '
                f'{y + 5}v8" class="whisker"/>'
            )
            x = right
        parts.append(
            f'<text x="{x + 8:.1f}" y="{y + 13}">{100 * value:.1f} %'
            f'<tspan class="faint">  {escape(note)}</tspan></text>'
        )
    return _svg(height, parts)


def curve(points: Sequence[tuple[float, float, float | None]], x_label: str) -> str:
    """Draw values from 0 to 1 against numbers on a logarithmic axis.

    Args:
        points: (x, value, standard error or None), by growing x.
        x_label: What x is.
    """
    import math

    height, left, bottom = 260, 56, 40
    span, rise = _WIDTH - left - 24, height - bottom - 14
    logs = [math.log2(x) for x, _, _ in points]
    low, high = min(logs), max(logs)
    width = (high - low) or 1.0

    def place(x: float, value: float) -> tuple[float, float]:
        return left + span * (math.log2(x) - low) / width, 14 + rise * (1 - value)

    parts = []
    for tenth in range(0, 11, 2):
        y = 14 + rise * (1 - tenth / 10)
        parts.append(
            f'<path d="M{left} {y:.1f}h{span}" class="grid"/><text x="{left - 8}" y="{y + 4:.1f}" '
            f'text-anchor="end" class="faint">{10 * tenth} %</text>'
        )
    line = " ".join(
        f"{'L' if i else 'M'}{a:.1f} {b:.1f}"
        for i, (a, b) in enumerate(place(x, v) for x, v, _ in points)
    )
    parts.append(f'<path d="{line}" fill="none" stroke="{_COLORS[0]}" stroke-width="2"/>')
    for x, value, error in points:
        a, b = place(x, value)
        if error:
            parts.append(
                f'<path d="M{a:.1f} {b - rise * error:.1f}V{b + rise * error:.1f}" '
                'class="whisker"/>'
            )
        parts.append(
            f'<circle cx="{a:.1f}" cy="{b:.1f}" r="4" fill="{_COLORS[0]}"/>'
            f'<text x="{a:.1f}" y="{height - bottom + 18}" text-anchor="middle">{x:g}</text>'
        )
    parts.append(
        f'<text x="{left + span / 2:.0f}" y="{height - 4}" text-anchor="middle" class="faint">'
        f"{escape(x_label)}</text>"
    )
    return _svg(height, parts)


def stacked(parts_of: Sequence[tuple[str, float]], unit: str) -> str:
    """Draw one bar made of parts, with a legend of their sizes.

    Args:
        parts_of: (name, size) each; sizes add up to the whole.
        unit: Of the sizes.
    """
    total = sum(size for _, size in parts_of) or 1.0
    span, x = _WIDTH - 20, 10.0
    drawn, legend = [], []
    for number, (name, size) in enumerate(sorted(parts_of, key=lambda part: -part[1])):
        color = _COLORS[number % len(_COLORS)]
        width = span * size / total
        drawn.append(f'<rect x="{x:.1f}" y="6" width="{width:.1f}" height="26" fill="{color}"/>')
        column, line = number % 3, number // 3
        left, top = 10 + column * 208, 48 + line * 22
        legend.append(
            f'<rect x="{left}" y="{top}" width="12" height="12" fill="{color}"/>'
            f'<text x="{left + 18}" y="{top + 11}">{escape(_short(name))} '
            f'<tspan class="faint">{size:.1f} {unit}, {100 * size / total:.0f} %</tspan></text>'
        )
        x += width
    height = 48 + 22 * -(-len(parts_of) // 3) + 4
    return _svg(height, [*drawn, *legend])


def _axis(span: float, bottom: float) -> str:
    lines = []
    for quarter in range(5):
        x = _LABEL + span * quarter / 4
        lines.append(
            f'<path d="M{x:.1f} 0V{bottom}" class="grid"/><text x="{x:.1f}" y="{bottom + 16}" '
            f'text-anchor="middle" class="faint">{25 * quarter} %</text>'
        )
    return "".join(lines)


def _short(label: str) -> str:
    return label if len(label) <= 28 else f"{label[:27]}…"


def _svg(height: float, parts: Sequence[str]) -> str:
    box = f'viewBox="0 0 {_WIDTH} {height:.0f}" width="{_WIDTH}"'
    return f'<svg {box} role="img">{"".join(parts)}</svg>'
