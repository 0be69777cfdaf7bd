"""Rows of a run with all that is known of them: question, answer, verdicts and what they score."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks.harness import answer_matching as matching
from benchmarks.harness.grounding_scores import span_values, tube_values
from benchmarks.harness.option_reader import chosen_option
from benchmarks.harness.plan import Plan
from benchmarks.harness.record import Record

STATUSES = ("ok", "not_asked", "video_missing", "decode_error", "model_error", "unparsed")
MAJORITY = "majority"


@dataclass(slots=True)
class Scored:
    """One row with everything that is known of it.

    Args:
        record: What was asked.
        status: One of STATUSES.
        prediction: The line of the log, {} when there is none.
        values: By metric from 0 to 1; a metric that does not apply is not there.
        verdicts: By judge its line.
        evidence: Whether a frame inside the true span was shown; None where that has no meaning.
        choice: Index of the option that was chosen, None for none and for open rows.
        tied: As many judges said yes as no.
    """

    record: Record
    status: str
    prediction: dict[str, Any]
    values: dict[str, float] = field(default_factory=dict)
    verdicts: dict[str, dict[str, Any]] = field(default_factory=dict)
    evidence: bool | None = None
    choice: int | None = None
    tied: bool = False


def scored_rows(plan: Plan, ids: Collection[str] | None = None) -> Iterator[Scored]:
    """Yield the chosen rows of a run in the order of the file.

    `Run.load_predictions` and `load_judgements` must have been called on the plan.

    Args:
        plan: Of the run.
        ids: Only these questions; None for all.
    """
    judges = [name for (name,) in plan.database.execute("SELECT DISTINCT judge FROM judgements")]
    judges.sort()
    said = plan.database.cursor()
    for record, prediction in logged_rows(plan, ids):
        verdicts: dict[str, dict[str, Any]] = {}
        if judges and prediction.get("status") == "ok":
            query = "SELECT judge, line FROM judgements WHERE id = ? ORDER BY judge"
            verdicts = {name: json.loads(text) for name, text in said.execute(query, (record.id,))}
        yield _score_row(record, prediction, verdicts, judges)


def logged_rows(
    plan: Plan, ids: Collection[str] | None = None
) -> Iterator[tuple[Record, dict[str, Any]]]:
    """Yield the chosen rows, each with its line of the log, {} when there is none."""
    only = "" if ids is None else f"WHERE rows.id IN ({','.join('?' * len(ids))}) "
    rows = plan.database.execute(
        "SELECT record, p.line FROM chosen JOIN rows USING (ord) "
        f"LEFT JOIN predictions p USING (id) {only}ORDER BY ord",
        tuple(ids or ()),
    )
    for line, predicted in rows:
        yield Record.from_json(line), json.loads(predicted) if predicted else {}


def _score_row(
    record: Record,
    prediction: dict[str, Any],
    verdicts: dict[str, dict[str, Any]],
    judges: Sequence[str],
) -> Scored:
    row = Scored(record, prediction.get("status", "not_asked"), prediction, verdicts=verdicts)
    if row.status != "ok":
        return row
    answer = prediction["answer"]
    if record.evidence:
        frames = prediction.get("frames", ())
        row.evidence = any(a <= at <= b for at in frames for a, b in record.evidence)
    if record.tube:
        row.values.update(tube_values(prediction.get("tracks", ()), record.tube))
    if record.options:
        _score_choice(row)
        return row
    if not record.answers:
        return row
    row.values["exact"] = float(matching.exact(answer, record.answers))
    row.values["exact+lemma"] = float(matching.lemma(answer, record.answers))
    row.values["contains"] = float(matching.contains(answer, record.answers))
    for name in judges:
        match = verdicts.get(name, {}).get("match")
        if match is not None:
            row.values[f"judge:{name}"] = float(match)
    if len(judges) > 1:
        votes = [row.values[f"judge:{name}"] for name in judges if f"judge:{name}" in row.values]
        row.tied = bool(votes) and sum(votes) * 2 == len(votes)
        if votes and not row.tied:
            row.values[f"judge:{MAJORITY}"] = float(sum(votes) * 2 > len(votes))
    return row


def _score_choice(row: Scored) -> None:
    """Score a row with options: which was chosen, and when that is seen."""
    record, prediction = row.record, row.prediction
    row.choice = prediction.get("choice")
    if row.choice is None:
        row.choice = chosen_option(prediction["answer"], record.options)
    if row.choice is None:
        row.status = "unparsed"
    elif record.answer_index is not None:
        row.values["letter"] = float(row.choice == record.answer_index)
    if record.evidence:
        right = row.values.get("letter") == 1.0
        row.values.update(span_values(prediction.get("spans", ()), record.evidence, right))
