"""Append-only files of one JSON object a line, which survive a process that dies while writing."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import filelock

from benchmarks.harness.errors import RunError


class Log:
    """Appends lines. A line that an earlier process left torn is closed, not removed.

    Args:
        path: Made when it is not there.

    Raises:
        RunError: Another process writes it.
    """

    def __init__(self, path: Path) -> None:
        self._lock = filelock.FileLock(path.with_name(f".{path.name}.lock"))
        try:
            self._lock.acquire(timeout=0)
        except filelock.Timeout:
            raise RunError(
                f"{path} is being written by another process; wait until it ends, or give each "
                "process a part of the rows with --shard I/N."
            ) from None
        self._file = path.open("ab")
        if self._file.tell():
            with path.open("rb") as file:
                file.seek(-1, os.SEEK_END)
                torn = file.read(1) != b"\n"
            if torn:
                self._file.write(b"\n")

    def __enter__(self) -> Log:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._lock.release()

    def append(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Write rows, so that the system holds them before this returns."""
        lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        self._file.write("".join(lines).encode())
        self._file.flush()


def read_lines(path: Path) -> Iterator[tuple[str, dict[str, Any] | None]]:
    """Yield each line with its object, None for a line that is torn or no object."""
    if not path.exists():
        return
    with path.open("rb") as file:
        for raw in file:
            line = raw.decode("utf-8", errors="replace").strip()
            if not line:
                continue
            try:
                value = json.loads(line)
            except ValueError:
                value = None
            yield line, value if isinstance(value, dict) and "id" in value else None
