"""A small share of the damaged stores, for every run of the suite."""

from __future__ import annotations

from pathlib import Path

from tests.fuzz.damaged_stores import Bench, trials

SEED = 5
QUICK = ("status", "verify", "failures", "clean", "remove")


def test_damaged_stores_answer_rightly_or_say_why(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    chosen = [*trials(60, SEED, QUICK), *trials(6, SEED, ("search", "ask", "rebuild"))]
    faults = {str(trial): bench.try_one(trial) for trial in chosen}
    print(f"seed {SEED}: {len(chosen)} commands")
    assert {name: found for name, found in faults.items() if found[0]} == {}
