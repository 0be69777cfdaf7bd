"""The table of a video's packets: the truth about its frames, whatever the header says.

One pass over the packets, without decoding, gives the presentation time of every frame, the
keyframes, and how far the file can be read.
"""

from __future__ import annotations

import zlib
from array import array
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from av.container import InputContainer
from av.packet import Packet
from av.video.stream import VideoStream

from longvid.decode.clock import (
    RESTARTS_AT_ANY_TIME_SECONDS,
    RESTARTS_BY_DAMAGE_SECONDS,
    CarriedTimes,
    carried_on,
    usual_interval,
    without_stray,
)
from longvid.decode.container import may_restart, packets
from longvid.decode.engine import Progress
from longvid.decode.hidden_frames import invisible_test
from longvid.decode.non_reference import Disposable
from longvid.decode.packet_checks import DisplayOrder, HeaderCheck, irregular_test

Int64s = npt.NDArray[np.int64]

#: A header may be so many seconds longer than the packets before its tail counts as missing.
TAIL_SECONDS = 0.5

_PRINT_BYTES = 256


@dataclass(frozen=True)
class FrameTimes:
    """Presentation times of the frames that are shown, in the order in which they are shown.

    Args:
        pts: (F,) int64 strictly increasing, in units of time_base.
        end: Where the last frame ends, in the same units.
        numerator, denominator: The time base in seconds.
        joins: Where the stream's clock was carried on, and by how much it jumps there.
    """

    pts: Int64s
    end: int
    numerator: int
    denominator: int
    joins: tuple[tuple[int, int], ...] = ()

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
        pts: (K,) int64, carried on where the stream's clock is discontinuous.
        keyframe: (K,) bool.
        disposable: (K,) bool, or None if nobody asked.
        times: The frames shown.
        packet_of: (F,) int64, the packet that each shown frame comes from.
        reliable: Each shown packet has its own pts, and keyframes stand alone, so that packets
            foretell frames.
        join_places: The packets at which the clock was carried on.
        encrypted: Packets say that they are.
        says_once: A packet changes the decoder for all that follow: a palette, new headers.
        claimed_end_seconds: Where the header says the video ends, if it was found to end earlier
            because the file is cut or damaged.
        prints: (K,) uint32, `fingerprint` of each packet.
    """

    pts: Int64s
    keyframe: npt.NDArray[np.bool_]
    disposable: npt.NDArray[np.bool_] | None
    times: FrameTimes
    packet_of: Int64s
    reliable: bool
    join_places: tuple[int, ...]
    encrypted: bool
    says_once: bool
    claimed_end_seconds: float | None
    prints: npt.NDArray[np.uint32]

    @property
    def seekable(self) -> bool:
        """Whether the pts are the stream's own, so that one leads to its packet."""
        return not self.join_places

    @cached_property
    def keys(self) -> Int64s:
        """Packets that are keyframes, increasing."""
        return np.flatnonzero(self.keyframe)

    def is_at_join(self, index: int) -> bool:
        """Return True for the packets beside a discontinuity, whose counters differ too."""
        return any(abs(index - place) <= 2 for place in self.join_places)

    def latest_shown(self, start: int, stop: int) -> Int64s:
        """Return for each packet from `start` to `stop` the greatest pts shown up to it."""
        shown = np.zeros(len(self.pts), np.bool_)
        shown[self.packet_of] = True
        some = slice(start, stop + 1)
        return np.maximum.accumulate(np.where(shown[some], self.pts[some], np.iinfo(np.int64).min))

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


def fingerprint(data: memoryview) -> int:
    """Tell packets apart by their ends and their length, which costs less than reading them."""
    return zlib.crc32(data[-_PRINT_BYTES:], zlib.crc32(data[:_PRINT_BYTES], len(data)))


