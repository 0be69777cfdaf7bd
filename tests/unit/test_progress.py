"""Progress: a sign of life at once, how many of how many, the file, and a steady time left."""

from __future__ import annotations

import io
import itertools

import pytest

from longvid import progress
from longvid.indexing.report import Progress


def test_it_says_starting_at_once_and_then_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(progress, "_BASIS_SECONDS", 0.0)
    with progress.index_progress(stream, interval_seconds=0.0) as show:
        assert stream.getvalue() == "starting\n"
        show(Progress(seconds_done=50.0, seconds_known=140.0, videos_listed=47, videos_open=1))
        show(
            Progress(
                videos_indexed=10,
                videos_skipped=1,
                videos_failed=1,
                videos_open=2,
                seconds_done=100.0,
                seconds_known=140.0,
                videos_listed=47,
                current="/films/a\x1bb.mp4",
            )
        )
    line = stream.getvalue().splitlines()[2]
    assert line.startswith("12 of 47 videos, 1 skipped, 1 failed, 2 running, ")
    assert line.endswith(" left, a?b.mp4")


def test_nothing_is_claimed_before_something_is_done() -> None:
    assert progress._line(Progress(), 3.0, None) == "0 videos"
    assert progress._line(Progress(videos_listed=1), 3.0, None) == "0 of 1 video"
    assert progress._Estimate().seconds_left(Progress(videos_listed=4), 3.0) is None


def test_the_bar_never_runs_backwards_and_the_rest_is_smoothed() -> None:
    estimate = progress._Estimate()
    shares, lefts = [], []
    first = Progress(videos_open=1, seconds_done=5.0, seconds_known=105.0, videos_listed=1)
    assert estimate.seconds_left(first, 30.0) is None  # models were loaded until now
    for second, known in ((10, 105.0), (11, 105.0), (12, 405.0), (13, 405.0), (14, 95.0)):
        left = estimate.seconds_left(
            Progress(
                videos_open=1,
                seconds_done=5.0 + second * 5.0,
                seconds_known=known,
                videos_listed=1,
            ),
            30.0 + second,
        )
        assert left is not None
        shares.append(estimate.share)
        lefts.append(left)
    assert shares == sorted(shares)
    assert all(abs(later - earlier) < 6 for earlier, later in itertools.pairwise(lefts))
    assert lefts[0] == pytest.approx(10.0)


def test_a_stream_that_takes_nothing_ends_no_run() -> None:
    class Full(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(28, "No space left on device")

    with progress.index_progress(Full(), interval_seconds=0.0) as show:
        show(Progress(videos_indexed=1))


def test_only_a_terminal_hears_that_something_is_being_done(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    pipe = io.StringIO()
    with progress.busy(pipe, "asking"):
        pass
    assert pipe.getvalue() == ""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    with pytest.raises(ValueError, match="no answer"), progress.busy(terminal, "asking"):
        raise ValueError("no answer")
    assert "\x1b[?25h" in terminal.getvalue()  # the cursor is back
