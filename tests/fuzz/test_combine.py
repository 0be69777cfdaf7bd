"""Figures of several runs add up."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.measurements import Row, write_json
from tests.fuzz.combine import main


def test_runs_with_different_seeds_are_added_up(tmp_path: Path) -> None:
    for seed, seconds in ((1, 9.5), (2, 7.5)):
        rows = [
            Row("kills", "all", "kills", 10, "", 10),
            Row("kills", "all", "longest time", seconds, "s", 10),
        ]
        write_json(str(tmp_path / f"{seed}.json"), rows, seed=seed)
    target = tmp_path / "all.json"
    assert main([str(tmp_path / "1.json"), str(tmp_path / "2.json"), "--json", str(target)]) == 0
    document = json.loads(target.read_text())
    found = {row["metric"]: (row["value"], row["n"]) for row in document["rows"]}
    assert found == {"kills": (20, 20), "longest time": (9.5, 20)}
    assert [source["seed"] for source in document["settings"]["sources"]] == [1, 2]
