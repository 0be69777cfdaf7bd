"""The findings as one HTML page that needs nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from markupsafe import Markup

from benchmarks.harness.statistics import Estimate
from benchmarks.report.page import html_page
from benchmarks.report.plots import Line, curves
from benchmarks.report.section import Cell, Section
from benchmarks.tasks.world.arms import COMPRESSIONS, SELECTORS
from benchmarks.tasks.world.findings import RECALL_AT, Findings, recall_at
from benchmarks.tasks.world.goals import goals, losses
from benchmarks.tasks.world.trials import (
    MATRIX_BUDGET,
    MATRIX_SUITE,
    PAIRED,
    PRESET,
    TENTH_BUDGET,
    paired,
)

_CURVES = ("oracle", PRESET, "longvu", "slowfast_llava", "llama_vid", "uniform", "random frames")
_NAMED = ("pair", "sign", "pair, next shot", "sign, next shot", "other")

_Found = Mapping[str, Findings]


def page(found: _Found, notes: Sequence[str]) -> str:
    """Write the page.

    Args:
        found: The findings by suite.
        notes: Sentences on how the run was made.
    """
    head = Section(
        "What compression and selection do to answers",
        [
            "longvid-mini is asked about generated films whose answers are known. It understands "
            "nothing but that world; the figures compare methods, not models. Intervals are 95 %, "
            "clustered by film.",
            *notes,
        ],
    )
    parts = (_goals, _curves, _against, _recall, _matrix, _types, _cells)
    sections = [section for part in parts for section in part(found)]
    return html_page("longvid: the generated world", [head, *sections])


def _goals(found: _Found) -> Iterator[Section]:
    rows = [
        (
            Cell(goal.name, "wide"),
            goal.wanted,
            Cell(goal.reached, "wide"),
            Cell("yes", "good") if goal.holds else Cell("no", "bad"),
        )
        for goal in goals(found)
    ]
    if rows:
        yield Section("Goals", (), ("figure", "wanted", "reached", "holds"), rows)


def _curves(found: _Found) -> Iterator[Section]:
    drawn = Markup()
    for name, findings in found.items():
        lines = [_line(findings, arm, _CURVES.index(arm)) for arm in _CURVES]
        lines = [line for line in lines if line.points]
        blind = [cell for cell in findings.cells if cell.arm == "no video"]
        without = f"; no video {findings.accuracy(blind[0]).mean:.2f}" if blind else ""
        if lines:
            drawn += curves(
                lines,
                x_label="visual tokens shown at most",
                y_label="accuracy",
                title=name,
                note=f"{len(findings.rows)} questions, {findings.suite.num_films} films{without}",
                legend=True,
            )
    text = (
        "All questions; every arm is asked the same ones about the same films. The arm oracle "
        "shows only the shots that the answer is read from."
    )
    yield Section("Accuracy against budget", [text], drawn=_plots(drawn))


def _line(findings: Findings, arm: str, color: int) -> Line:
    points = {}
    for cell in findings.cells:
        # The tenth of a minute's tokens lies too near to 512 for a curve.
        if cell.arm == arm and cell.budget != TENTH_BUDGET:
            value = findings.accuracy(cell)
            points[float(cell.budget)] = (float(cell.budget), value.mean, value.margin)
    return Line(arm, color, tuple(points[x] for x in sorted(points)))


def _against(found: _Found) -> Iterator[Section]:
    cells: dict[tuple[str, int], dict[str, Cell]] = {}
    for row in losses(found):
        style = {"above": "good", "BELOW": "bad"}.get(row.verdict, "soft")
        text = f"{row.gain.mean:+.3f} ± {row.gain.margin:.3f} {row.verdict}"
        cells.setdefault((row.suite, row.budget), {})[row.rival] = Cell(text, style)
    rivals = list(dict.fromkeys(rival for by_rival in cells.values() for rival in by_rival))
    rows: list[Sequence[str | Cell]] = [
        (suite, str(budget), *(by_rival.get(rival, "") for rival in rivals))
        for (suite, budget), by_rival in cells.items()
    ]
    if rows:
        text = (
            "Paired differences at equal budget, on the types of question that beat the text prior "
            "and fall when frames or the grid are taken away. Where a system shows less than the "
            "budget because the film has no more for it, that counts as its choice."
        )
        title = f"{PRESET} less each published system"
        yield Section(title, [text], ("length", "tokens", *rivals), rows)


def _recall(found: _Found) -> Iterator[Section]:
    drawn = Markup()
    for name, findings in found.items():
        lines = []
        for number, by in enumerate(_NAMED):
            of = findings.named(by)
            if len(of) >= 5:
                values = [(k, recall_at(findings, of, k)) for k in RECALL_AT]
                points = tuple((float(k), v.mean, v.margin) for k, v in values)
                lines.append(Line(f"{by} (n={len(of)})", number + 1, points))
        if lines and findings.suite.seconds >= 60:
            drawn += curves(
                lines,
                x_label="k best segments",
                y_label="evidence recall",
                title=name,
                legend=True,
            )
    if drawn:
        text = (
            "The share of evidence spans of which a frame is in one of the k segments nearest to "
            "the question, by what the question names. Questions about the next shot have two "
            "spans, and only one of them is named."
        )
        yield Section("Evidence recall", [text], drawn=_plots(drawn))


def _matrix(found: _Found) -> Iterator[Section]:
    findings = found.get(MATRIX_SUITE)
    first = paired("uniform", next(iter(COMPRESSIONS)))
    if findings is None or not findings.has(first, MATRIX_BUDGET):
        return
    of = findings.judging
    rows: list[Sequence[str | Cell]] = []
    for selector in SELECTORS:
        values = [
            findings.accuracy(findings.cell(paired(selector, name), MATRIX_BUDGET), of)
            for name in COMPRESSIONS
        ]
        rows.append((selector, *map(_shaded, values)))
    text = (
        f"{MATRIX_SUITE}, {MATRIX_BUDGET} tokens, n={len(of)} questions of types that may judge. "
        "Compressors run before the question is known, so a selector may take frames whose tokens "
        "were pruned against a frame that it does not take."
    )
    yield Section("Every selector with every compressor", [text], ("", *COMPRESSIONS), rows)


def _shaded(value: Estimate) -> Cell:
    heat = max(0.0, value.mean - 0.2) * 0.7
    return Cell(f"{value.mean:.2f}", heat=heat, note=f"± {value.margin:.3f}")


def _types(found: _Found) -> Iterator[Section]:
    lines = [
        "What the text alone gives, what is answered when frames or the grid are taken away, and "
        "with the right shots shown. Methods are compared only on types marked so."
    ]
    header = ("type", "n", "text prior", "little shown", "oracle", "compares methods")
    for name, findings in found.items():
        rows = [
            (row.type, str(row.n), f"{row.prior:.2f}", f"{row.little:.2f}", f"{row.enough:.2f}",
             "yes" if row.judges else "no")
            for row in findings.types
        ]  # fmt: skip
        yield Section(f"Types of question, {name}", lines, header, rows)
        lines = []


def _cells(found: _Found) -> Iterator[Section]:
    header = ("arm", "budget", "accuracy", "tokens", "frames")
    for name, findings in found.items():
        rows = [
            (cell.arm, str(cell.budget), str(findings.accuracy(cell)), f"{cell.tokens:.0f}",
             f"{cell.frames:.1f}")
            for cell in findings.cells
            if PAIRED not in cell.arm
        ]  # fmt: skip
        yield Section(f"Every cell, {name}", (), header, rows, folded=True)


def _plots(drawn: Markup) -> Markup:
    return Markup('<div class="plots">') + drawn + Markup("</div>")
