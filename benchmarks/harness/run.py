"""A run's folder, and what makes one run what it is.

The id of a run is a hash of everything that decides an answer: annotations, split, configuration,
weights, prompt and code. A folder takes answers of one id only.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.harness.errors import RunError
from benchmarks.harness.json_lines import read_lines
from benchmarks.harness.plan import Plan, Selection

_HEADER = "run.json"
_FORMAT = 1
_SOURCES = ("longvid/**/*.py", "benchmarks/tasks/**/*.py", "benchmarks/harness/asker.py")


@dataclass(slots=True)
class Run:
    """One folder."""

    folder: Path
    header: dict[str, Any]

    @property
    def identity(self) -> dict[str, Any]:
        """What decides an answer."""
        identity: dict[str, Any] = self.header["identity"]
        return identity

    @property
    def id(self) -> str:
        """Hash of the identity."""
        return str(self.header["id"])

    @property
    def plan_path(self) -> Path:
        return self.folder / "plan.sqlite"

    @property
    def judgements_path(self) -> Path:
        return self.folder / "judgements.jsonl"

    def prediction_paths(self) -> list[Path]:
        """Every file of answers: one, or one a shard."""
        return sorted(self.folder.glob("predictions*.jsonl"))

    def prediction_path(self, shard: tuple[int, int]) -> Path:
        """The file that a shard appends to."""
        i, n = shard
        return self.folder / (f"predictions-{i}-of-{n}.jsonl" if n > 1 else "predictions.jsonl")

    def plan(self) -> Plan:
        """Open the rows, with those chosen that the run is about."""
        if not self.plan_path.exists():
            raise RunError(f"{self.folder} has no plan.sqlite; run the benchmark again to make it.")
        plan = Plan(self.plan_path)
        plan.choose(Selection.from_dict(self.header.get("selection", {})))
        return plan

    def save(self, **changes: object) -> None:
        """Change run.json, whole or not at all."""
        self.header.update(changes)
        partial = self.folder / f"{_HEADER}.{os.getpid()}.part"
        partial.write_text(json.dumps(self.header, indent=1, ensure_ascii=False) + "\n")
        partial.replace(self.folder / _HEADER)

    def load_predictions(self, database: sqlite3.Connection) -> int:
        """Put every answer into the TEMP table `predictions` (id, status, line), the last of an
        id standing, and return how many lines were torn.
        """
        database.execute("DROP TABLE IF EXISTS temp.predictions")
        database.execute(
            "CREATE TEMP TABLE predictions (id TEXT PRIMARY KEY, status TEXT, line TEXT)"
        )
        num_torn = 0
        for path in self.prediction_paths():
            for line, row in read_lines(path):
                if row is None:
                    num_torn += 1
                    continue
                database.execute(
                    "INSERT OR REPLACE INTO predictions VALUES (?, ?, ?)",
                    (row["id"], row.get("status", ""), line),
                )
        return num_torn


def open_run(folder: Path, identity: Mapping[str, Any], about: Mapping[str, Any]) -> Run:
    """Make a run's folder, or go on with the one that is there.

    Args:
        folder: Of the run.
        identity: What decides an answer.
        about: What else a reader should know (versions, machine); never compared.

    Raises:
        RunError: The folder holds another run; the sentence says what differs.
    """
    wanted = identity_hash(identity)
    path = folder / _HEADER
    if path.exists():
        run = load_run(folder)
        if run.id != wanted:
            pairs = {
                name: (run.identity.get(name), identity.get(name))
                for name in sorted({*run.identity, *identity})
            }
            differing = [
                f"{name} is {_short(there)} there and {_short(here)} here"
                for name, (there, here) in pairs.items()
                if there != here
            ]
            raise RunError(
                f"{folder} holds another run: {'; '.join(differing)}. Two runs are never mixed: "
                "leave out --run, name another folder, or remove that one."
            )
        return run
    if folder.exists() and any(folder.iterdir()):
        raise RunError(f"{folder} holds files but no {_HEADER}; name an empty or new folder.")
    folder.mkdir(parents=True, exist_ok=True)
    run = Run(folder, {"format": _FORMAT, "id": wanted, "identity": dict(identity), **about})
    run.save()
    return run


def load_run(folder: Path) -> Run:
    """Open the folder of a run that is there.

    Raises:
        RunError: It is not one.
    """
    try:
        header = json.loads((folder / _HEADER).read_text())
    except OSError as error:
        raise RunError(f"{folder} is not the folder of a run: it has no {_HEADER}.") from error
    except ValueError as error:
        raise RunError(f"{folder / _HEADER} is not JSON ({error}).") from error
    if not isinstance(header, dict) or header.get("format") != _FORMAT:
        raise RunError(f"{folder / _HEADER} is not of format {_FORMAT}, which this version reads.")
    return Run(folder, header)


def identity_hash(identity: Mapping[str, Any]) -> str:
    """Return 12 hexadecimal digits that stand for an identity."""
    text = json.dumps(identity, sort_keys=True, ensure_ascii=False)
    return hashlib.blake2b(text.encode(), digest_size=6).hexdigest()


def file_hash(paths: Iterable[Path]) -> str:
    """Hash the content of files in order, 16 hexadecimal digits."""
    digest = hashlib.blake2b(digest_size=8)
    for path in paths:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
        digest.update(b"\0")
    return digest.hexdigest()


@functools.cache
def code_version() -> str:
    """Name the code that makes answers: the version, and a hash of its sources."""
    import longvid

    root = Path(longvid.__file__).parents[1]
    sources = [path for pattern in _SOURCES for path in sorted(root.glob(pattern))]
    return f"{longvid.__version__}+{file_hash(sources)[:8]}"


def _short(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."
