"""Rows of a run for people: question, gold, answer, spans and the frames that were shown."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from benchmarks.harness.errors import AnnotationError
from benchmarks.harness.plan import Plan
from benchmarks.harness.run import Run
from benchmarks.harness.scored_row import Scored, scored_rows
from benchmarks.harness.video_folder import open_videos
from benchmarks.judging.judgements import load_judgements
from benchmarks.report.page import render
from benchmarks.report.section import Section
from benchmarks.report.thumbnails import Thumbnails

_MAIN = ("letter", "exact+lemma")
_MOST_CARDS = {"wrong": 80, "right": 60, "unread": 30, "failed": 20, "unscored": 20}
_MOST_PICTURED = 12
_LONGEST = 300


def row_section(run: Run, plan: Plan) -> Section:
    """Show rows of every kind, spread over the run, with a filter by kind."""
    run.load_predictions(plan.database)
    load_judgements(run, plan)
    chosen, totals = _spread(run.folder / "scores.csv")
    try:
        folder = open_videos(run.header)
    except AnnotationError:
        folder = None
    cards = []
    pictured: dict[str, int] = {}
    with Thumbnails() as thumbnails:
        for row in scored_rows(plan, list(chosen)):
            kind = chosen[row.record.id]
            pictures: Sequence[tuple[float, str]] = []
            if folder is not None and pictured.get(kind, 0) < _MOST_PICTURED:
                path = folder.find(row.record.video)
                pictures = thumbnails.cut(path, row.prediction.get("frames", ())) if path else []
                pictured[kind] = pictured.get(kind, 0) + bool(pictures)
            cards.append(_card(row, kind, pictures))
    shown = {kind: sum(card["kind"] == kind for card in cards) for kind in totals}
    kinds = [("all", len(cards)), *((kind, count) for kind, count in shown.items() if count)]
    total = sum(totals.values())
    lines = [
        f"{len(cards)} of {total} rows, spread over the run"
        + "".join(f"; {totals[kind]} are {kind}" for kind in totals if totals[kind])
        + f". Frames are those that the language model was shown, for {_MOST_PICTURED} rows of a "
        "kind; one inside the span that shows the answer is marked."
    ]
    return Section("Rows", lines, drawn=render("rows.html.j2", cards=cards, kinds=kinds))


def _spread(scores: Path) -> tuple[dict[str, str], dict[str, int]]:
    """Choose rows evenly from each kind; return their kinds by id, and how many there are."""
    ids: dict[str, list[str]] = {kind: [] for kind in _MOST_CARDS}
    with scores.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if row["status"] != "not_asked":
                ids[_kind(row)].append(row["id"])
    chosen = {}
    for kind, names in ids.items():
        most = min(_MOST_CARDS[kind], len(names))
        for place in range(most):
            chosen[names[place * len(names) // most]] = kind
    return chosen, {kind: len(names) for kind, names in ids.items()}


def _kind(row: Mapping[str, str]) -> str:
    if row["status"] == "unparsed":
        return "unread"
    if row["status"] != "ok":
        return "failed"
    value = next((row[name] for name in _MAIN if row.get(name)), "")
    return "unscored" if not value else "right" if float(value) > 0 else "wrong"


def _card(row: Scored, kind: str, pictures: Sequence[tuple[float, str]]) -> dict[str, Any]:
    record, prediction = row.record, row.prediction
    spans = ", ".join(f"{start:g} to {end:g} s" for start, end in prediction.get("spans", ())[:3])
    frames = f"{len(prediction.get('frames', ()))} frames shown"
    return {
        "kind": kind,
        "question": record.question,
        "options": record.options,
        "gold_index": record.answer_index if record.options else None,
        "gold": record.options[record.answer_index]
        if record.options and record.answer_index is not None
        else ", ".join(record.answers[:3]),
        "answer": (prediction.get("answer") or prediction.get("error") or row.status)[:_LONGEST],
        "verdicts": "".join(f" · {name}: {_verdict(line)}" for name, line in row.verdicts.items()),
        "where": f"{record.id} · {record.video[0]} · {frames} · spans {spans or 'none'}",
        "pictures": [
            (seconds, Markup(data), any(a <= seconds <= b for a, b in record.evidence))
            for seconds, data in pictures
        ],
    }


def _verdict(line: Mapping[str, Any]) -> str:
    if line["match"] is None:
        return "no verdict"
    score = "" if line["score"] is None else f", {line['score']:g}"
    return ("yes" if line["match"] else "no") + score
