"""The findings as one HTML page that needs nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from benchmarks.tasks.world.arms import COMPRESSIONS, SELECTORS
from benchmarks.tasks.world.findings import RECALL_AT, Findings, recall_at
from benchmarks.tasks.world.goals import Goal, goals, losses
from benchmarks.tasks.world.plan import (
    MATRIX_BUDGET,
    MATRIX_SUITE,
    PAIRED,
    PRESET,
    TENTH_BUDGET,
    paired,
)
from benchmarks.tasks.world.plot import Line, line_plot

__all__ = ["page"]

_CURVES = ("oracle", PRESET, "longvu", "slowfast_llava", "llama_vid", "uniform", "random frames")
_NAMED = ("pair", "sign", "pair, next shot", "sign, next shot", "other")

_STYLE = (
    """
:root { --ink: #1b1f24; --soft: #5b6470; --line: #d9dee4; --paper: #fff; --shade: #f4f6f8;
  --c0: #8a8f98; --c1: #c2410c; --c2: #1d6fd1; --c3: #15803d; --c4: #8e3bb8; --c5: #0f172a;
  --c6: #b08900; --good: #15803d; --bad: #b42318; --heat: 21, 94, 160; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ee; --soft: #9aa4b2; --line: #343b45;
  --paper: #14181d; --shade: #1d232a; --c0: #9aa4b2; --c1: #ff8a4c; --c2: #6cb0ff; --c3: #4ade80;
  --c4: #d08bf2; --c5: #f1f5f9; --c6: #eab308; --good: #4ade80; --bad: #ff8577;
  --heat: 96, 165, 250; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1060px; padding: 24px 20px 60px; color: var(--ink);
  background: var(--paper); font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 26px; margin: 0 0 4px; } h2 { font-size: 19px; margin: 36px 0 8px; }
h3 { font-size: 15px; margin: 0 0 4px; } p { max-width: 76ch; margin: 6px 0 12px; }
.soft { color: var(--soft); } .plots { display: grid; gap: 20px 24px;
  grid-template-columns: repeat(auto-fill, minmax(min(440px, 100%), 1fr)); }
figure { margin: 0; } svg { width: 100%; height: auto; display: block; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; font-size: 13.5px; margin: 6px 0; }
th, td { padding: 3px 9px; text-align: right; border-bottom: 1px solid var(--line);
  white-space: nowrap; font-variant-numeric: tabular-nums; }
th:first-child, td:first-child, td.text, th.text { text-align: left; }
td.wrap { white-space: normal; min-width: 260px; text-align: left; } th { color: var(--soft);
  font-weight: 600; } .good { color: var(--good); } .bad { color: var(--bad); font-weight: 600; }
.legend { display: flex; flex-wrap: wrap; gap: 4px 16px; font-size: 13.5px; margin: 4px 0 10px; }
.legend i { display: inline-block; width: 18px; height: 0; border-top: 3px solid; margin-right: 6px;
  vertical-align: middle; }
