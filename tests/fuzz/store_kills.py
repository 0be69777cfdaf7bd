"""Kill writers of a store at random, and finish the work: the store must be byte-equal.

python -m tests.fuzz.store_kills --kills 100 --seed 1 --json FILE

Half of the writers die right before or in the middle of a file operation, the others at a moment.
Two kinds of fault are counted, and both should be 0:

    survivors    after a kill, what the store shows is not whole
    endings      after the same run again, an object differs from that of an undisturbed run
"""

from __future__ import annotations

import argparse
import multiprocessing
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.measurements import Row, write_json
from longvid.store import Store
from tests.e2e.test_store_kill import check_survivor, die_at, files, index_all

FAULTS = ("survivors", "endings")


def kill_once(folder: str, start: Callable[[str], None], undisturbed: Store) -> tuple[str, int]:
    """Kill one writer and run it again; return the fault, "" for none, and videos that survived."""
    start(folder)
    try:
        survived = check_survivor(folder, undisturbed)
    except AssertionError as error:
        return f"survivors: {error}", 0
    index_all(folder)
    store = Store.open(folder)
    expected = files(undisturbed.uri, "store.*", "videos/**/*")
    if (
        store.digest() != undisturbed.digest()
        or files(folder, "store.*", "videos/**/*") != expected
        or store.verify() != []
    ):
        return "endings: the store differs", survived
    return "", survived


def main(arguments: Sequence[str] | None = None) -> int:
    """Kill as many writers as asked; 0 if no fault was found, 1 otherwise."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=100, metavar="N")
    parser.add_argument("--seed", type=int, default=1, metavar="N")
    parser.add_argument("--json", metavar="FILE", help="write the rows, as they come")
    options = parser.parse_args(arguments)
    print(f"seed {options.seed}", flush=True)
    draw = random.Random(options.seed)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["longvid.store", "faiss", "tests.unit.store.synthetic"])
    counts: Counter[str] = Counter()
    survivors: Counter[int] = Counter()
    with tempfile.TemporaryDirectory(prefix="kills") as scratch:
        index_all(f"{scratch}/undisturbed")
        undisturbed = Store.open(f"{scratch}/undisturbed")
        began = time.monotonic()
        counter = context.Process(target=die_at, args=(f"{scratch}/counted", -1))
        counter.start()
        counter.join()
        seconds = time.monotonic() - began
        operations = int(Path(f"{scratch}/counted.operations").read_text())

        def at_an_operation(folder: str) -> None:
            process = context.Process(
                target=die_at, args=(folder, draw.randrange(1, operations + 1))
            )
            process.start()
            process.join()

        def at_a_moment(folder: str) -> None:
            process = context.Process(target=index_all, args=(folder,))
            process.start()
            time.sleep(seconds * draw.random())
            process.kill()
            process.join()

        for number in range(options.kills):
            folder = f"{scratch}/store"
            shutil.rmtree(folder, ignore_errors=True)
            start = at_an_operation if number % 2 == 0 else at_a_moment
            fault, survived = kill_once(folder, start, undisturbed)
            counts["kills"] += 1
            survivors[survived] += 1
            if fault:
                counts[fault.partition(":")[0]] += 1
                print(f"kill {number}: {fault}", flush=True)
            if options.json and (number % 20 == 19 or number + 1 == options.kills):
                write_json(options.json, _rows(counts, survivors), seed=options.seed)
    print(f"{counts['kills']} kills, videos that survived: {sorted(survivors.items())}")
    print(", ".join(f"{fault} {counts[fault]}" for fault in FAULTS), file=sys.stderr)
    return 1 if any(counts[fault] for fault in FAULTS) else 0


def _rows(counts: Counter[str], survivors: Counter[int]) -> list[Row]:
    kills = counts["kills"]
    return [
        Row("killed writers", "local", "kills", kills, "", kills),
        *(Row("killed writers", "local", fault, counts[fault], "", kills) for fault in FAULTS),
        *(
            Row("killed writers", f"{number} of 4 videos", "survived", times, "", kills)
            for number, times in sorted(survivors.items())
        ),
    ]


if __name__ == "__main__":
    raise SystemExit(main())
