"""Show how far indexing has come: a live bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TextIO

from longvid.indexing.report import Progress

__all__ = ["index_progress"]

_PLAIN_INTERVAL_SECONDS = 10.0


@contextmanager
def index_progress(
    stream: TextIO, interval_seconds: float = _PLAIN_INTERVAL_SECONDS
) -> Iterator[Callable[[Progress], None]]:
    """Give a callback that shows a run's progress on `stream` until the block ends.

    The bar measures seconds of video, in the videos opened so far: how many are still to be found
    nobody knows.

    Args:
        stream: Usually stderr; a terminal gets a bar, anything else plain lines.
        interval_seconds: Between plain lines.
    """
    started = time.monotonic()
    if stream.isatty():
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        columns = (BarColumn(), TimeRemainingColumn(), TextColumn("{task.description}"))
        with Bar(*columns, console=Console(file=stream), transient=True) as bar:
            task = bar.add_task("opening videos", total=None)

            def update(progress: Progress) -> None:
                bar.update(
                    task,
                    completed=progress.seconds_done,
                    total=progress.seconds_known or None,
                    description=_line(progress, time.monotonic() - started),
                )

            yield update
        return
    last = started

    def show(progress: Progress) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= interval_seconds:
            last = now
            with suppress(OSError):  # a closed stderr ends no run
                print(_line(progress, now - started), file=stream, flush=True)

    yield show


def _line(progress: Progress, seconds: float) -> str:
    speed = progress.seconds_done / seconds if seconds > 0 else 0.0
    parts = [
        f"{progress.videos_indexed} indexed",
        f"{progress.videos_open} running",
        f"{progress.videos_skipped} skipped",
        f"{progress.videos_failed} failed",
    ]
    if progress.videos_listed:
        parts.append(f"{progress.videos_listed - progress.videos_done} left")
    # Hours of video in an hour are the same number as times realtime.
    parts.append(f"{speed:.0f} video hours per hour")
    for stage in ("decode", "encode"):
        share = getattr(progress, f"{stage}_utilisation")
        if share is not None:
            parts.append(f"{stage} {100 * share:.0f} % busy")
    left = progress.seconds_left(seconds)
    if left is not None:
        minutes, rest = divmod(round(left), 60)
        parts.append(f"done in {minutes // 60}:{minutes % 60:02d}:{rest:02d}")
    return ", ".join(parts)
