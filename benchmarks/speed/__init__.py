"""How fast each part of the path is, beside its rivals in the same run."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Sequence

from benchmarks.measurements import Row, print_table, write_json

MEASUREMENTS = {
    "decode": "frames of a video, beside other decoders",
    "ops": "token operations, beside eager torch",
    "compress": "question-free compressors, beside their authors' algorithms in eager torch",
    "store": "bytes kept of a video, as longvid status counts them",
    "seals": "the share of the time that a store's checksums take",
    "index": "the whole index side, beside decoding alone and encoding alone",
    "search": "FAISS search over a store's vectors",
    "scale": "the Ray runner on 1 to 64 simulated workers",
    "ask": "a question about an indexed video, beside asking the usual way",
    "encode": "the encoder beside its bare towers, and with tokens merged inside them",
    "serve": "the server: its start, what HTTP adds, many questions at once",
    "text": "timed text: cost of reading it, signs read, lines found",
    "remote": "a question to a model on a server, beside the server",
    "runner": "the benchmark runner, beside a bare loop of questions",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add one subcommand a measurement; each module says its own options."""
    measurements = parser.add_subparsers(dest="measurement", required=True, metavar="WHAT")
    for name, summary in MEASUREMENTS.items():
        command = measurements.add_parser(name, help=summary, description=f"Measure {summary}.")
        command.add_argument("--json", metavar="FILE", help="also write the rows as JSON")
        importlib.import_module(f"benchmarks.speed.{name}").add_arguments(command)


def run(options: argparse.Namespace) -> int:
    """Run one measurement, print its table, and write its rows."""
    rows = importlib.import_module(f"benchmarks.speed.{options.measurement}").run(options)
    print_table(rows)
    keep(options, rows)
    return 0


def keep(options: argparse.Namespace, rows: Sequence[Row]) -> None:
    """Write the rows so far, if they are to be written."""
    if options.json:
        settings = {
            name: value
            for name, value in vars(options).items()
            if name not in ("json", "task", "measurement", "run")
        }
        write_json(options.json, rows, **settings)
