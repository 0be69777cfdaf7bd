"""A small share of the mutated clips; `python -m tests.fuzz.mutated_clips` goes on for hours."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from tests.fuzz.clip_pairs import PAIRS, Pair
from tests.fuzz.mutated_clips import FAULTS, base_clips, mutated, try_batch

SEED = int(os.environ.get("LONGVID_SEED", "20261129"))
SOME = [pair for pair in PAIRS if max(pair.size) <= 128][::6]


@pytest.mark.parametrize("pair", SOME, ids=lambda pair: pair.name)
def test_mutants_give_right_pictures_or_gaps(tmp_path: Path, pair: Pair) -> None:
    ((name, clip),) = base_clips(tmp_path, [pair]).items()
    print(f"seed {SEED}")
    _, tally = try_batch((name, str(clip), SEED, 8))
    assert tally.mutants == 8
    assert {fault: tally.faults[fault] for fault in FAULTS} == dict.fromkeys(FAULTS, 0), (
        tally.examples
    )


def test_a_seed_names_a_mutant() -> None:
    content = bytes(range(256)) * 40
    seen = {mutated(content, random.Random(f"a {seed}")) for seed in range(50)}
    assert len(seen) >= 45
    assert mutated(content, random.Random("a 7")) == mutated(content, random.Random("a 7"))
    assert mutated(b"", random.Random(1)) == b""
