"""The command line: one subcommand a verb, results on stdout, everything else on stderr.

Exit status: 0 done · 1 a longvid error, in one sentence · 2 wrong usage · 3 finished, but more
videos failed than run.max_failure_rate allows, or with --strict any failure or gap (`longvid
failures` lists them).
"""

from __future__ import annotations

import argparse
import atexit
import gc
import io
import os
import sys
from collections.abc import Sequence

from longvid import __version__
from longvid.cli import asking, detection, indexing, info, serving, store_commands, text
from longvid.cli.command import Commands, require_utf8
from longvid.cli.limits import check_memory_limit, limits_note, resource_sentence
from longvid.cli.output import (
    ERROR,
    FAILURES,
    OK,
    OutputError,
    ReaderGoneError,
    flush,
    printable,
    remark,
    warn,
)
from longvid.errors import LongvidError

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: Words after the program's name; None takes them from the process.

    Returns:
        The exit status.
    """
    _prepare_streams()
    options = _parser().parse_args(arguments)
    # At its end Python looks for garbage among all that torch and transformers made: a second.
    atexit.register(gc.freeze)
    # Offline is the rule: a checkpoint is a local folder, and nothing is fetched behind one's back.
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        check_memory_limit()
        require_utf8(options)
        status: int = options.run(options)
        flush()
        if status == FAILURES:
            warn(limits_note())
        return status
    except OutputError as error:
        _discard_stdout()
        if isinstance(error, ReaderGoneError):
            return OK  # `| head` has read what it wanted
        remark(f"longvid: {error}")
        return ERROR
    except LongvidError as error:
        if options.debug:
            raise
        remark(f"longvid: {printable(str(error))}")
        warn(limits_note())
        return ERROR
    except (ImportError, MemoryError, OSError) as error:
        sentence = resource_sentence(error)
        if options.debug or not sentence:
            raise
        remark(f"longvid: {sentence}")
        warn(limits_note())
        return ERROR
    except KeyboardInterrupt:
        remark("longvid: stopped; what was finished is kept, run the same command to go on.")
        return 130


def _prepare_streams() -> None:
    """Make sure that something can be written to the standard streams, whatever they are."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            # Else the next file that is opened, of a store perhaps, gets this number, and what a
            # library prints is written into it. The lowest free number is the one that is closed.
            os.open(os.devnull, os.O_RDWR)
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115  # print would take stdout for it
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a name that it has no letters for


def _discard_stdout() -> None:
    """Let Python's own flush at the end of the process succeed."""
    if sys.stdout is sys.__stdout__ and sys.stdout is not None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="longvid",
        description="Answers questions about long videos, with the time spans that support them.",
    )
    parser.add_argument("--version", action="version", version=f"longvid {__version__}")
    commands = Commands(parser)
    for group in (indexing, asking, store_commands, text, detection, serving, info):
        group.add_commands(commands)
    return parser
