"""Show how far indexing has come: one live line on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

from longvid.indexing import Progress

__all__ = ["index_progress"]

_PLAIN_INTERVAL_SECONDS = 10.0


@contextmanager
def index_progress(stream: TextIO) -> Iterator[Callable[[Progress], None]]:
    """Give a callback that shows a run's progress on `stream` until the block ends.

    Args:
        stream: Usually stderr; a terminal gets a live line, anything else one every ten seconds.
    """
    started = time.monotonic()
    if stream.isatty():
        from rich.console import Console
        from rich.status import Status

        with Status("opening videos", console=Console(file=stream)) as status:
            yield lambda progress: status.update(_line(progress, time.monotonic() - started))
        return
    last = started

    def show(progress: Progress) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= _PLAIN_INTERVAL_SECONDS:
            last = now
            print(_line(progress, now - started), file=stream, flush=True)

    yield show


def _line(progress: Progress, seconds: float) -> str:
    speed = progress.video_seconds / seconds if seconds > 0 else 0.0
    return (
        f"{progress.videos_indexed} indexed, {progress.videos_open} in work, "
        f"{progress.videos_skipped} already there, {progress.videos_failed} failed · "
        f"{progress.video_seconds / 3600:.2f} h of video, {speed:.0f} x realtime"
    )
