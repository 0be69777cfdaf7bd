"""The command line: one subcommand a verb, results on stdout, everything else on stderr.

Exit status: 0 done · 1 a longvid error, told in one sentence · 2 wrong usage · 3 finished, but some
videos failed or have gaps (`longvid failures` lists them).
"""

from __future__ import annotations

import argparse
import atexit
import gc
import os
import sys
from collections.abc import Sequence

from longvid import __version__
from longvid.cli import asking, indexing, info, store
from longvid.cli.command import Commands
from longvid.cli.output import ERROR, OK
from longvid.errors import LongvidError

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: Words after the program's name; None takes them from the process.

    Returns:
        The exit status.
    """
    options = _parser().parse_args(arguments)
    # At its end Python looks for garbage among all that torch and transformers made: a second.
    atexit.register(gc.freeze)
    # Offline is the rule: a checkpoint is a local folder, and nothing is fetched behind one's back.
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        status: int = options.run(options)
        return status
    except LongvidError as error:
        if options.debug:
            raise
        print(f"longvid: {error}", file=sys.stderr)
        return ERROR
    except KeyboardInterrupt:
        print(
            "longvid: stopped; what was finished is kept, run the same command to go on.",
            file=sys.stderr,
        )
        return 130
    except BrokenPipeError:
        # The reader of our output went away (`| head`): not an error of ours.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="longvid",
        description="Answers questions about long videos, with the time spans that support them.",
    )
    parser.add_argument("--version", action="version", version=f"longvid {__version__}")
    commands = Commands(parser)
    for group in (indexing, asking, store, info):
        group.add_commands(commands)
    return parser
