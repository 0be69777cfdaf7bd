"""Keep stdout for results: Ray's processes print the last words of a raylet there."""

from __future__ import annotations

import io
import os
import sys


def reserve_stdout() -> None:
    """Let only `sys.stdout` lead to stdout; what is written to descriptor 1 goes to stderr.

    Nothing is changed where `sys.stdout` is not this process's own.
    """
    stream = sys.stdout
    if stream is not sys.__stdout__ or not isinstance(stream, io.TextIOWrapper):
        return
    if stream.fileno() != 1:
        return
    stream.flush()
    results = os.dup(1)
    os.dup2(2, 1)
    reserved = open(results, "w", encoding=stream.encoding, errors="backslashreplace")  # noqa: SIM115  # as long as the process
    sys.stdout = sys.__stdout__ = reserved  # type: ignore[misc]  # the process's own from now on
