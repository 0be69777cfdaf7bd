"""What a run reports: its progress while it works, and its result."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from longvid.errors import counted
from longvid.types import Failure

#: Is called with the presentation time of each picture that was worked on.
OnPicture = Callable[[float], None]


def ignore(seconds: float) -> None:
    """Do nothing with a picture: nobody looks at the progress."""


@dataclass(frozen=True, slots=True)
class Progress:
    """The progress of a run.

    Args:
        videos_indexed, videos_skipped, videos_failed: Finished, by how they ended.
        videos_open: Being decoded now.
        video_seconds: Seconds of video in finished videos.
        seconds_done, seconds_known: Seconds of video worked through, of those in opened videos.
        current: Path last worked on.
        videos_listed: Named so far, 0 where that is not counted.
        listing_done: Whether that is all there are.
        bytes_listed, bytes_opened: Size of the files listed, and of those that were looked at, 0
            where that is not counted.
        decode_utilisation, encode_utilisation: Share of the recent time in which those who decode
            or encode were at work, None where that is not measured.
    """

    videos_indexed: int = 0
    videos_skipped: int = 0
    videos_failed: int = 0
    videos_open: int = 0
    video_seconds: float = 0.0
    seconds_done: float = 0.0
    seconds_known: float = 0.0
    current: str = ""
    videos_listed: int = 0
    listing_done: bool = False
    bytes_listed: int = 0
    bytes_opened: int = 0
    decode_utilisation: float | None = None
    encode_utilisation: float | None = None

    @property
    def videos_done(self) -> int:
        """However they ended."""
        return self.videos_indexed + self.videos_skipped + self.videos_failed

    @property
    def seconds_total(self) -> float | None:
        """Estimated seconds of video in the whole run, None where nothing is known.

        Videos that were not looked at yet are taken to have as many seconds a byte as those that
        were, or where sizes are not known as many seconds as those on average.
        """
        opened = self.videos_done + self.videos_open
        if not self.videos_listed or not opened:
            return None
        if self.bytes_listed and self.bytes_opened:
            seconds_per_byte = self.seconds_known / self.bytes_opened
            unopened = (self.bytes_listed - self.bytes_opened) * seconds_per_byte
        else:
            unopened = (self.videos_listed - opened) * self.seconds_known / opened
        return self.seconds_known + max(0.0, unopened)

    @property
    def share_done(self) -> float | None:
        """Estimated share of the video that is worked through, None where nothing is known."""
        total = self.seconds_total
        return min(1.0, self.seconds_done / total) if total else None

    def seconds_left(self, since: float, done_then: float, now: float) -> float | None:
        """Estimate how long the run will still take at its pace, None where nobody can tell.

        Args:
            since: Wall time in seconds from which on the pace counts.
            done_then: `seconds_done` at that time.
            now: Wall time.
        """
        total, worked = self.seconds_total, self.seconds_done - done_then
        if total is None or worked <= 0:
            return None
        return (now - since) * max(0.0, total - self.seconds_done) / worked


@dataclass(frozen=True, slots=True)
class IndexReport:
    """What a run did.

    Args:
        store: Folder or URI of the store.
        videos_indexed: Videos that were decoded and are in the store now.
        videos_skipped: Videos that were in the store already, or had failed too often.
        videos_failed: Videos of which nothing could be indexed.
        segments, frames, tokens: Written by this run.
        video_seconds: Seconds of video indexed by this run.
        failures: Whole videos and gaps.
        seconds: Wall time.
        note: A caveat that a person must see, or "".
        skipped: Sentences about files and folders that were not looked at.
        max_failure_rate: Share of failed videos that the configuration allows.
    """

    store: str
    videos_indexed: int
    videos_skipped: int
    videos_failed: int
    segments: int
    frames: int
    tokens: int
    video_seconds: float
    failures: tuple[Failure, ...]
    seconds: float
    note: str
    skipped: tuple[str, ...] = ()
    max_failure_rate: float = 1.0

    @property
    def outcome(self) -> str:
        """Say what became of the videos: "2 indexed, 0 skipped, 0 failed, 1 gap"."""
        num_gaps = sum(failure.is_gap for failure in self.failures)
        counts = f"{self.videos_indexed} indexed, {self.videos_skipped} skipped"
        gaps = f", {counted(num_gaps, 'gap')}" if num_gaps else ""
        return f"{counts}, {self.videos_failed} failed{gaps}"

    @property
    def failed_too_often(self) -> bool:
        """Whether a larger share of the videos failed than `run.max_failure_rate` allows."""
        tried = self.videos_indexed + self.videos_skipped + self.videos_failed
        return self.videos_failed > self.max_failure_rate * tried
