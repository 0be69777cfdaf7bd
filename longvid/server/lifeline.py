"""Ends a process with the server that started it, however the server ends.

The server holds the other end of standard input; the kernel closes it even where the server is
killed. What a process of ours leaves unfinished then is safe: a store shows a video when it is
complete.
"""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Iterator


def end_with_parent() -> None:
    """End this process when standard input closes; read nothing from it elsewhere afterwards."""

    def wait() -> None:
        while os.read(0, 1):  # not sys.stdin, whose lock this thread would hold at the end
            pass
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def lines_of_parent() -> Iterator[bytes]:
    """Yield the lines that come by standard input; when it closes, end this process at once."""
    lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    def read() -> None:
        with open(0, "rb", closefd=False) as standard_input:
            for line in standard_input:
                lines.put(line)
        os._exit(1)

    threading.Thread(target=read, daemon=True).start()
    while True:
        yield lines.get()
