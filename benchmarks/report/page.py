"""One HTML page that holds everything: no script, no other file, no network."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.harness.errors import AnnotationError
from benchmarks.harness.plan import Plan
from benchmarks.harness.run import Run
from benchmarks.harness.score import Scored, scored_rows
from benchmarks.harness.video_folder import open_videos
from benchmarks.judging.judgements import load_judgements
from benchmarks.report import plots
from benchmarks.report.thumbnails import Thumbnails

if TYPE_CHECKING:
    from benchmarks.report.sections import Section

__all__ = ["write_page"]

_SAMPLES = 12
_MAIN = ("letter", "exact+lemma")

_STYLE = """
:root{--c0:#3b6ea5;--c1:#d98c3f;--c2:#5a9e6f;--c3:#b5566b;--c4:#8a74b8;--c5:#8c8c84;
--ink:#1d2129;--faint:#6b7280;--line:#dfe3e8;--back:#fff;--soft:#f6f7f9;--good:#2f7d4f;--bad:#b03a48}
@media(prefers-color-scheme:dark){:root{--c0:#6fa3dc;--ink:#e6e8eb;--faint:#9aa3af;--line:#353b44;
--back:#16191e;--soft:#1f242b;--good:#6cc492;--bad:#e8838f}}
*{box-sizing:border-box}
body{margin:0;background:var(--back);color:var(--ink);font:15px/1.5 system-ui,sans-serif}
main{max-width:980px;margin:0 auto;padding:24px 20px 60px}
h1{font-size:26px;margin:0 0 4px}h2{font-size:18px;margin:36px 0 8px;padding-top:12px;
border-top:1px solid var(--line)}
p{margin:4px 0}ul{margin:4px 0 10px;padding-left:20px}li{overflow-wrap:anywhere}
.scroll{overflow-x:auto}table{border-collapse:collapse;margin:8px 0;font-size:14px}
th{text-align:left;font-weight:600;color:var(--faint)}
th,td{padding:4px 14px 4px 0;border-bottom:1px solid var(--line);vertical-align:top;
overflow-wrap:anywhere}
td+td{font-variant-numeric:tabular-nums}
svg{max-width:100%;height:auto;font:13px system-ui,sans-serif}svg text{fill:var(--ink)}
svg .faint{fill:var(--faint)}.grid{stroke:var(--line);fill:none}
.whisker{stroke:var(--ink);fill:none;stroke-width:1.2}
.row{border:1px solid var(--line);border-radius:6px;background:var(--soft);padding:12px 14px;
margin:12px 0}
.row h3{margin:0 0 4px;font-size:15px}.meta{color:var(--faint);font-size:13px}
.right{color:var(--good);font-weight:600}.wrong{color:var(--bad);font-weight:600}
.frames{display:flex;flex-wrap:wrap;gap:8px;margin-top:8px}
figure{margin:0;width:160px}figure img{display:block;width:160px;height:90px;border-radius:4px}
figcaption{font-size:12px;color:var(--faint)}figcaption b{color:var(--good)}
"""


def write_page(
    run: Run,
    plan: Plan,
    result: Mapping[str, Any],
    sections: Sequence[Section],
    siblings: Sequence[Mapping[str, Any]],
) -> None:
    """Write report.html.

    Args:
        run: Scored.
        plan: Its rows, chosen.
        result: What score.json holds.
        sections: Of the report.
        siblings: Scores of the runs that differ in budget alone, this one among them.
    """
    blocks = [_section(sections[0], 1)]
    for section in sections[1:]:
        blocks.append(_section(section, 2))
        if section.title == "Accuracy":
            blocks += _budget_plots(result, siblings)
        if section.title.startswith("By group: "):
            blocks.append(_group_plot(result, section.title.removeprefix("By group: ")))
        if section.title == "Cost" and result["seconds_per_row"]:
            blocks.append(_latency(result))
        if section.title == "Output check":
            blocks.append("<h2>Sample rows</h2>")
            blocks.append(
                "<p class='meta'>Frames that the language model was shown; one inside the span "
                "that shows the answer is marked.</p>"
            )
            blocks += _samples(run, plan)
    title = escape(sections[0].title)
    page = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<style>{_STYLE}</style></head><body><main>{''.join(blocks)}</main></body></html>\n"
    )
    (run.folder / "report.html").write_text(page, encoding="utf-8")


def _section(section: Section, level: int) -> str:
    parts = [f"<h{level}>{escape(section.title)}</h{level}>"]
    if len(section.lines) == 1:
        parts.append(f"<p>{escape(section.lines[0])}</p>")
    elif section.lines:
        items = "".join(f"<li>{escape(line)}</li>" for line in section.lines)
        parts.append(f"<ul>{items}</ul>")
    if section.rows:
        head = "".join(f"<th>{escape(cell)}</th>" for cell in section.header)
        body = "".join(
            f"<tr>{''.join(f'<td>{escape(str(cell))}</td>' for cell in row)}</tr>"
            for row in section.rows
        )
        parts.append(
            f"<div class='scroll'><table><thead><tr>{head}</tr></thead>"
            f"<tbody>{body}</tbody></table></div>"
        )
    return "".join(parts)


def _group_plot(result: Mapping[str, Any], metric: str) -> str:
    groups = result["metrics"][metric]
    rows = [
        (name, v["mean"], v["standard_error"], f"{v['num_rows']} rows")
        for name, v in ((name, both["attempted"]) for name, both in groups.items())
        if v is not None
    ]
    return plots.bars(rows) if rows else ""


def _budget_plots(
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
                points.append((other["identity"]["budget"], value["mean"], value["standard_error"]))
        if len(points) > 1:
            yield f"<p class='meta'>{escape(metric)} against budget</p>"
            yield plots.curve(points, "visual tokens shown at most")


def _latency(result: Mapping[str, Any]) -> str:
    steps = dict(result["seconds_per_row"])
    # The language model's own steps add up to "llm"; either is shown, not both.
    if "prefill" in steps:
        steps.pop("llm", None)
    named = [(name.replace("_", " "), 1000 * value) for name, value in steps.items()]
    return f"<p>Where the time of an answer goes.</p>{plots.stacked(named, 'ms')}"


def _samples(run: Run, plan: Plan) -> Iterator[str]:
    run.load_predictions(plan.database)
    load_judgements(run, plan)
    try:
        folder = open_videos(run.header)
    except AnnotationError:
        folder = None
    with Thumbnails() as thumbnails:
        for row in scored_rows(run, plan, _spread(run.folder / "scores.csv")):
            path = folder.find(row.record.video) if folder else None
            pictures = thumbnails.cut(path, row.prediction.get("frames", ())) if path else []
            yield _sample(row, pictures)


def _spread(scores: Path) -> list[str]:
    """Take the first few right and the first few wrong rows, each of another video if possible."""
    half = _SAMPLES // 2
    taken: dict[bool, dict[str, str]] = {True: {}, False: {}}
    spare: dict[bool, list[str]] = {True: [], False: []}
    with scores.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            value = next((row[name] for name in _MAIN if row.get(name)), None)
            if value is None:
                continue
            right = float(value) > 0
            if row["video"] not in taken[right] and len(taken[right]) < half:
                taken[right][row["video"]] = row["id"]
            elif len(spare[right]) < half:
                spare[right].append(row["id"])
    first = [name for right in (True, False) for name in taken[right].values()]
    return (first + spare[True] + spare[False])[:_SAMPLES]


def _verdict(line: Mapping[str, Any]) -> str:
    """Say a judge's verdict in a word or two."""
    if line["match"] is None:
        return "no verdict"
    score = "" if line["score"] is None else f", {line['score']:g}"
    return ("yes" if line["match"] else "no") + score


def _sample(row: Scored, pictures: Sequence[tuple[float, str]]) -> str:
    record, prediction = row.record, row.prediction
    right = any(row.values.get(name) for name in _MAIN)
    if record.options and record.answer_index is not None:
        gold = record.options[record.answer_index]
    else:
        gold = ", ".join(record.answers[:3])
    mark = "<span class='right'>right</span>" if right else "<span class='wrong'>wrong</span>"
    verdicts = "".join(
        f" · {escape(name)}: {_verdict(verdict)}" for name, verdict in row.verdicts.items()
    )
    options = (
        f"<p class='meta'>options: {escape(' / '.join(record.options))}</p>"
        if record.options
        else ""
    )
    figures = []
    for seconds, data in pictures:
        inside = any(start <= seconds <= end for start, end in record.evidence)
        caption = f"{seconds:.2f} s" + (" <b>evidence</b>" if inside else "")
        figures.append(
            f'<figure><img src="{data}" alt=""><figcaption>{caption}</figcaption></figure>'
        )
    spans = ", ".join(f"{start:g} to {end:g} s" for start, end in prediction.get("spans", ())[:3])
    return (
        f"<div class='row'><h3>{escape(record.question)}</h3>{options}"
        f"<p>answer: <b>{escape(prediction['answer'][:300])}</b> · gold: {escape(gold)} · {mark}"
        f"{verdicts}</p><p class='meta'>{escape(record.id)} · {escape(record.video[0])} · "
        f"{len(prediction.get('frames', ()))} frames shown · spans {spans or 'none'}</p>"
        f"<div class='frames'>{''.join(figures)}</div></div>"
    )
