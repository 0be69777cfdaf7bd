"""Show how far indexing has come: a live bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TextIO

from longvid.errors import counted
from longvid.indexing.report import Progress

_PLAIN_INTERVAL_SECONDS = 10.0
#: No time left is shown before the pace was seen for this long.
_BASIS_SECONDS = 10.0
#: A new estimate of the time left counts in full after so many seconds.
_SMOOTHING_SECONDS = 20.0


@contextmanager
def busy(stream: TextIO, what: str) -> Iterator[None]:
    """Show on a terminal that something is being done, until the block ends.

    Args:
        stream: Usually stderr; nothing is written to what is no terminal.
        what: Is being done.
    """
    if not stream.isatty():
        yield
        return
    from rich.console import Console

    with Console(file=stream).status(what):
        yield


@contextmanager
def index_progress(
    stream: TextIO, interval_seconds: float = _PLAIN_INTERVAL_SECONDS
) -> Iterator[Callable[[Progress], None]]:
    """Give a callback that shows a run's progress on `stream` until the block ends.

    The bar measures seconds of video. Videos that are not opened yet are taken to be as long as the
    others on average; the bar never runs backwards, and the time left is smoothed.

    Args:
        stream: Usually stderr; a terminal gets a bar, anything else plain lines.
        interval_seconds: Between plain lines.
    """
    started = time.monotonic()
    estimate = _Estimate()
    if stream.isatty():
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn
        from rich.progress import Progress as Bar

        columns = (BarColumn(), TextColumn("{task.description}", markup=False))
        with Bar(*columns, console=Console(file=stream), transient=True) as bar:
            task = bar.add_task("starting", total=None)

            def update(progress: Progress) -> None:
                seconds = time.monotonic() - started
                left = estimate.seconds_left(progress, seconds)
                if estimate.share:
                    bar.update(task, total=1.0, completed=estimate.share)
                bar.update(task, description=_line(progress, seconds, left))

            yield update
        return
    _print("starting", stream)
    last = started

    def show(progress: Progress) -> None:
        nonlocal last
        now = time.monotonic()
        left = estimate.seconds_left(progress, now - started)
        if now - last >= interval_seconds:
            last = now
            _print(_line(progress, now - started, left), stream)

    yield show


class _Estimate:
    """How much of a run is done, which never falls, and how long the rest takes.

    The pace is that since the first chunk: what came before was start-up, models among it.
    """

    def __init__(self) -> None:
        self.share = 0.0
        self._first: tuple[float, float] | None = None
        self._left: float | None = None
        self._at = 0.0

    def seconds_left(self, progress: Progress, seconds: float) -> float | None:
        """Return the smoothed time left after so many seconds, None where it is not known yet."""
        self.share = max(self.share, progress.share_done or 0.0)
        if self._first is None and progress.seconds_done:
            self._first = (seconds, progress.seconds_done)
        if self._first is None or seconds - self._first[0] < _BASIS_SECONDS:
            return None
        left = progress.seconds_left(*self._first, seconds)
        if left is None:
            return None
        if self._left is None:
            self._left = left
        else:
            # What was left has passed since; a new estimate moves the rest by a part only.
            expected = max(0.0, self._left - (seconds - self._at))
            weight = min(1.0, (seconds - self._at) / _SMOOTHING_SECONDS)
            self._left = expected + weight * (left - expected)
        self._at = seconds
        return self._left


def _print(line: str, stream: TextIO) -> None:
    with suppress(OSError):  # a closed stderr ends no run
        print(line, file=stream, flush=True)


def _line(progress: Progress, seconds: float, left: float | None) -> str:
    done = progress.videos_done
    listed = progress.videos_listed
    parts = [f"{done} of {counted(listed, 'video')}" if listed else counted(done, "video")]
    counts = ((progress.videos_skipped, "skipped"), (progress.videos_failed, "failed"))
    parts += [f"{count} {what}" for count, what in counts if count]
    if progress.videos_open:
        parts.append(f"{progress.videos_open} running")
    if progress.seconds_done and seconds > 0:
        parts.append(f"{progress.seconds_done / seconds:.1f}x realtime")
    for stage in ("decode", "encode"):
        share = getattr(progress, f"{stage}_utilisation")
        if share is not None:
            parts.append(f"{stage} {100 * share:.0f} % busy")
    if left is not None:
        minutes, rest = divmod(round(left), 60)
        parts.append(f"{minutes // 60}:{minutes % 60:02d}:{rest:02d} left")
    if progress.current:
        name = os.path.basename(progress.current) or progress.current
        parts.append("".join(letter if letter.isprintable() else "?" for letter in name))
    return ", ".join(parts)