.grid { stroke: var(--line); } .tick { fill: var(--soft); font-size: 11px; }
.axis { fill: var(--soft); font-size: 12px; } polyline { fill: none; stroke-width: 2; }
.bar { stroke-width: 1; opacity: .45; }
"""
    + "".join(
        f".s{i} polyline, .s{i} .bar {{ stroke: var(--c{i}); }} "
        f".s{i} circle {{ fill: var(--c{i}); }} "
        f".legend .s{i} i {{ border-color: var(--c{i}); }}\n"
        for i in range(7)
    )
    + ".s0 polyline { stroke-dasharray: 5 4; } .s5 polyline { stroke-dasharray: 1 3; }\n"
)


def page(found: Mapping[str, Findings], notes: Sequence[str]) -> str:
    """Write the page.

    Args:
        found: The findings by suite.
        notes: Sentences on how the run was made.
    """
    judged = goals(found)
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8>",
        '<meta name=viewport content="width=device-width, initial-scale=1">',
        f"<title>longvid: the generated world</title><style>{_STYLE}</style>",
        "<h1>What compression and selection do to answers</h1>",
        '<p class="soft">longvid-mini is asked about generated films whose answers are known. It '
        "understands nothing but that world; the figures compare methods, not models. Intervals "
        "are 95 %, clustered by film.</p>",
        *(f'<p class="soft">{escape(note)}</p>' for note in notes),
        _goals(judged),
        _curves(found),
        _against(found),
        _recall(found),
        _matrix(found),
        _types(found),
        _all(found),
    ]
    return "\n".join(part for part in parts if part) + "\n"


def _goals(rows: Sequence[Goal]) -> str:
    if not rows:
        return ""
    body = [
        (f'<td class="wrap">{escape(row.name)}</td><td class="text">{escape(row.wanted)}</td>'
         f'<td class="wrap">{escape(row.reached)}</td>'
         f'<td class="{"good" if row.holds else "bad"}">{"yes" if row.holds else "no"}</td>')
        for row in rows
    ]  # fmt: skip
    head = '<th>figure</th><th class="text">goal</th><th class="text">reached</th><th>holds</th>'
    return "<h2>Goals</h2>" + _table(head, body)


def _curves(found: Mapping[str, Findings]) -> str:
    shown = [name for name in _CURVES if any(_line(f, name, 0).points for f in found.values())]
    legend = _legend([(name, _CURVES.index(name)) for name in shown])
    plots = []
    for name, findings in found.items():
        lines = [_line(findings, arm, _CURVES.index(arm)) for arm in shown]
        lines = [line for line in lines if line.points]
        blind = [cell for cell in findings.cells if cell.arm == "no video"]
        without = f"; no video {findings.accuracy(blind[0]).mean:.2f}" if blind else ""
        plots.append(
            f"<figure><h3>{escape(name)} <span class=soft>({len(findings.asked)} questions, "
            f"{findings.suite.num_films} films{without})</span></h3>"
            + line_plot(lines, x_label="visual tokens shown at most", y_label="accuracy",
                        title=f"accuracy against budget, {name}") + "</figure>"
        )  # fmt: skip
    return (
        "<h2>Accuracy against budget</h2><p>All questions; every arm is asked the same ones about "
        "the same films. <b>oracle</b> shows only the shots that the answer is read from.</p>"
        f'{legend}<div class="plots">{"".join(plots)}</div>'
    )


def _line(findings: Findings, arm: str, number: int) -> Line:
    points = []
    for cell in findings.cells:
        # The tenth of a minute's tokens lies too near to 512 for a curve.
        if cell.arm == arm and cell.budget != TENTH_BUDGET:
            value = findings.accuracy(cell)
            points.append((float(cell.budget), value.mean, value.margin))
    unique = {point[0]: point for point in points}
    return Line(arm, f"s{number}", tuple(unique[x] for x in sorted(unique)))


def _against(found: Mapping[str, Findings]) -> str:
    rows = losses(found)
    if not rows:
        return ""
    rivals = list(dict.fromkeys(row.rival for row in rows))
    body = []
    for suite, budget in dict.fromkeys((row.suite, row.budget) for row in rows):
        cells = [f"<td>{escape(suite)}</td><td>{budget}</td>"]
        for rival in rivals:
            match = [r for r in rows if (r.suite, r.budget, r.rival) == (suite, budget, rival)]
            if not match:
                cells.append("<td></td>")
                continue
            verdict = match[0].verdict
            style = {"above": "good", "BELOW": "bad"}.get(verdict, "soft")
            gain = match[0].gain
            cells.append(f'<td class="{style}">{gain.mean:+.3f} ± {gain.margin:.3f} {verdict}</td>')
        body.append("".join(cells))
    head = "<th>length</th><th>tokens</th>" + "".join(f"<th>{escape(r)}</th>" for r in rivals)
    return (
        f"<h2>{PRESET} less each published system</h2><p>Paired differences at equal budget, on "
        "the types of question that beat the text prior and fall when frames or the grid are "
        "taken away. Where a system shows less than the budget because the film has no more for "
        "it, that counts as its choice.</p>" + _table(head, body)
    )


def _recall(found: Mapping[str, Findings]) -> str:
    plots = []
    for name, findings in found.items():
        lines = []
        for number, by in enumerate(_NAMED):
            of = findings.named(by)
            if len(of) >= 5:
                values = [(k, recall_at(findings, of, k)) for k in RECALL_AT]
                points = tuple((float(k), v.mean, v.margin) for k, v in values)
                lines.append(Line(f"{by} (n={len(of)})", f"s{number + 1}", points))
        if lines and findings.suite.seconds >= 60:
            legend = _legend([(line.name, int(line.style[1:])) for line in lines])
            plots.append(
                f"<figure><h3>{escape(name)}</h3>{legend}"
                + line_plot(lines, x_label="k best segments", y_label="evidence recall",
                            title=f"evidence recall against k, {name}") + "</figure>"
            )  # fmt: skip
    if not plots:
        return ""
    return (
        "<h2>Evidence recall</h2><p>The share of evidence spans of which a frame is in one of "
        "the k segments nearest to the question, by what the question names. Questions about the "
        "next shot have two spans, and only one of them is named.</p>"
        f'<div class="plots">{"".join(plots)}</div>'
    )


def _matrix(found: Mapping[str, Findings]) -> str:
    findings = found.get(MATRIX_SUITE)
    if findings is None or not findings.has(
        paired("uniform", next(iter(COMPRESSIONS))), MATRIX_BUDGET
    ):
        return ""
    of = findings.judging
    body = []
    for selector in SELECTORS:
        cells = [f"<td>{selector}</td>"]
        for name in COMPRESSIONS:
            value = findings.accuracy(findings.cell(paired(selector, name), MATRIX_BUDGET), of)
            cells.append(
                f'<td style="background:rgba(var(--heat),{max(0.0, value.mean - 0.2) * 0.7:.2f})"'
                f' title="± {value.margin:.3f}">{value.mean:.2f}</td>'
            )
        body.append("".join(cells))
    head = "<th></th>" + "".join(f"<th>{escape(name)}</th>" for name in COMPRESSIONS)
    return (
        f"<h2>Every selector with every compressor</h2><p>{MATRIX_SUITE}, {MATRIX_BUDGET} tokens, "
        f"n={len(of)} questions of types that may judge. Compressors run before the question is "
        "known, so a selector may take frames whose tokens were pruned against a frame that it "
        "does not take.</p>" + _table(head, body)
    )


def _types(found: Mapping[str, Findings]) -> str:
    parts = ["<h2>Types of question</h2><p>What the text alone gives, what is answered when frames "
             "or the grid are taken away, and with the right shots shown. Methods are compared "
             "only on types marked so.</p>"]  # fmt: skip
    head = (
        '<th class="text">type</th><th>n</th><th>text prior</th><th>little shown</th>'
        "<th>oracle</th><th>compares methods</th>"
    )
    for name, findings in found.items():
        body = [
            (f"<td>{row.type}</td><td>{row.n}</td><td>{row.prior:.2f}</td><td>{row.little:.2f}</td>"
             f"<td>{row.enough:.2f}</td><td>{'yes' if row.judges else 'no'}</td>")
            for row in findings.types
        ]  # fmt: skip
        parts.append(f"<h3>{escape(name)}</h3>{_table(head, body)}")
    return "".join(parts)


def _all(found: Mapping[str, Findings]) -> str:
    parts = ["<h2>Every cell</h2>"]
    head = "<th>arm</th><th>budget</th><th>accuracy</th><th>tokens</th><th>frames</th>"
    for name, findings in found.items():
        body = [
            f"<td>{escape(cell.arm)}</td><td>{cell.budget}</td><td>{findings.accuracy(cell)}</td>"
            f"<td>{cell.tokens:.0f}</td><td>{cell.frames:.1f}</td>"
            for cell in findings.cells
            if PAIRED not in cell.arm
        ]
        parts.append(f"<details><summary>{escape(name)}</summary>{_table(head, body)}</details>")
    return "".join(parts)


def _legend(items: Sequence[tuple[str, int]]) -> str:
    marks = "".join(
        f'<span class="s{number}"><i></i>{escape(name)}</span>' for name, number in items
    )
    return f'<div class="legend">{marks}</div>'


def _table(head: str, body: Sequence[str]) -> str:
    rows = "".join(f"<tr>{row}</tr>" for row in body)
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
    return f'<div class="scroll">{table}</div>'
