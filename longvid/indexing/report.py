"""What a run reports: its progress while it works, and its result."""

from __future__ import annotations

from dataclasses import dataclass

from longvid.types import Failure

__all__ = ["IndexReport", "Progress"]


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a run stands.

    Args:
        videos_indexed, videos_skipped, videos_failed: Finished, by how they ended.
        videos_open: Being decoded now.
        video_seconds: Seconds of video in finished videos.
        seconds_done, seconds_known: Seconds of video worked through, of those in opened videos.
        current: Path last worked on.
        videos_listed: Named so far, 0 where that is not counted.
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
    decode_utilisation: float | None = None
    encode_utilisation: float | None = None

    @property
    def videos_done(self) -> int:
        """However they ended."""
        return self.videos_indexed + self.videos_skipped + self.videos_failed

    def seconds_left(self, seconds: float) -> float | None:
        """Estimate how long the run will still take, None where nobody can tell.

        Videos that are not opened yet are taken to be as long as the others on average.

        Args:
            seconds: Wall time so far.
        """
        opened = self.videos_done + self.videos_open
        if not self.videos_listed or not self.seconds_done or not opened:
            return None
        unopened = (self.videos_listed - opened) * self.seconds_known / opened
        left = max(0.0, unopened) + self.seconds_known - self.seconds_done
        return seconds * left / self.seconds_done


@dataclass(frozen=True, slots=True)
class IndexReport:
    """What a run did.

    Args:
        store: Where the result lies.
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
    def failed_too_often(self) -> bool:
        """Whether a larger share of the videos failed than `run.max_failure_rate` allows."""
        tried = self.videos_indexed + self.videos_skipped + self.videos_failed
        return self.videos_failed > self.max_failure_rate * tried
