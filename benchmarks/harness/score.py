"""The third stage: plan, answers and verdicts in, scores.csv (a line a row) and score.json out.

Rows are joined on disk and read one by one; what is kept are sums by video. The same files give
the same bytes.
"""

from __future__ import annotations

import csv
import json
import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.harness.baselines import baselines
from benchmarks.harness.grounding_scores import MEANS, METRICS
from benchmarks.harness.output_check import Outputs
from benchmarks.harness.plan import PROBLEMS, Plan
from benchmarks.harness.record import Record
from benchmarks.harness.run import Run, file_hash, identity_hash
from benchmarks.harness.scored_row import MAJORITY, STATUSES, Scored, scored_rows
from benchmarks.harness.statistics import Clustered, Estimate
from benchmarks.judging.judgements import load_judgements
from benchmarks.judging.verdict import PROMPT_HASH

_ROOMS = [Path(__file__).parents[1] / name for name in ("harness", "judging")]


@dataclass(frozen=True, slots=True)
class Subject:
    """What scoring needs to know of a task.

    Args:
        groups: Groups of a record that get figures of their own.
        macro: The group over whose values the headline is averaged, "" for none.
        grounds: What is scored beside the answer, as of `Task`.
    """

    groups: Sequence[str] = ("type",)
    macro: str = ""
    grounds: str = ""

    def applies(self, metric: str, record: Record) -> bool:
        """Tell whether a metric is about a row."""
        if metric in METRICS[self.grounds]:
            return bool(record.tube if self.grounds == "tube" else record.evidence)
        if metric == "letter":
            return bool(record.options)
        return bool(record.answers) and not record.options


class _SumsByMetric(dict[tuple[str, str, str], Clustered]):
    """Sums by metric, group and its value; a mean is no share."""

    def __missing__(self, key: tuple[str, str, str]) -> Clustered:
        return self.setdefault(key, Clustered(shares=key[0] not in MEANS))


class _Tally:
    """Every sum of one pass over the rows."""

    def __init__(self, subject: Subject, metrics: Sequence[str]) -> None:
        self.subject = subject
        self.metrics = metrics
        self.statuses: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()
        self.examples: dict[str, list[str]] = {}
        self.attempted = _SumsByMetric()
        self.everything = _SumsByMetric()
        self.evidence: defaultdict[tuple[str, str], Clustered] = defaultdict(Clustered)
        self.right_given: dict[bool, Clustered] = {True: Clustered(), False: Clustered()}
        self.scores: dict[str, Clustered] = {}
        self.judge_errors: Counter[str] = Counter()
        self.unjudged: Counter[str] = Counter()
        self.ties = 0
        self.judge_agreement: dict[str, Clustered] = {}
        self.seconds: dict[str, float] = {}
        self.tokens: Counter[str] = Counter()
        self.subtitles: Counter[str] = Counter()
        self.outputs = Outputs()

    def add(self, row: Scored) -> None:
        self.statuses[row.status] += 1
        record, cluster = row.record, row.record.cluster
        if row.status not in ("ok", "not_asked"):
            kind = row.prediction.get("error_kind", row.status)
            self.errors[f"{row.status}: {kind}" if kind != row.status else kind] += 1
            shown = self.examples.setdefault(row.status, [])
            if len(shown) < 5:
                why = row.prediction.get("error", "no option in the reply")
                shown.append(f"{record.id}: {why}")
        groups = [("", "")]
        groups += [
            (name, record.group[name]) for name in self.subject.groups if name in record.group
        ]
        applying = [m for m in self.metrics if self.subject.applies(m, record)]
        for metric in applying if record.has_gold else ():
            # A row without a verdict is not attempted by that judge, and is not right over all.
            if metric.startswith("judge:") and row.status == "ok" and metric not in row.values:
                self.unjudged[metric.removeprefix("judge:")] += 1
            for group in groups:
                key = (metric, *group)
                value = row.values.get(metric, 0.0)
                self.everything[key].add(cluster, value)
                # What cannot be read was attempted, and is wrong.
                if metric in row.values or row.status == "unparsed":
                    self.attempted[key].add(cluster, value)
        if row.evidence is not None:
            for group in groups:
                self.evidence[group].add(cluster, float(row.evidence))
            main = "letter" if record.options else "exact+lemma"
            if main in row.values:
                self.right_given[row.evidence].add(cluster, row.values[main])
        self._add_verdicts(row)
        self.ties += row.tied
        if row.prediction.get("status") == "ok":
            if record.options:
                self.outputs.add_choice(row.choice, record.answer_index)
            else:
                self.outputs.add(row.prediction["answer"])
            for step, value in row.prediction.get("seconds", {}).items():
                self.seconds[step] = self.seconds.get(step, 0.0) + value
            for name in ("visual_tokens", "prompt_tokens", "output_tokens"):
                self.tokens[name] += row.prediction.get(name, 0)
            self.tokens["frames"] += len(row.prediction.get("frames", ()))
            if "subtitle_lines" in row.prediction:
                lines = row.prediction["subtitle_lines"]
                found = "no readable file" if lines is None else "lines" if lines else "no line"
                self.subtitles[found] += 1

    def _add_verdicts(self, row: Scored) -> None:
        for name, verdict in row.verdicts.items():
            if verdict["status"] != "ok" or (verdict["match"] is None and verdict["score"] is None):
                self.judge_errors[name] += 1
            if verdict["score"] is not None:
                self.scores.setdefault(name, Clustered(shares=False)).add(
                    row.record.cluster, float(int(verdict["score"]))
                )
            if f"judge:{name}" in row.values and "exact+lemma" in row.values:
                same = row.values[f"judge:{name}"] == row.values["exact+lemma"]
                self.judge_agreement.setdefault(name, Clustered()).add(
                    row.record.cluster, float(same)
                )


