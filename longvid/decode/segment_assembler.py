"""Put decoded pictures into the segments that want them.

A picture is converted once, when it comes, and copied where a second segment wants it too. What is
held at any moment are the segments that are not complete, in the ordinary case one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Iterator, Sequence

from longvid.decode.engine import (
    Allocate,
    DecodedSegment,
    EncodedPicture,
    FrameArray,
    Gap,
    without_missing_rows,
)
from longvid.decode.frame_source import PacketsMislead, Source
from longvid.decode.packet_table import FrameTimes
from longvid.decode.pixel_conversion import Painter
from longvid.decode.thumbnails import PictureMaker
from longvid.types import SegmentPlan


class _Segment:
    """One segment being filled."""

    def __init__(self, plan: SegmentPlan, exact: Sequence[int], chosen: Sequence[int]) -> None:
        self.plan = plan
        self._exact, self._chosen = exact, chosen
        self.ranks = sorted(set(chosen))  # one row each
        self.row_of = {rank: row for row, rank in enumerate(self.ranks)}
        self.present = [False] * len(self.ranks)
        self.num_left = len(self.ranks)
        self.data: FrameArray | None = None
        self.pictures: list[EncodedPicture] = []

    def wants_picture(self, rank: int, *, every_frame: bool) -> bool:
        """Return whether a frame is to be kept as a picture: each, or one from the middle on."""
        return every_frame or (not self.pictures and rank >= self.ranks[len(self.ranks) // 2])

    def frame(self, rank: int, allocate: Allocate, height: int, width: int) -> FrameArray:
        """Return the place of a frame, (3, H, W)."""
        if self.data is None:
            self.data = allocate((len(self.ranks), 3, height, width))
        place: FrameArray = self.data[self.row_of[rank]]
        return place

    def finished(self, times: FrameTimes) -> DecodedSegment | None:
        """Return the segment without the frames that never came; None if none came."""
        if self.data is None:
            return None
        data, rows = without_missing_rows(
            self.data, self.present, [self.row_of[rank] for rank in self._chosen]
        )
        self.data = None
        kept = [rank for rank, here in zip(self.ranks, self.present, strict=True) if here]
        return DecodedSegment(
            segment_index=self.plan.segment_index,
            data=data,
            pts_seconds=tuple(times.pts_seconds(rank) for rank in kept),
            duration_seconds=tuple(
                times.end_seconds(rank) - times.pts_seconds(rank) for rank in kept
            ),
            rows=rows,
            pts_error_seconds=max(
                abs(times.pts_seconds(chosen) - times.pts_seconds(exact))
                for chosen, exact in zip(self._chosen, self._exact, strict=True)
            ),
            pictures=tuple(self.pictures),
        )


class _Gaps:
    """Joins frames that follow each other and are missing, or may show damage, into one gap."""

    def __init__(self, times: FrameTimes, doubtful: Container[int]) -> None:
        self._times, self._doubtful = times, doubtful
        self._start: float | None = None
        self._end = 0.0

    def after(self, segment: _Segment) -> Iterator[Gap]:
        """Yield the gaps that a complete segment closes."""
        for rank, here in zip(segment.ranks, segment.present, strict=True):
            if here and rank not in self._doubtful:
                self._end = self._times.pts_seconds(rank)
                yield from self.last()
            elif self._start is None:
                self._start = self._times.pts_seconds(rank)
        if self._start is not None:
            self._end = max(self._end, segment.plan.end_seconds)

    def last(self) -> Iterator[Gap]:
        """Yield the gap that is open, if one is."""
        if self._start is not None:
            yield Gap(
                self._start,
                max(self._start, self._end),
                "the data from {start:.2f} s to {end:.2f} s are damaged",
            )
            self._start = None


def assemble(
    source: Source,
    plans: Sequence[SegmentPlan],
    exact: Sequence[Sequence[int]],
    chosen: Sequence[Sequence[int]],
    painter: Painter,
    allocate: Allocate,
    maker: PictureMaker | None = None,
) -> Iterator[DecodedSegment | Gap]:
    """Yield each segment in order as soon as it and all before it are complete.

    Args:
        source: Gives the frames.
        plans: The segments wanted.
        exact: For each segment and wanted time, the rank of the frame on display.
        chosen: The same, after approximation: what is decoded.
        painter: Converts pictures to the asked size.
        allocate: Gives memory for a segment.
        maker: Makes small pictures, None for none.
    """
    times = source.times
    height, width = painter.size.height, painter.size.width
    segments = [_Segment(*parts) for parts in zip(plans, exact, chosen, strict=True)]
    wanted_by: dict[int, list[_Segment]] = defaultdict(list)
    for segment in segments:
        for rank in segment.ranks:
            wanted_by[rank].append(segment)
    gaps = _Gaps(times, source.doubtful)
    waiting = iter(segments)
    head = next(waiting, None)
    frames = source.frames(sorted(wanted_by))
    while True:
        try:
            rank, picture = next(frames)
        except StopIteration:
            break
        except PacketsMislead:
            yield from gaps.last()  # what was given so far stays as it is
            raise
        painted: FrameArray | None = None
        for segment in wanted_by[rank]:
            segment.num_left -= 1
            if picture is None:
                continue
            place = segment.frame(rank, allocate, height, width)
            if painted is None:
                painter.paint(picture, place)
                painted = place
            else:
                place[:] = painted
            segment.present[segment.row_of[rank]] = True
            if maker and segment.wants_picture(rank, every_frame=maker.every_frame):
                segment.pictures.append(maker.picture(picture, times.pts_seconds(rank)))
        del painted, picture
        while head is not None and not head.num_left:
            decoded = head.finished(times)
            if decoded is not None:
                yield decoded
                del decoded
            yield from gaps.after(head)
            head = next(waiting, None)
    yield from gaps.last()
