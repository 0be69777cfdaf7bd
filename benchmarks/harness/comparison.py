"""Two runs over the same rows: the difference, whether it means anything, and what flipped."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from itertools import zip_longest

from benchmarks.harness.errors import RunError
from benchmarks.harness.run import Run
from benchmarks.harness.scored_row import Scored, scored_rows
from benchmarks.harness.statistics import Clustered, paired_test
from benchmarks.judging.judgements import load_judgements

_MUST_AGREE = ("task", "split", "layout", "annotations")
_SHOWN = 10


def compare(first: Run, second: Run) -> str:
    """Compare by every metric that both have, row by row, and write flips.csv into the second.

    A row that either run has no answer to counts as wrong there.

    Returns:
        Markdown.

    Raises:
        RunError: The runs are not over the same rows.
    """
    for name in _MUST_AGREE:
        if first.identity[name] != second.identity[name]:
            raise RunError(
                f"{first.folder.name} and {second.folder.name} cannot be compared: {name} is "
                f"{first.identity[name]!r} in one and {second.identity[name]!r} in the other; run "
                "both over the same files."
            )
    sums: dict[str, tuple[Clustered, Clustered]] = {}
    flips: dict[str, list[int]] = {}
    examples: list[str] = []
    differing = [k for k in first.identity if first.identity[k] != second.identity.get(k)]
    path = second.folder / "flips.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["id", "video", "metric", "now", "gold", "answer A", "answer B"])
        judges = [_judges(first), _judges(second)]
        for a, b in _pairs(first, second):
            for metric in _metrics(a, judges[0] & judges[1]):
                left, right = a.values.get(metric, 0.0), b.values.get(metric, 0.0)
                both = sums.setdefault(metric, (Clustered(), Clustered()))
                both[0].add(a.record.cluster, left)
                both[1].add(a.record.cluster, right)
                count = flips.setdefault(metric, [0, 0])
                if left == right:
                    continue
                count[int(right > left)] += 1
                now = "right" if right > left else "wrong"
                answers = [str(r.prediction.get("answer", r.status)) for r in (a, b)]
                gold = _gold(a)
                writer.writerow([a.record.id, a.record.cluster, metric, now, gold, *answers])
                if metric in ("letter", "exact+lemma") and len(examples) < _SHOWN:
                    examples.append(
                        f"- {a.record.id} now {now}: {a.record.question} "
                        f"({answers[0]!r} → {answers[1]!r}, gold {gold!r})"
                    )
    lines = [
        f"# {first.folder.name} → {second.folder.name}\n",
        f"Differ in: {', '.join(differing) or 'nothing that decides an answer'}.\n",
        "| metric | A | B | difference | ± | now right | now wrong | p, by video |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for metric, (left_sums, right_sums) in sums.items():
        a_mean, b_mean = left_sums.estimate(), right_sums.estimate()
        test = paired_test(left_sums, right_sums)
        worse, better = flips[metric]
        if a_mean is not None and b_mean is not None:
            lines.append(
                f"| {metric} | {100 * a_mean.mean:.1f} % | {100 * b_mean.mean:.1f} % | "
                f"{100 * test.difference:+.1f} | {100 * test.standard_error:.1f} | {better} | "
                f"{worse} | {test.p_value:.3g} |"
            )
    lines += ["", *(["Flipped:", *examples] if examples else []), f"All flips: {path}"]
    return "\n".join(lines)


def _pairs(first: Run, second: Run) -> Iterator[tuple[Scored, Scored]]:
    with first.plan() as left, second.plan() as right:
        for run, plan in ((first, left), (second, right)):
            run.load_predictions(plan.database)
            load_judgements(run, plan)
        for a, b in zip_longest(scored_rows(left), scored_rows(right)):
            if a is None or b is None or a.record.id != b.record.id:
                raise RunError(
                    "The two runs are over different selections of rows; run both with the same "
                    "--limit, --sample or --ids."
                )
            yield a, b


def _judges(run: Run) -> set[str]:
    with run.plan() as plan:
        load_judgements(run, plan)
        return {n for (n,) in plan.database.execute("SELECT DISTINCT judge FROM judgements")}


def _metrics(row: Scored, judges: set[str]) -> list[str]:
    """Return what both runs can be compared by; what a run did not answer is wrong in it."""
    if not row.record.has_gold:
        return []
    if row.record.options:
        return ["letter"]
    return ["exact", "exact+lemma", "contains", *(f"judge:{name}" for name in sorted(judges))]


def _gold(row: Scored) -> str:
    index = row.record.answer_index
    return row.record.options[index] if index is not None else ", ".join(row.record.answers)
