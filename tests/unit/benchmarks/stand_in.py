"""Runs without a model: an asker that answers from a table, and the folders it needs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.harness.plan import Selection, make_plan
from benchmarks.harness.predict import Inference, Rows, infer
from benchmarks.harness.run import Run, open_run
from benchmarks.harness.score import Subject, score
from benchmarks.harness.task import probe
from benchmarks.harness.video_folder import VideoFolder
from benchmarks.tasks import load_task
from tests.unit.benchmarks.folders import Row, write_msvd

IDENTITY = {
    "task": "msvd-qa",
    "split": "test",
    "layout": "csv",
    "annotations": "0",
    "budget": 64,
    "text_only": False,
    "code": "1",
}


class Parrot:
    """Answers as told, and notes what it was asked."""

    def __init__(self, answer: Callable[[str, str], dict[str, Any]]) -> None:
        self.answer = answer
        self.asked: list[str] = []

    def ask(self, rows: Rows) -> Iterable[dict[str, Any]]:
        self.asked += [record.id for record, _ in rows]
        return [
            {"id": record.id, "seconds": {"llm": 0.01}, **self.answer(record.id, record.question)}
            for record, _ in rows
        ]


def says(text: str) -> Callable[[str, str], dict[str, Any]]:
    """Give one answer to everything."""
    return lambda name, question: {
        "status": "ok",
        "answer": text,
        "frames": [0.5],
        "spans": [[0.0, 1.0]],
        "visual_tokens": 16,
        "prompt_tokens": 30,
        "output_tokens": 1,
    }


def make_videos(folder: Path, rows: Sequence[Row], suffix: str = ".avi") -> Path:
    """Make empty files under the names of clips: enough to be found."""
    folder.mkdir(parents=True, exist_ok=True)
    for row in rows:
        (folder / f"vid{row.clip}{suffix}").touch()
    return folder


def new_run(folder: Path, rows: Sequence[Row], **changes: object) -> Run:
    """Make a run over rows of MSVD-QA's test split."""
    annotations = folder / "annotations"
    write_msvd(annotations, "csv", "test", rows)
    run = open_run(folder / "run", {**IDENTITY, **changes}, {"config_name": "stand-in"})
    if not run.plan_path.exists():
        task = load_task("msvd-qa")
        make_plan(run.plan_path, task, probe(task, annotations))
    run.save(selection=Selection().to_dict(), videos=str(folder / "videos"))
    return run


def go(
    run: Run, asker: Parrot, videos: Path, *, retry: bool = False, **selection: Any
) -> Inference:
    """Run the first stage."""
    with run.plan() as plan:
        return infer(
            run,
            plan,
            Selection(**selection),
            lambda: VideoFolder(videos),
            lambda paths: asker,
            retry=retry,
        )


def scored(run: Run) -> dict[str, Any]:
    """Run the third stage."""
    with run.plan() as plan:
        return score(run, plan, Subject(("type",)))


def lines(path: Path) -> list[dict[str, Any]]:
    """Read a log."""
    return [json.loads(line) for line in path.read_text().splitlines() if line.startswith("{")]
