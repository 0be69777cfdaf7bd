"""One result row, and the two ways it is shown: a table for people, JSON for machines."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import statistics
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar

_Subject = TypeVar("_Subject")


@dataclass(frozen=True, slots=True)
class Row:
    """One measured figure.

    Args:
        task: What was done ("1 fps throughout").
        subject: Who did it ("longvid", "decord").
        metric: What was measured ("wall").
        value: The median, or the single figure.
        unit: Of the value.
        n: How many measurements it rests on.
        spread: Largest minus smallest of them; of a share, the width of its 95 % interval.
    """

    task: str
    subject: str
    metric: str
    value: float
    unit: str
    n: int = 1
    spread: float = 0.0


def median_row(task: str, subject: str, metric: str, values: Sequence[float], unit: str) -> Row:
    """Return the median of some measurements as a row."""
    spread = max(values) - min(values)
    return Row(task, subject, metric, statistics.median(values), unit, len(values), spread)


def in_turns(subjects: Iterable[_Subject], repeats: int) -> Iterator[_Subject]:
    """Yield all subjects so many times, forwards and backwards alternately."""
    order = list(subjects)
    for _ in range(repeats):
        yield from order
        order.reverse()


def print_table(rows: Sequence[Row]) -> None:
    """Print one table a task: a line a subject, a column a metric."""
    for task in dict.fromkeys(row.task for row in rows):
        chosen = [row for row in rows if row.task == task]
        metrics = list(dict.fromkeys((row.metric, row.unit) for row in chosen))
        header = ["", *(f"{metric} [{unit}]" if unit else metric for metric, unit in metrics)]
        lines = [header]
        for subject in dict.fromkeys(row.subject for row in chosen):
            cells = {
                (row.metric, row.unit): f"{row.value:.4g}"
                for row in chosen
                if row.subject == subject
            }
            lines.append([subject, *(cells.get(metric, "") for metric in metrics)])
        widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
        print(f"\n{task}")
        for line in lines:
            print(
                f"  {line[0]:<{widths[0]}}  "
                + "  ".join(
                    f"{cell:>{width}}" for cell, width in zip(line[1:], widths[1:], strict=True)
                )
            )


def _versions(names: Iterable[str]) -> dict[str, str]:
    found = {}
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _commit() -> str:
    try:
        result = subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"],
            capture_output=True,
            text=True,
            check=True,
            cwd=Path(__file__).parent,
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return result.stdout.strip()


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def environment() -> dict[str, Any]:
    """Return what a reader needs to make a result again elsewhere: machine, versions, commit."""
    return {
        "machine": {
            "processor": _processor(),
            "cores": os.cpu_count(),
            "system": platform.system(),
            "python": platform.python_version(),
        },
        "versions": _versions(
            (
                "longvid",
                "torch",
                "av",
                "decord",
                "opencv-python-headless",
                "torchcodec",
                "transformers",
                "faiss-cpu",
                "ray",
                "numpy",
            )
        ),
        "commit": _commit(),
    }


def write_json(path: str, rows: Sequence[Row], **settings: object) -> None:
    """Write rows with what is needed to understand them: machine, versions, commit, settings."""
    document = {
        **environment(),
        "settings": {name: _without_folder(value) for name, value in settings.items()},
        "rows": [dataclasses.asdict(row) for row in rows],
    }
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(json.dumps(document, indent=1) + "\n")


def _without_folder(value: object) -> object:
    """Know a file by its name: where it lies says nothing to a reader elsewhere."""
    if isinstance(value, list):
        return [_without_folder(item) for item in value]
    return Path(value).name if isinstance(value, str) and os.sep in value else value
