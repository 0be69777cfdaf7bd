"""The table of a video's packets: the truth about its frames, whatever the header says.

One pass over the packets, without decoding, gives the presentation time of every frame, the
keyframes, and how far the file can be read.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from av.container import InputContainer
from av.packet import Packet
from av.video.stream import VideoStream

from longvid.decode.container import packets
from longvid.decode.engine import Progress
from longvid.decode.hidden_frames import invisible_test
from longvid.decode.non_reference import Disposable

__all__ = ["FrameTimes", "PacketTable", "scan"]

Int64s = npt.NDArray[np.int64]

#: A header may be so many seconds longer than the packets before its tail counts as missing.
_TAIL_SECONDS = 0.5


@dataclass(frozen=True)
class FrameTimes:
    """Presentation times of the frames that are shown, in the order in which they are shown.

    Args:
        pts: (F,) int64 strictly increasing, in units of time_base.
        end: Where the last frame ends, in the same units.
        numerator, denominator: The time base in seconds.
    """

    pts: Int64s
    end: int
    numerator: int
    denominator: int

    def __len__(self) -> int:
        return len(self.pts)

    def seconds(self, ticks: int) -> float:
        """Convert stream time to seconds, rounded once."""
        return int(ticks) * self.numerator / self.denominator

    def pts_seconds(self, rank: int) -> float:
        """Return when the frame of this rank is shown."""
        return self.seconds(self.pts[rank])

    def end_seconds(self, rank: int) -> float:
        """Return when the next frame takes its place."""
        return self.seconds(self.end if rank + 1 >= len(self.pts) else self.pts[rank + 1])

    @cached_property
    def all_seconds(self) -> npt.NDArray[np.float64]:
        """(F,) float64 presentation times."""
        return np.array([self.seconds(ticks) for ticks in self.pts.tolist()])


@dataclass(frozen=True)
class PacketTable:
    """A stream's packets in decoding order.

    Args:
        pts: (K,) int64.
        keyframe: (K,) bool.
        disposable: (K,) bool, or None if nobody asked.
        times: The frames shown.
        packet_of: (F,) int64, the packet that each shown frame comes from.
        reliable: Each shown packet has its own pts, so that packets foretell frames.
        claimed_end_seconds: Where the header says the video ends, if it was found to end earlier
            because the file is cut or damaged.
    """

    pts: Int64s
    keyframe: npt.NDArray[np.bool_]
    disposable: npt.NDArray[np.bool_] | None
    times: FrameTimes
    packet_of: Int64s
    reliable: bool
    claimed_end_seconds: float | None

    @cached_property
    def keys(self) -> Int64s:
        """Packets that are keyframes, increasing."""
        return np.flatnonzero(self.keyframe)

    def index_of(self, pts: int | None, expected: int) -> int | None:
        """Find a packet by its pts, looking first where it is expected."""
        if pts is None:
            return None
        if 0 <= expected < len(self.pts) and self.pts[expected] == pts:
            return expected
        # A hidden packet may bear the time of a shown one, which then is meant.
        rank = int(np.searchsorted(self.times.pts, pts))
        if rank < len(self.times.pts) and self.times.pts[rank] == pts:
            return int(self.packet_of[rank])
        hidden = np.flatnonzero(self.pts == pts)
        return int(hidden[-1]) if len(hidden) else None


def scan(
    container: InputContainer,
    stream: VideoStream,
    progress: Progress,
    disposable: Disposable | None = None,
    cut: bool = False,
) -> PacketTable:
    """Read every packet once, from the start of the file.

    Args:
        container, stream: Freshly opened.
        progress: Called for every packet.
        disposable: If given, also note which packets nothing refers to.
        cut: The file is known to have lost its end.
    """
    invisible = invisible_test(stream.codec_context.name)
    pts, durations, flags = array("q"), array("q"), array("b")
    complete = True
    damaged = cut
    num_packets = 0
    for packet in packets(container, stream):
        progress()
        if packet is None:
            damaged = True
            continue
        num_packets += 1
        damaged |= packet.is_corrupt
        ticks = packet.pts
        # An edit list discards a packet, or the codec hides it: decoded, never shown.
        hidden = packet.is_discard or (invisible is not None and invisible(memoryview(packet)))
        if ticks is None:
            complete = False
            continue
        pts.append(ticks)
        durations.append(packet.duration or 0)
        flags.append(_flags(packet, hidden, disposable))
    bits = np.array(flags, np.int8)
    table_pts = np.array(pts, np.int64)
    shown = np.flatnonzero(bits & _SHOWN)
    packet_of = shown[np.argsort(table_pts[shown], kind="stable")]
    base = stream.time_base
    numerator, denominator = (base.numerator, base.denominator) if base else (1, 90_000)
    frame_pts = table_pts[packet_of]
    times = FrameTimes(
        frame_pts,
        _end(frame_pts, np.array(durations, np.int64)[packet_of]),
        numerator,
        denominator,
    )
    return PacketTable(
        pts=table_pts,
        keyframe=(bits & _KEY) > 0,
        disposable=(bits & _DISPOSABLE) > 0 if disposable is not None else None,
        times=times,
        packet_of=packet_of,
        reliable=complete
        and bool((np.diff(frame_pts) > 0).all())
        and not _times_lack_reordering(container, stream, table_pts),
        claimed_end_seconds=_missing_tail(container, stream, times, num_packets, damaged),
    )


_KEY, _SHOWN, _DISPOSABLE = 1, 2, 4


def _flags(packet: Packet[VideoStream], hidden: bool, disposable: Disposable | None) -> int:
    flags = _KEY if packet.is_keyframe else 0
    if not hidden:
        flags |= _SHOWN
    if disposable is not None and disposable(memoryview(packet)):
        flags |= _DISPOSABLE
    return flags


def _end(pts: Int64s, durations: Int64s) -> int:
    """Return where the last frame ends: by its own duration, else after the usual one."""
    if not len(pts):
        return 0
    last = int(durations[-1])
    if last <= 0 and len(pts) > 1:
        last = int(np.median(np.diff(pts)))
    return int(pts[-1]) + max(last, 1)


def _times_lack_reordering(container: InputContainer, stream: VideoStream, pts: Int64s) -> bool:
    """AVI stores no presentation times, and FFmpeg guesses those of H.264 as if in order."""
    reorders = container.format.name == "avi" and stream.codec_context.has_b_frames
    return bool(reorders and (np.diff(pts) > 0).all())


def _missing_tail(
    container: InputContainer,
    stream: VideoStream,
    times: FrameTimes,
    num_packets: int,
    damaged: bool,
) -> float | None:
    """Return where the video should have ended, if the file stops early."""
    if not len(times):
        return None
    start, readable = times.pts_seconds(0), times.seconds(times.end)
    family = container.format.name.split(",")[0]
    if family == "mov":
        # The table of samples, after edit lists, counts what is not there any more.
        entries = stream.index_entries
        damaged = len(entries) > num_packets
        claimed = times.seconds(entries[len(entries) - 1].timestamp) if damaged else readable
    elif family == "avi" and stream.frames and stream.average_rate:
        claimed = start + float(stream.frames / stream.average_rate)
    elif stream.duration:
        claimed = times.seconds((stream.start_time or 0) + stream.duration)
    else:
        claimed = ((container.start_time or 0) + (container.duration or 0)) / 1_000_000
    return claimed if damaged and claimed > readable + _TAIL_SECONDS else None
