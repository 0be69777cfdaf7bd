"""Put the figures of the harnesses into one file, and add up runs with different seeds.

python -m tests.fuzz.combine benchmarks/results/robustness_*.json --json FILE

Rows of one task, subject and metric become one: counts are added, and of what is called longest
the largest is kept. The settings name each file with the commit and the seed that it was made with.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from benchmarks.measurements import Row, print_table, write_json


def read_rows(file: Path) -> tuple[list[Row], dict[str, object]]:
    """Read what a harness wrote: its rows, and the commit and the settings that it ran with."""
    document = json.loads(file.read_text())
    if isinstance(document, list):
        document = {"rows": document}
    source = {"file": file.name, "commit": document.get("commit"), **document.get("settings", {})}
    return [Row(**row) for row in document["rows"]], source


def combined(rows: Iterable[Row]) -> list[Row]:
    """Make one of the rows of each task, subject and metric, in the order of the first of each."""
    sums: dict[tuple[str, str, str, str], Row] = {}
    for row in rows:
        key = (row.task, row.subject, row.metric, row.unit)
        before = sums.get(key)
        if before is not None:
            is_longest = row.metric.startswith("longest")
            value = max(before.value, row.value) if is_longest else before.value + row.value
            row = dataclasses.replace(row, value=value, n=before.n + row.n)
        sums[key] = row
    return list(sums.values())


def main(arguments: Sequence[str] | None = None) -> int:
    """Combine files and print the table of what counts over all."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--json", metavar="FILE", required=True)
    options = parser.parse_args(arguments)
    rows: list[Row] = []
    sources = []
    for file in options.files:
        of_file, source = read_rows(file)
        rows += of_file
        sources.append(source)
    rows = combined(rows)
    write_json(options.json, rows, sources=sources)
    print_table(rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
