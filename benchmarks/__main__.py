"""`python -m benchmarks TASK`: run one benchmark.

python -m benchmarks speed decode --video FILE --json results/decode.json
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence

from longvid.errors import LongvidError

TASKS = {
    "speed": "how fast each part of the path is",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one task; 0 done, 1 an error told in one sentence, 2 wrong usage."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    tasks = parser.add_subparsers(dest="task", required=True, metavar="TASK")
    for name, summary in TASKS.items():
        command = tasks.add_parser(name, help=summary, description=summary)
        importlib.import_module(f"benchmarks.{name}").add_arguments(command)
    options = parser.parse_args(arguments)
    try:
        status: int = importlib.import_module(f"benchmarks.{options.task}").run(options)
    except LongvidError as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 1
    return status


if __name__ == "__main__":
    raise SystemExit(main())