def score(run: Run, plan: Plan, subject: Subject, *, anew: bool = True) -> dict[str, Any]:
    """Score a run, write scores.csv and score.json, and return what the latter holds.

    Args:
        run: Its logs are read.
        plan: Its rows, chosen.
        subject: Which groups count.
        anew: False returns what is there if it was made of the same logs by the same code.
    """
    made_from = _inputs(run)
    there = run.folder / "score.json"
    if not anew and there.exists():
        result: dict[str, Any] = json.loads(there.read_text("utf-8"))
        if result.get("made_from") == made_from:
            return result
    torn = run.load_predictions(plan.database)
    torn_judgements = load_judgements(run, plan)
    judges = sorted(n for (n,) in plan.database.execute("SELECT DISTINCT judge FROM judgements"))
    metrics = ["letter", "exact", "exact+lemma", "contains", *(f"judge:{n}" for n in judges)]
    if len(judges) > 1:
        metrics.append(f"judge:{MAJORITY}")
    metrics += METRICS[subject.grounds]
    tally = _Tally(subject, metrics)
    columns = ["id", "video", "status", *subject.groups, *metrics, "evidence", "answer"]
    with (run.folder / "scores.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        for row in scored_rows(plan):
            tally.add(row)
            writer.writerow(
                [
                    row.record.id,
                    row.record.cluster,
                    row.status,
                    *(row.record.group.get(name, "") for name in subject.groups),
                    *(f"{row.values[m]:g}" if m in row.values else "" for m in metrics),
                    "" if row.evidence is None else int(row.evidence),
                    row.prediction.get("answer", ""),
                ]
            )
    result = _summary(run, plan, tally, judges)
    result["torn_lines"] = torn + torn_judgements
    result["made_from"] = made_from
    (run.folder / "score.json").write_text(
        json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    return result


def _inputs(run: Run) -> dict[str, Any]:
    """Name what a score is made of: logs only grow, so their sizes say whether they changed."""
    logs = [*run.prediction_paths(), run.judgements_path]
    return {
        "bytes": {path.name: path.stat().st_size for path in logs if path.exists()},
        "selection": identity_hash({"rows": run.header.get("selection")}),
        "code": file_hash(sorted(path for room in _ROOMS for path in room.rglob("*.py"))),
    }


def _summary(run: Run, plan: Plan, tally: _Tally, judges: Sequence[str]) -> dict[str, Any]:
    rows = sum(tally.statuses.values())
    answered = tally.statuses["ok"] + tally.statuses["unparsed"]
    return {
        "run": run.id,
        "identity": run.identity,
        "rows_of_split": plan.num_rows(),
        "rows": rows,
        "coverage": {name: tally.statuses[name] for name in STATUSES},
        "errors": dict(sorted(tally.errors.items())),
        "error_examples": tally.examples,
        "problems": {
            kind: {"meaning": PROBLEMS[kind], "count": count, "first": first}
            for kind, (count, first) in plan.problems().items()
        },
        "metrics": _figures(tally),
        "macro": _macro(tally) if tally.subject.macro else {},
        "evidence_recall": {
            _name(*group): _plain(sums.estimate()) for group, sums in sorted(tally.evidence.items())
        },
        "right_if_evidence_shown": _plain(tally.right_given[True].estimate()),
        "right_if_evidence_not_shown": _plain(tally.right_given[False].estimate()),
        "judges": {
            name: {
                "prompt": PROMPT_HASH,
                "mean_score": _plain(tally.scores[name].estimate())
                if name in tally.scores
                else None,
                "judge_errors": tally.judge_errors[name],
                "unjudged": tally.unjudged[name],
                "agreement_with_exact+lemma": _plain(tally.judge_agreement[name].estimate())
                if name in tally.judge_agreement
                else None,
            }
            for name in judges
        },
        "ties": tally.ties,
        "subtitles": dict(sorted(tally.subtitles.items())),
        "baselines": baselines(plan),
        "outputs": tally.outputs.summary(),
        "seconds_per_row": {
            step: value / answered for step, value in sorted(tally.seconds.items()) if answered
        },
        "per_row": {
            name: value / answered for name, value in sorted(tally.tokens.items()) if answered
        },
    }


def _figures(tally: _Tally) -> dict[str, Any]:
    """Return metric → group → what was reached, over attempted rows and over all."""
    figures: dict[str, Any] = {}
    for key, sums in tally.everything.items():
        metric, group, value = key
        attempted = tally.attempted.get(key)
        over_all = _plain(sums.estimate())
        figures.setdefault(metric, {})[_name(group, value)] = {
            "attempted": _plain(attempted.estimate()) if attempted else None,
            "all": over_all,
        }
    return {
        metric: dict(sorted(figures[metric].items(), key=lambda item: _place(item[0])))
        for metric in tally.metrics
        if metric in figures
    }


_LENGTHS = {"short": 0, "medium": 1, "long": 2}


def _place(group: str) -> tuple[object, ...]:
    """Sort groups by name, numbers by size, and lengths from short to long."""
    name, _, value = group.partition("=")
    number = float(value) if value.replace(".", "", 1).isdigit() else math.inf
    return (group != "all", name, _LENGTHS.get(value, 0), number, value)


def _macro(tally: _Tally) -> dict[str, Any]:
    """Average over the values of the macro group: every task counts the same."""
    averaged: dict[str, Any] = {}
    for metric in tally.metrics:
        for name, table in (("attempted", tally.attempted), ("all", tally.everything)):
            parts = [
                sums.estimate()
                for (m, group, _), sums in sorted(table.items())
                if m == metric and group == tally.subject.macro
            ]
            found = [part for part in parts if part is not None]
            if found:
                spread = math.sqrt(sum(part.standard_error**2 for part in found)) / len(found)
                averaged.setdefault(metric, {})[name] = {
                    "over": tally.subject.macro,
                    "num_groups": len(found),
                    "mean": sum(part.mean for part in found) / len(found),
                    "standard_error": None if math.isnan(spread) else spread,
                }
    return averaged


def _name(group: str, value: str) -> str:
    return f"{group}={value}" if group else "all"


def _plain(estimate: Estimate | None) -> Mapping[str, float | int | None] | None:
    """Return an estimate as JSON has it: a number that does not exist is null."""
    if estimate is None:
        return None
    values = {
        "mean": estimate.mean,
        "num_rows": estimate.num_rows,
        "num_videos": estimate.num_clusters,
        "standard_error": estimate.standard_error,
        "low": estimate.low,
        "high": estimate.high,
    }
    return {
        name: None if isinstance(value, float) and math.isnan(value) else value
        for name, value in values.items()
    }
