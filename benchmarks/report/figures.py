"""The fourth stage: score.json in; report.md, report.csv and one self-contained report.html out."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from textwrap import shorten
from typing import Any

from markupsafe import Markup

from benchmarks.harness.errors import RunError
from benchmarks.harness.plan import Plan
from benchmarks.harness.published_figures import beside, not_comparable
from benchmarks.harness.run import Run, identity_hash, load_run
from benchmarks.report import plots
from benchmarks.report.csv_files import write_csv, write_submission
from benchmarks.report.page import html_page, markdown
from benchmarks.report.row_cards import row_section
from benchmarks.report.section import Section


def report(run: Run, plan: Plan, *, anew: bool = True) -> str:
    """Write every form of the report.

    Args:
        run: Scored.
        plan: Its rows, chosen.
        anew: False leaves it alone where it is younger than all that it is made of.

    Returns:
        What a terminal is shown: the figures and where the rest lies.

    Raises:
        RunError: The run was never scored.
    """
    result = _read_score(run)
    siblings = _siblings(run)
    sections = list(_sections(run, result, [other for _, other in siblings]))
    page = run.folder / "report.html"
    scores = [run.folder / "score.json", *(path for path, _ in siblings)]
    made = page.stat().st_mtime_ns if page.exists() else 0
    if anew or any(path.stat().st_mtime_ns >= made for path in scores):
        (run.folder / "report.md").write_text(markdown(sections), encoding="utf-8")
        write_csv(run, result)
        if run.identity["split"] == "full" and run.identity["task"] == "egoschema":
            write_submission(run, plan)
        rows = [row_section(run, plan)] if any(result["coverage"].values()) else []
        page.write_text(html_page(sections[0].title, [*sections, *rows]), encoding="utf-8")
    return f"{markdown([section for section in sections if section.short])}\nwritten: {page}"


def _read_score(run: Run) -> dict[str, Any]:
    try:
        result: dict[str, Any] = json.loads((run.folder / "score.json").read_text("utf-8"))
    except OSError as error:
        raise RunError(
            f"{run.folder} has no score.json; run: python -m benchmarks score {run.folder}"
        ) from error
    return result


def _siblings(run: Run) -> list[tuple[Path, dict[str, Any]]]:
    """Return the scores of runs beside this one that differ in budget or text-only alone."""

    def family(identity: Mapping[str, Any]) -> str:
        return identity_hash({**identity, "budget": 0, "text_only": False})

    found = []
    for path in sorted(run.folder.resolve().parent.glob("*/score.json")):
        try:
            other = load_run(path.parent)
        except RunError:
            continue
        same_rows = other.header.get("selection") == run.header.get("selection")
        if same_rows and family(other.identity) == family(run.identity):
            found.append((path, json.loads(path.read_text("utf-8"))))
    return sorted(found, key=lambda pair: (pair[1]["identity"]["budget"], pair[1]["run"]))


def _sections(
    run: Run, result: Mapping[str, Any], siblings: Sequence[Mapping[str, Any]]
) -> Iterator[Section]:
    identity = run.identity
    subset = "" if result["rows"] == result["rows_of_split"] else " (a selection)"
    yield Section(
        f"{identity['task']} · {identity['split']} · {run.header.get('config_name', '')}",
        [
            f"Run {run.id}: {result['rows']} of {result['rows_of_split']} rows{subset}, "
            f"split {identity['split']}, rows as {identity['layout']}, budget "
            f"{identity['budget']} visual tokens"
            + (", no frame shown" if identity["text_only"] else "")
            + (f", subtitles {identity['subtitles']}" if identity.get("subtitles") else "")
            + "."
        ],
        short=True,
    )
    yield _coverage(result)
    if identity["split"] == "full" and identity["task"] == "egoschema":
        yield _submission(result)
    yield _figures(result, siblings)
    yield from _by_group(result)
    if result["evidence_recall"]:
        yield _evidence(result)
    if result["judges"]:
        yield _judges(result)
    yield from _published(run, result)
    answered = bool(result["per_row"])
    if answered:
        yield _output_check(result)
    yield from _problems(result)
    if answered:
        yield _cost(result)
    yield _protocol(run)


def _coverage(result: Mapping[str, Any]) -> Section:
    total = result["rows"]
    rows = [
        [name, str(count), _percent(count / total)]
        for name, count in result["coverage"].items()
        if count or name == "ok"
    ]
    lines = [
        f"{count} x {kind.replace('model_error: question', _REFUSED)}"
        for kind, count in result["errors"].items()
    ]
    lines += [
        f"e.g. {shorten(examples[0], _LONGEST, placeholder=' …')}"
        for examples in result["error_examples"].values()
    ]
    if result["subtitles"]:
        counts = ", ".join(f"{name} for {n} rows" for name, n in result["subtitles"].items())
        lines.append(f"Subtitles: {counts}.")
    if result.get("torn_lines"):
        lines.append(f"{result['torn_lines']} torn lines in the logs were passed over.")
    return Section("Coverage", lines, ("status", "rows", "share"), rows, short=True)


def _submission(result: Mapping[str, Any]) -> Section:
    read, total = result["coverage"]["ok"], result["rows_of_split"]
    line = f"submission.json holds {read} of the {total} rows that the server scores"
    line += f"; {total - read} are missing, and count as wrong there." if read < total else "."
    return Section("Submission", [line], short=True)


_LONGEST = 400
_MAIN = ("letter", "exact+lemma", "Acc@GQA", "vIoU")
_REFUSED = "model_error: refused (the model cannot read the question)"


def _figures(result: Mapping[str, Any], siblings: Sequence[Mapping[str, Any]]) -> Section:
    """Print ours first, and what needs no video under it."""
    rows = []
    for metric, groups in result["metrics"].items():
        both = groups["all"]
        rows.append([metric, *_cells(both["attempted"]), *_cells(both["all"])[:1]])
        if metric in result["macro"]:
            rows.append(_macro_cells(metric, result["macro"][metric]))
    for kind, numbers in result["baselines"].items():
        answer = numbers["constant_answer"]
        for name, value in (
            (f"baseline ({kind}): always {answer!r}", numbers["constant"]),
            (f"baseline ({kind}): words of the question only", numbers["text_only"]),
        ):
            rows.append([name, _percent(value), "", "", str(numbers["num_rows"]), _percent(value)])
    for other in siblings:
        if other["identity"]["text_only"] and not result["identity"]["text_only"]:
            for metric, groups in other["metrics"].items():
                name = f"this model without frames: {metric}"
                both = groups["all"]
                rows.append([name, *_cells(both["attempted"]), *_cells(both["all"])[:1]])
    lines = [
        "Accuracy over attempted rows and over all rows, where a row without an answer is wrong. "
        "± is the standard error clustered by video; the interval (95 %) is Wilson's, for as many "
        "independent rows as the clustered error amounts to."
    ]
    header = ("metric", "attempted", "±", "95 %", "rows", "over all")
    drawn = "".join(_budget_curves(result, siblings))
    return Section("Accuracy", lines, header, rows, short=True, drawn=Markup(drawn))


def _budget_curves(
    result: Mapping[str, Any], siblings: Sequence[Mapping[str, Any]]
) -> Iterator[str]:
    for metric in result["metrics"]:
        if metric not in _MAIN and not metric.startswith("judge:"):
            continue
        points = []
        for other in siblings:
            both = other["metrics"].get(metric, {}).get("all")
            if both and not other["identity"]["text_only"] and both["attempted"]:
                value = both["attempted"]
                error = value["standard_error"]
                margin = math.nan if error is None else 1.96 * error
                points.append((float(other["identity"]["budget"]), value["mean"], margin))
        if len(points) > 1:
            yield plots.curves(
                [plots.Line(metric, 0, tuple(points))],
                x_label="visual tokens shown at most",
                y_label="accuracy",
                title=f"{metric} against budget",
            )


def _macro_cells(metric: str, macro: Mapping[str, Any]) -> list[str]:
    """Return the row of a mean over groups: over those with an attempted row, and over all."""
    over_all, attempted = macro["all"], macro.get("attempted")
    name = f"{metric}, mean over {over_all['num_groups']} {over_all['over']}s"
    if attempted is None:
        return [name, "none", "", "", "", _percent(over_all["mean"])]
    if attempted["num_groups"] < over_all["num_groups"]:
        name += f" ({attempted['num_groups']} attempted)"
    error = attempted["standard_error"]
    spread = f"± {_percent(error)}" if error is not None else ""
    return [name, _percent(attempted["mean"]), spread, "", "", _percent(over_all["mean"])]


def _by_group(result: Mapping[str, Any]) -> Iterator[Section]:
    for metric, groups in result["metrics"].items():
        rows = []
        for name, both in groups.items():
            if name != "all":
                cells = _cells(both["attempted"])
                rows.append([name, cells[0], *cells[2:], _cells(both["all"])[0]])
        if rows and metric in _MAIN:
            header = ("group", "attempted", "95 %", "rows", "over all")
            drawn = plots.bars(list(_bars(groups)))
            yield Section(f"By group: {metric}", (), header, rows, drawn=drawn)


def _bars(groups: Mapping[str, Any]) -> Iterator[plots.Bar]:
    for name, both in groups.items():
        value = both["attempted"]
        if value is not None:
            mean = value["mean"]
            low, high = (mean if end is None else end for end in (value["low"], value["high"]))
            yield plots.Bar(name, mean, low, high, f"{value['num_rows']} rows")


def _evidence(result: Mapping[str, Any]) -> Section:
    rows = []
    for name, value in result["evidence_recall"].items():
        cells = _cells(value)
        rows.append([name, *cells])
    lines = ["How often a frame inside the span that shows the answer was shown to the model."]
    for key, what in (
        ("right_if_evidence_shown", "when it was shown"),
        ("right_if_evidence_not_shown", "when it was not"),
    ):
        value = result[key]
        if value is not None:
            lines.append(f"Right {what}: {_percent(value['mean'])} of {value['num_rows']} rows.")
    return Section("Evidence recall", lines, ("group", "recall", "±", "95 %", "rows"), rows)


def _judges(result: Mapping[str, Any]) -> Section:
    rows = []
    for name, judge in result["judges"].items():
        score, agreement = judge["mean_score"], judge["agreement_with_exact+lemma"]
        rows.append(
            [
                name,
                judge["prompt"],
                f"{score['mean']:.2f}" if score else "",
                str(judge["unjudged"]),
                _percent(agreement["mean"]) if agreement else "",
            ]
        )
    lines = [
        "Video-ChatGPT's question to the judge, word for word; scores cut to whole numbers. A row "
        "without a verdict is not attempted, and is not right over all rows."
    ]
    if result["ties"]:
        lines.append(f"{result['ties']} rows are ties between the judges: they have no majority.")
    header = ("judge", "prompt", "mean score", "no verdict", "agrees with exact+lemma")
    return Section("Judges", lines, header, rows, short=True)


def _published(run: Run, result: Mapping[str, Any]) -> Iterator[Section]:
    figures = beside(run.identity, result["metrics"])
    if not figures:
        return
    reason = not_comparable(result)
    if reason:
        yield Section("Published figures", [reason])
        return
    rows = []
    for metric in dict.fromkeys(figure.metric for figure in figures):
        both = result["macro"].get(metric) or result["metrics"][metric]["all"]
        ours = both.get("attempted")
        if ours is not None:
            rows.append(["this run", metric, f"{100 * ours['mean']:.1f}"])
        rows += [
            [
                figure.model + (" (judge guessed by date)" if figure.judge_guessed else ""),
                metric,
                f"{figure.accuracy:.1f}" + (f" / {figure.score}" if figure.score else ""),
            ]
            for figure in figures
            if figure.metric == metric
        ]
    lines = [f"Same split ({run.identity['split']}) and same kind of metric; nothing else is here."]
    yield Section("Published figures", lines, ("model", "metric", "accuracy / score"), rows)


def _output_check(result: Mapping[str, Any]) -> Section:
    outputs = result["outputs"]
    lines = list(outputs["warnings"]) or ["Nothing looks broken."]
    if outputs["open_answers"]:
        lines.append(
            f"{outputs['different']} different among {outputs['open_answers']} open answers."
        )
    rows = [[answer, str(count)] for answer, count in outputs["commonest"]]
    rows += [[name, str(count)] for name, count in outputs["chosen"].items()]
    return Section("Output check", lines, ("commonest answers", "rows") if rows else (), rows)


def _problems(result: Mapping[str, Any]) -> Iterator[Section]:
    if result["problems"]:
        rows = [
            [str(entry["count"]), entry["meaning"], "; ".join(entry["first"][:2])[:120]]
            for entry in result["problems"].values()
        ]
        yield Section(
            "Annotations",
            ["What does not fit together or is not asked; row by row in problems.jsonl."],
            ("rows", "what", "first"),
            rows,
            short=True,
        )


def _cost(result: Mapping[str, Any]) -> Section:
    rows = [[step, f"{1000 * value:.1f}"] for step, value in result["seconds_per_row"].items()]
    lines = [f"{name.replace('_', ' ')}: {v:.1f} a row" for name, v in result["per_row"].items()]
    steps = dict(result["seconds_per_row"])
    # The language model's own steps add up to "llm"; either is shown, not both.
    if "prefill" in steps:
        steps.pop("llm", None)
    named = [(name.replace("_", " "), 1000 * value) for name, value in steps.items()]
    drawn = plots.shares(named, "ms") if named else ""
    return Section("Cost", lines, ("step", "ms a row") if rows else (), rows, drawn=drawn)


def _protocol(run: Run) -> Section:
    rows = [[name, str(value)] for name, value in run.identity.items()]
    environment = run.header.get("environment", {})
    rows += [["commit", str(environment.get("commit", "unknown"))]]
    rows += [[name, version] for name, version in environment.get("versions", {}).items()]
    lines = ["What decided the answers; another value of any of the first rows is another run."]
    return Section("Protocol", lines, ("what", "value"), rows)


def _cells(estimate: Mapping[str, Any] | None) -> list[str]:
    """Return mean, standard error, interval and number of rows as text."""
    if estimate is None:
        return ["none", "", "", "0"]
    error, low, high = (estimate[name] for name in ("standard_error", "low", "high"))
    return [
        _percent(estimate["mean"]),
        f"± {_percent(error)}" if error else "",
        f"{100 * low:.1f} to {100 * high:.1f}" if low is not None else "",
        str(estimate["num_rows"]),
    ]


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %"
