"""Frames by decoding everything from the start: the slow twin that the plan must equal."""

from __future__ import annotations

import itertools
from collections.abc import Generator, Iterator, Sequence

import numpy as np
from av.video.frame import VideoFrame

from longvid.decode.clock import carried_on, filled_in, usual_interval
from longvid.decode.codec import DecoderSettings, PacketDecoder
from longvid.decode.container import packets
from longvid.decode.engine import Progress
from longvid.decode.frame_source import Reopen
from longvid.decode.packet_table import FrameTimes, joins, longest_gap_ticks

__all__ = ["SequentialSource"]


class SequentialSource:
    """Decodes every frame from the start, and believes only what comes out.

    Wanted frames that come later in the file are decoded from where the last call stopped, so
    that the chunks of a video, asked for in order, are decoded once and not once each.

    Args:
        reopen: Opens the file anew.
        settings: How pictures are decoded.
        progress: Called for every packet.
    """

    def __init__(self, reopen: Reopen, settings: DecoderSettings, progress: Progress) -> None:
        self._reopen, self._settings, self._progress = reopen, settings, progress
        container, stream = self._reopen()
        base = stream.time_base
        numerator, denominator = (base.numerator, base.denominator) if base else (1, 90_000)
        longest_gap = longest_gap_ticks(container, numerator, denominator)
        rate = stream.average_rate or stream.guessed_rate or 25
        interval = max(1, round(denominator / (numerator * rate)))
        container.close()
        ticks = [picture.pts if picture.pts is not None else picture.dts for picture in self._all()]
        #: The pictures that count, by their place in the decoder's output.
        self._places, self._times = _in_order_of_display(
            ticks, longest_gap, interval, numerator, denominator
        )
        self._pictures: Generator[VideoFrame, None, None] | None = None
        self._next = 0  # the place of the picture that reading on would give
        self._last: VideoFrame | None = None  # the one before it

    #: Damage is not looked for.
    doubtful: frozenset[int] = frozenset()

    @property
    def times(self) -> FrameTimes:
        """When each frame is shown."""
        return self._times

    def close(self) -> None:
        """Close the file."""
        if self._pictures is not None:
            self._pictures.close()
        self._pictures = self._last = None

    def frames(self, ranks: Sequence[int]) -> Iterator[tuple[int, VideoFrame | None]]:
        """Yield each wanted frame once; None only if the file changed meanwhile."""
        for rank in ranks:
            yield rank, self._picture(self._places[rank])

    def _picture(self, place: int) -> VideoFrame | None:
        if self._pictures is None or place < self._next - 1:
            self.close()
            self._pictures, self._next = self._all(), 0
        while self._next <= place:
            self._last = next(self._pictures, None)
            self._next += 1
        return self._last

    def _all(self) -> Generator[VideoFrame, None, None]:
        container, stream = self._reopen()
        try:
            decoder = PacketDecoder(stream, self._settings, self._progress)
            sound = (packet for packet in packets(container, stream) if packet is not None)
            for packet in itertools.chain(sound, (None,)):
                yield from decoder.decode(packet)
        finally:
            container.close()


def _in_order_of_display(
    ticks: Sequence[int | None],
    longest_gap: int,
    interval: int,
    numerator: int,
    denominator: int,
) -> tuple[list[int], FrameTimes]:
    """Give pictures, which come in order of display, times that increase.

    The clock is carried on where it is discontinuous, and missing times are filled in. H.264 in
    AVI has its times in decoding order: the right ones, in the wrong places. Where times are
    double, a picture that does not come later than the one before is left out: it is shown for no
    time.

    Args:
        ticks: What each picture says of itself.
        longest_gap: A longer step is a discontinuity.
        interval: The step between pictures where no two have a time.
        numerator, denominator: Of the time base.

    Returns:
        The places of the pictures kept, and their times.
    """
    known = np.array([time for time in ticks if time is not None], np.int64)
    if len(known) > 1:
        interval = usual_interval(known)
    filled = np.array(filled_in(ticks, interval), np.int64)
    carried = carried_on(filled, longest_gap)
    times = filled + carried.offsets
    places = np.arange(len(times))
    if len(np.unique(times)) == len(times):
        times = np.sort(times)
    elif len(times):
        latest = np.maximum.accumulate(times)
        later = np.concatenate([[True], times[1:] > latest[:-1]])
        places, times = places[later], times[later]
    last = int(np.median(np.diff(times))) if len(times) > 1 else interval
    end = int(times[-1]) + max(last, 1) if len(times) else 0
    found = joins(filled + carried.offsets, carried)
    return places.tolist(), FrameTimes(times, end, numerator, denominator, found)
