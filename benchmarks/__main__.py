"""`python -m benchmarks TASK`: run one benchmark.

python -m benchmarks msvd-qa --annotations DIR --videos DIR --config mini --split test
python -m benchmarks compare RUN_A RUN_B
python -m benchmarks speed decode --video FILE --json results/decode.json
python -m benchmarks world --quick
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from typing import Any

from benchmarks.tasks import NAMES
from longvid.errors import LongvidError

# Each is a package with add_arguments(parser) and run(options).
TASKS = {
    "speed": "how fast each part of the path is",
    "world": "what compression and selection do to answers, on generated films",
}

# `longvid.world` is the renderer, which lies lower in the house; its task is the yardstick.
_MODULES = {"world": "benchmarks.tasks.world"}
_EXTRA = ("filelock", "httpx2", "scipy", "simplemma", "tenacity")
STAGES = {
    "rejudge": "have the answers of a run judged by another judge",
    "score": "score a run again",
    "report": "write the reports of a run again",
    "compare": "what changed between two runs of one benchmark",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one task; 0 done, 1 an error told in one sentence, 2 wrong usage."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        options = _parser(given[0] if given else "").parse_args(given)
        if options.task in (*NAMES, *STAGES):
            from benchmarks.harness import command

            run = command.run_task if options.task in NAMES else command.run_stage
            return run(options.task, options)
        status: int = _module(options.task).run(options)
    except LongvidError as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 1
    except ModuleNotFoundError as error:
        if error.name not in _EXTRA:
            raise
        print(f"benchmarks: {error.name} is missing: pip install 'longvid[bench]'", file=sys.stderr)
        return 1
    return status


def _parser(wanted: str) -> argparse.ArgumentParser:
    """Name every task, but import only the one that is wanted: some load torch."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    tasks = parser.add_subparsers(dest="task", required=True, metavar="TASK")
    for name, summary in {**NAMES, **STAGES, **TASKS}.items():
        added = tasks.add_parser(name, help=summary, description=summary)
        if name != wanted:
            continue
        if name in (*NAMES, *STAGES):
            from benchmarks.harness import command

            if name in NAMES:
                command.add_arguments(added)
            else:
                command.add_stage_arguments(added, name)
        else:
            _module(name).add_arguments(added)
    return parser


def _module(task: str) -> Any:
    return importlib.import_module(_MODULES.get(task, f"benchmarks.{task}"))


if __name__ == "__main__":
    raise SystemExit(main())
