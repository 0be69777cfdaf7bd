"""Everything that needs a GPU, in one run of at most nine minutes: `scripts/gpu`.

Each step runs in a process of its own, so that one that fails or hangs leaves the others alone, and
writes `benchmarks/results/STEP_GPU.json`. Nothing is fetched: weights are random, of true sizes.
`--dry-run` walks the same steps at tiny sizes on the processor.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.gpu_steps import STEPS, Size
from benchmarks.measurements import Row, print_table, write_json

ROOT = Path(__file__).parents[1]
LIMIT_SECONDS = 9 * 60


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the steps; 0 all done, 1 one failed, 2 there is no GPU."""
    parser = argparse.ArgumentParser(prog="scripts/gpu", description=__doc__)
    parser.add_argument("--dry-run", action="store_true", help="tiny sizes, on the processor")
    parser.add_argument("--only", nargs="+", choices=list(STEPS), default=list(STEPS))
    parser.add_argument("--results", default=str(ROOT / "benchmarks" / "results"), metavar="DIR")
    parser.add_argument("--step", choices=list(STEPS), help=argparse.SUPPRESS)
    parser.add_argument("--json", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    size = Size("cpu" if options.dry_run else "cuda", options.dry_run)
    if options.step:
        rows = STEPS[options.step][0](size)
        write_json(options.json, rows)
        return 0
    if options.dry_run:
        return _rehearse(size, options)
    name = _gpu_name()
    if not name:
        print("scripts/gpu: torch sees no GPU here; --dry-run rehearses.", file=sys.stderr)
        return 2
    return _all_steps(name, options)


def _rehearse(size: Size, options: argparse.Namespace) -> int:
    """Run every step in this process, at tiny sizes."""
    with tempfile.TemporaryDirectory(prefix="longvid-gpu-") as folder:
        for step in options.only:
            rows = STEPS[step][0](size)
            path = Path(folder) / f"{step}.json"
            write_json(str(path), rows, dry_run=True)
            print_table(rows)
    return 0


def _all_steps(name: str, options: argparse.Namespace) -> int:
    ends = time.monotonic() + LIMIT_SECONDS
    failed = []
    for step in options.only:
        path = Path(options.results) / f"{step}_{name}.json"
        left = ends - time.monotonic()
        command = [sys.executable, "-m", "benchmarks.gpu", "--step", step, "--json", str(path)]
        print(f"\n== {step} ({left:.0f} s left)", flush=True)
        try:
            limit = max(1.0, min(STEPS[step][1], left))
            done = subprocess.run(command, check=False, cwd=ROOT, timeout=limit)
            why = f"status {done.returncode}" if done.returncode else ""
        except subprocess.TimeoutExpired:
            why = "out of time"
        if why:
            failed.append(f"{step}: {why}")
            continue
        print_table([Row(**row) for row in json.loads(path.read_text())["rows"]])
    for line in failed:
        print(f"scripts/gpu: {line}", file=sys.stderr)
    return 1 if failed else 0


def _gpu_name() -> str:
    """Return the short name of the GPU, such as "h200"; "" where there is none.

    A process of its own asks, so that this one holds no memory of the GPU.
    """
    code = "import torch; print(torch.cuda.get_device_name() if torch.cuda.is_available() else '')"
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    words = re.findall(r"[a-z]*\d+[a-z0-9]*", found.stdout.lower())
    return words[0] if words else re.sub(r"[^a-z0-9]+", "_", found.stdout.strip().lower())


if __name__ == "__main__":
    raise SystemExit(main())
