"""Frames by decoding everything from the start: the slow twin that the plan must equal."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence

import numpy as np
from av.video.frame import VideoFrame

from longvid.decode.clock import carried_on, filled_in, usual_interval
from longvid.decode.codec import DecoderSettings, PacketDecoder
from longvid.decode.container import packets
from longvid.decode.engine import Progress
from longvid.decode.frame_source import Reopen
from longvid.decode.packet_checks import broken_test
from longvid.decode.packet_table import TAIL_SECONDS, FrameTimes, joins, longest_gap_ticks


class SequentialSource:
    """Decodes every frame from the start, and believes only what comes out.

    Wanted frames that come later in the file are decoded from where the last call stopped, so
    that the chunks of a video, asked for in order, are decoded once and not once each.
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
        damage = _Damage()
        ticks: list[int | None] = []
        for picture in self._all(damage):
            ticks.append(picture.pts if picture.pts is not None else picture.dts)
            damage.look_at(picture)
        #: The pictures that count, by their place in the decoder's output.
        self._places, self._times = _in_order_of_display(
            ticks, longest_gap, interval, numerator, denominator
        )
        self._doubtful = damage.ranks(self._places)
        self._num_lost_at_end = damage.num_lost_at_end
        self._pictures: Generator[VideoFrame, None, None] | None = None
        self._next = 0  # the place of the picture that reading on would give
        self._last: VideoFrame | None = None  # the one before it

    @property
    def doubtful(self) -> frozenset[int]:
        """The ranks of frames beside lost ones, and of those that may refer to lost ones."""
        return self._doubtful

    @property
    def claimed_end_seconds(self) -> float | None:
        """Where the video would end if its last packets gave pictures; None if they do.

        The packets may be of another codec, where recordings are joined whose kind differs.
        """
        times = self._times
        if len(times) < 2 or not self._num_lost_at_end:
            return None
        claimed = times.seconds(times.end + self._num_lost_at_end * usual_interval(times.pts))
        return claimed if claimed > times.seconds(times.end) + TAIL_SECONDS else None

    @property
    def times(self) -> FrameTimes:
        return self._times

    def close(self) -> None:
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

    def _all(self, damage: _Damage | None = None) -> Generator[VideoFrame, None, None]:
        """Decode every picture; tell `damage` of each lost one before those that come after it."""
        damage = damage or _Damage()
        container, stream = self._reopen()
        try:
            decoder = PacketDecoder(stream, self._settings, self._progress)
            broken = broken_test(stream.codec_context.name, stream.codec_context.extradata)
            for packet in packets(container, stream):
                if packet is None:
                    damage.note(None)
                    continue
                errors = decoder.num_errors
                pictures = decoder.decode(packet)
                is_broken = broken is not None and broken(memoryview(packet))
                if decoder.num_errors > errors or is_broken:
                    damage.note(packet.pts)
                damage.count_packet()
                yield from pictures
            yield from decoder.decode(None)
        finally:
            container.close()


class _Damage:
    """Finds the pictures that damage concerns: from the one before it to the next keyframe."""

    def __init__(self) -> None:
        self._doubtful: list[bool] = []
        self._is_open = False
        self._lost_pts: int | None = None  # of the last damaged packet
        self._num_lost = 0  # packets without a picture since the damage began

    def note(self, pts: int | None) -> None:
        """Take in that a packet is damaged."""
        if not self._is_open and self._doubtful:
            self._doubtful[-1] = True  # it stays on display in place of what is lost
        self._is_open, self._lost_pts = True, pts

    def count_packet(self) -> None:
        """Take in that a packet was read, after its damage."""
        self._num_lost = self._num_lost + 1 if self._is_open else 0

    def look_at(self, picture: VideoFrame) -> None:
        """Take in the next picture."""
        # Pictures come later than their packets: one that was waiting does not end the damage.
        lost, shown = self._lost_pts, picture.pts
        is_later = lost is None or shown is None or shown > lost
        if self._is_open and picture.key_frame and is_later:
            self._is_open = False
        self._num_lost -= 1
        self._doubtful.append(self._is_open)

    @property
    def num_lost_at_end(self) -> int:
        """Packets that gave no picture, behind the last sound one; asked once all are read."""
        return max(0, self._num_lost) if self._is_open else 0

    def ranks(self, places: Sequence[int]) -> frozenset[int]:
        """Return the doubtful ones among the pictures at these places."""
        return frozenset(rank for rank, place in enumerate(places) if self._doubtful[place])


def _in_order_of_display(
    ticks: Sequence[int | None], longest_gap: int, interval: int, numerator: int, denominator: int
) -> tuple[list[int], FrameTimes]:
    """Give pictures, which come in order of display, times that increase.

    The clock is carried on where it is discontinuous, and missing times are filled in. H.264 in
    AVI has its times in decoding order: the right ones, in the wrong places, so they are sorted.
    Of pictures with one time all but the first are left out: they are shown for no time.

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
    times, firsts = np.unique(times, return_index=True)
    places = np.sort(firsts)
    last = int(np.median(np.diff(times))) if len(times) > 1 else interval
    end = int(times[-1]) + max(last, 1) if len(times) else 0
    found = joins(filled + carried.offsets, carried)
    return places.tolist(), FrameTimes(times, end, numerator, denominator, found)