class _Packets:
    """What is noted of each packet while a file is read."""

    def __init__(self, stream: VideoStream, disposable: Disposable | None, cut: bool) -> None:
        codec = stream.codec_context
        self._extradata = codec.extradata
        self._disposable = disposable
        self._invisible = invisible_test(codec.name, codec.extradata)
        self._irregular = irregular_test(codec.name, codec.extradata)
        self._headers = HeaderCheck(codec.name, codec.extradata)
        self._order = DisplayOrder(codec.name)
        self.pts, self.dts, self.durations = array("q"), array("q"), array("q")
        self.flags = array("b")
        self.prints = array("I")
        self.num_packets = 0
        self.damaged = cut
        self.encrypted = False
        #: Every packet has a time and is one picture, and nothing is said only once.
        self.regular = True
        self.says_once = False

    def add(self, packet: Packet[VideoStream] | None) -> None:
        """Note the next packet; None is a read error."""
        if packet is None:
            self.damaged = True
            return
        self.num_packets += 1
        self.damaged |= packet.is_corrupt
        self.encrypted |= packet.has_sidedata("encryption_info")
        data = memoryview(packet)
        # An edit list discards a packet, or the codec hides it: decoded, never shown.
        hidden = packet.is_discard or (self._invisible is not None and self._invisible(data))
        self.says_once |= self._says_once(packet)
        if packet.pts is None or self.says_once:
            self.regular = False
        if self._irregular is not None and self._irregular(data, packet.is_keyframe):
            self.regular = False
        if packet.is_keyframe:
            self._headers.add(data)
        if packet.pts is None:
            return
        self._order.add(data, packet.pts)
        self.pts.append(packet.pts)
        self.dts.append(_NO_TIME if packet.dts is None else packet.dts)
        self.durations.append(packet.duration or 0)
        self.prints.append(fingerprint(data))
        flags = _KEY if packet.is_keyframe else 0
        if not hidden:
            flags |= _SHOWN
        if self._disposable is not None and self._disposable(data):
            flags |= _DISPOSABLE
        self.flags.append(flags)

    def _says_once(self, packet: Packet[VideoStream]) -> bool:
        """Return True if a packet changes the decoder for all that follow.

        The demuxer says it with this packet only, and says it to whoever reads the packet first.
        """
        if packet.has_sidedata("palette") or packet.has_sidedata("param_change"):
            return True
        if not packet.has_sidedata("new_extradata"):
            return False
        return bytes(packet.get_sidedata("new_extradata")) != self._extradata

    @property
    def times_are_shifted(self) -> bool:
        """Whether times contradict the numbers of the pictures; asked once all are read."""
        self._order.end_group()
        return self._order.contradicts

    @property
    def headers_are_inherited(self) -> bool:
        """Whether a decoder that starts at a keyframe may lack its headers."""
        return self._headers.inherited


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
    read = _Packets(stream, disposable, cut)
    for packet in packets(container, stream):
        progress()
        read.add(packet)
    bits = np.array(read.flags, np.int8)
    base = stream.time_base
    numerator, denominator = (base.numerator, base.denominator) if base else (1, 90_000)
    own_pts, dts = np.array(read.pts, np.int64), _known(read.dts, read.pts)
    longest_gap = longest_gap_ticks(container, numerator, denominator)
    shown = np.flatnonzero(bits & _SHOWN)
    carried = _carried_on(dts, own_pts, shown, longest_gap)
    table_pts = own_pts + carried.offsets
    packet_of = shown[np.argsort(table_pts[shown], kind="stable")]
    frame_pts = table_pts[packet_of]
    times = FrameTimes(
        frame_pts,
        _end(frame_pts, np.array(read.durations, np.int64)[packet_of]),
        numerator,
        denominator,
        joins(table_pts, carried),
    )
    return PacketTable(
        pts=table_pts,
        keyframe=(bits & _KEY) > 0,
        disposable=(bits & _DISPOSABLE) > 0 if disposable is not None else None,
        times=times,
        packet_of=packet_of,
        reliable=read.regular
        and not read.headers_are_inherited
        and not read.times_are_shifted
        and bool((np.diff(frame_pts) > 0).all())
        and bool((np.abs(own_pts - dts) <= _most_apart(frame_pts, longest_gap)).all())
        and not _times_lack_reordering(container, stream, own_pts)
        and not (read.damaged and stream.codec_context.name in _DRAWN_OVER),
        join_places=carried.places,
        prints=np.array(read.prints, np.uint32),
        encrypted=read.encrypted,
        says_once=read.says_once,
        claimed_end_seconds=_missing_tail(container, stream, times, read.num_packets, read.damaged)
        if not carried.places
        else None,
    )


_KEY, _SHOWN, _DISPOSABLE = 1, 2, 4
#: Codecs whose pictures are drawn over the one before; a damaged one may leave parts of it.
_DRAWN_OVER = ("apng",)
_NO_TIME = -(1 << 63)


def _carried_on(dts: Int64s, pts: Int64s, shown: Int64s, longest_gap: int) -> CarriedTimes:
    """Find the offsets of all packets from the times of those that are shown.

    The times of the others may mean nothing: behind an edit, a decoder is given packets from the
    keyframe before it on, with times that go back.
    """
    found = carried_on(without_stray(dts[shown], pts[shown]), longest_gap)
    if not found.places:
        return CarriedTimes(np.zeros(len(pts), np.int64))
    before = np.maximum(np.searchsorted(shown, np.arange(len(pts)), side="right") - 1, 0)
    places = tuple(shown[list(found.places)].tolist())
    return CarriedTimes(found.offsets[before], places, found.jumps)


def longest_gap_ticks(container: InputContainer, numerator: int, denominator: int) -> int:
    """Return how far a clock may step forward and still be right."""
    seconds = RESTARTS_AT_ANY_TIME_SECONDS if may_restart(container) else RESTARTS_BY_DAMAGE_SECONDS
    return int(seconds * denominator / numerator)


def joins(ticks: Int64s, carried: CarriedTimes) -> tuple[tuple[int, int], ...]:
    """Pair each discontinuity's time, carried on, with the jump of the stream's own clock."""
    return tuple(
        (int(ticks[at]), jump) for at, jump in zip(carried.places, carried.jumps, strict=True)
    )


def _known(dts: array[int], pts: array[int]) -> Int64s:
    """Return decoding times; where one is missing, that of the packet before, or its pts."""
    times = np.array(dts, np.int64)
    missing = times == _NO_TIME
    if not missing.any():
        return times
    if missing.all():
        return np.array(pts, np.int64)
    last = np.maximum.accumulate(np.where(missing, 0, np.arange(len(times))))
    first = int(np.flatnonzero(~missing)[0])
    times = times[last]
    times[:first] = times[first]
    return times


def _most_apart(pts: Int64s, longest_gap: int) -> int:
    """Return how far a packet's pts may lie from its dts; farther off, one of them is wrong."""
    return max(17 * usual_interval(pts), longest_gap)


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
    return claimed if damaged and claimed > readable + TAIL_SECONDS else None
