"""Questions about drawn films as the rows of a benchmark, and the folder of their run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.harness.asker import model_identity
from benchmarks.harness.plan import make_plan
from benchmarks.harness.record import Record
from benchmarks.harness.run import Run, code_version, identity_hash, open_run
from benchmarks.harness.task import Found, Layout, Task
from benchmarks.tasks.world.films import Case
from benchmarks.tasks.world.suites import SUITES, named_by
from longvid.config import Config

TASK = Task("world", (), tuple(SUITES))


def records_of(cases: Sequence[Case]) -> list[Record]:
    """Return the questions about films; an id is the number of the film and of the question."""
    return [
        Record(
            f"{film}-{number}",
            (case.path.name,),
            question.text,
            (question.answer,),
            group={"type": question.type, "named by": named_by(question)},
            evidence=question.evidence,
        )
        for film, case in enumerate(cases)
        for number, question in enumerate(case.questions)
    ]


def open_rows(
    split: str,
    records: Sequence[Record],
    folder: Path,
    config: Config,
    **decides: object,
) -> Run:
    """Open the folder of a run, with its plan, or go on with the one that is there.

    Args:
        split: The suite.
        records: Its rows.
        folder: Of the films, and of the runs below it.
        config: Whose answers are judged.
        decides: What else decides an answer.
    """
    identity = {
        "task": TASK.name,
        "split": split,
        "layout": "drawn",
        "annotations": identity_hash({"rows": [record.to_json() for record in records]}),
        "config": identity_hash(config.to_dict()),
        "index": config.fingerprint(),
        "model": dict(model_identity(config)),
        "code": code_version(),
        **decides,
    }
    name = f"{TASK.name}-{split.replace(' ', '')}-{identity_hash(identity)}"
    run = open_run(folder / "runs" / name, identity, {"videos": str(folder)})
    if not run.plan_path.exists():
        layout = Layout("drawn", (), (), lambda found: records)
        make_plan(run.plan_path, TASK, Found(layout, split, (), folder))
    return run
