"""Figures as a table for other programs, and the file that a server of EgoSchema takes."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from typing import Any

from benchmarks.harness.plan import Plan
from benchmarks.harness.run import Run
from benchmarks.harness.scored_row import scored_rows
from benchmarks.judging.judgements import load_judgements

_SPREAD = ("mean", "standard_error", "low", "high")


def write_csv(run: Run, result: Mapping[str, Any]) -> None:
    """Write a line a figure, so that several runs can be put under each other."""
    names = ("task", "split", "budget", "text_only")
    with (run.folder / "report.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        head = ["run", *names, "config", "metric", "group", "over", *_SPREAD, "rows", "videos"]
        writer.writerow(head)
        for metric, groups in result["metrics"].items():
            for group, both in groups.items():
                for over, value in both.items():
                    if value is not None:
                        writer.writerow(
                            [run.id, *(run.identity[name] for name in names)]
                            + [run.header.get("config_name", ""), metric, group, over]
                            + [value[name] for name in _SPREAD]
                            + [value["num_rows"], value["num_videos"]]
                        )


def write_submission(run: Run, plan: Plan) -> None:
    """Write what EgoSchema's server takes: question to index of the option."""
    run.load_predictions(plan.database)
    load_judgements(run, plan)
    chosen = {row.record.id: row.choice for row in scored_rows(plan) if row.choice is not None}
    (run.folder / "submission.json").write_text(json.dumps(chosen, indent=1) + "\n")
