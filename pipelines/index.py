"""Index videos on a Ray cluster, as a job.

    ray job submit --working-dir . -- python -m pipelines.index --videos DIR --store DIR

The work is done by `longvid.cluster.ray_runner`; this is its command line.
"""

from __future__ import annotations

import argparse
import atexit
import gc
import sys
from collections.abc import Sequence

from longvid.cli.indexing import add_strict, stop_early
from longvid.cluster.ray_runner import index, start
from longvid.cluster.stdout import reserve_stdout
from longvid.config import load_config, load_layout
from longvid.errors import LongvidError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run as a job; exit status as for `longvid index`."""
    parser = argparse.ArgumentParser(
        prog="python -m pipelines.index", description="Index videos on a Ray cluster."
    )
    parser.add_argument("--videos", required=True, nargs="+", metavar="PATH|URI|@LIST")
    parser.add_argument("--store", required=True, metavar="PATH|URI")
    parser.add_argument("--config", default="mini", metavar="NAME|FILE")
    parser.add_argument("--set", metavar="KEY=VALUE", action="append", default=[])
    parser.add_argument("--max-failure-rate", type=float, metavar="SHARE")
    parser.add_argument("--interval", type=float, default=10.0, help="seconds between lines")
    add_strict(parser)
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    options = parser.parse_args(arguments)
    settings = list(options.set)
    if options.max_failure_rate is not None:
        settings += stop_early(options.max_failure_rate)
    atexit.register(gc.freeze)  # or Python looks for garbage among all modules for a second
    reserve_stdout()
    try:
        actors = start(
            load_layout(options.config, settings),
            lambda sentence: print(f"longvid: {sentence}", file=sys.stderr, flush=True),
        )
        config = load_config(options.config, settings)
        from longvid.cli.output import print_report
        from longvid.progress import index_progress

        with index_progress(sys.stderr, options.interval) as show:
            report = index(
                options.videos, store=options.store, config=config, on_progress=show, actors=actors
            )
    except LongvidError as error:
        print(f"longvid: {error}", file=sys.stderr)
        return 1
    return print_report(report, options.json, strict=options.strict)


if __name__ == "__main__":
    raise SystemExit(main())
