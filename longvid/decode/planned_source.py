"""Frames by a plan: only the groups of pictures that hold wanted frames are decoded."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Generator, Iterator, Sequence, Set
from contextlib import closing

import av.error
import numpy as np
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from longvid.decode.codec import DecoderSettings, PacketDecoder
from longvid.decode.container import packets
from longvid.decode.engine import Progress
from longvid.decode.frame_source import Opened, PacketsMislead, Reopen
from longvid.decode.gop_plan import Run, plan_runs, start_packet
from longvid.decode.non_reference import disposable_test
from longvid.decode.packet_checks import broken_test
from longvid.decode.packet_table import FrameTimes, PacketTable, fingerprint

#: Reading so many packets costs about as much as a seek.
_SKIP_PACKETS = 256
#: After a seek a packet of the table must come up within so many.
_SEARCH_PACKETS = 4096

#: Codecs of which every visible packet is one picture, unless it is damaged.
_ONE_PICTURE = ("h264", "hevc", "vp8", "vp9", "av1", "libdav1d")

_RECOVERY_POINTS = ("h264", "hevc")

#: Codecs whose decoder, once it has left out a picture, gives the time of that one to the next.
_MISTAKES_TIMES = ("mpeg4",)

#: Codecs whose decoder keeps more than pictures from damage: a score of how the encoder fills up
#: packets, by which it takes later ones for sound or damaged (FFmpeg's `padding_bug_score`).
_REMEMBERS_DAMAGE = ("h263", "h263p", "flv", "mpeg4", "wmv1", "wmv2", "msmpeg4v2", "msmpeg4")

#: So many groups of pictures before damage are looked at for a sound one.
_MOST_GROUPS_BACK = 8

#: A decoder may report the damage of a packet with one of the next.
_NOTICED_LATER = 2

_BEFORE_ALL = -(1 << 63)

#: Containers whose packets are whole frames, even when these are interlaced.
_WHOLE_FRAMES = ("mov", "matroska", "flv", "avi", "asf")
_UNKNOWN_ORDER, _PROGRESSIVE = 0, 1


class PlannedSource:
    """Decodes only what the wanted frames need.

    Args:
        reopen: Opens the file anew.
        opened: The file, already open; this source moves and closes it.
        table: Of the same file; must be reliable.
        settings: How pictures are decoded.
        progress: Called for every packet.
    """

    def __init__(
        self,
        reopen: Reopen,
        opened: Opened,
        table: PacketTable,
        settings: DecoderSettings,
        progress: Progress,
    ) -> None:
        self._reopen, self._settings, self._progress = reopen, settings, progress
        self._table = table
        self._damaged: list[int] = []  # packets of a run
        self._doubtful: set[int] = set()
        self._use(opened)

        #: Whether a seek leads to the packets of the table; in a damaged file it may not.
        self._seekable = table.seekable

    def _use(self, opened: Opened) -> None:
        self._container, self._stream = opened
        self._decoder = PacketDecoder(self._stream, self._settings, self._progress)
        self._packets = packets(self._container, self._stream)
        self._next = -1  # the packet that reading on would give, where that is known
        self._whole_frames = self._packets_are_frames()
        self._broken = self._broken_test()

    def close(self) -> None:
        self._container.close()

    @property
    def times(self) -> FrameTimes:
        return self._table.times

    @property
    def doubtful(self) -> Set[int]:
        return self._doubtful

    def frames(self, ranks: Sequence[int]) -> Iterator[tuple[int, VideoFrame | None]]:
        self._doubtful.clear()
        drop = self._settings.drop_disposable and self._whole_frames
        for run in plan_runs(self._table, ranks):
            missing = yield from self._decode(run, drop=drop, sound_until=len(self._table.pts))
            if missing:
                if self._stream.codec_context.name in _REMEMBERS_DAMAGE:
                    raise PacketsMislead
                missing = yield from self._decode_damaged(run, missing)
            for rank in missing:
                yield rank, None

    def _decode_damaged(
        self, run: Run, missing: list[int]
    ) -> Generator[tuple[int, VideoFrame], None, list[int]]:
        """Yield what can be had of a run with damage; return the ranks of what cannot.

        What a decoder makes up for damaged data depends on the pictures before. After a sound
        group of pictures its state is that of a decoder which began at the start of the file, so
        decoding begins as many groups earlier as that takes.
        """
        groups = 1
        while True:
            start = self._groups_before(run.start, groups)
            far = start == 0 or groups >= _MOST_GROUPS_BACK
            sound_until = 0 if far else run.start
            missing = yield from self._decode(
                Run(start, run.stop, tuple(missing)), drop=False, sound_until=sound_until
            )
            if self._is_sound(sound_until):
                return missing
            groups *= 2

    def _groups_before(self, packet: int, groups: int) -> int:
        place = int(np.searchsorted(self._table.keys, packet)) - groups
        return int(self._table.keys[place]) if place >= 0 else 0

    def _broken_test(self) -> Callable[[memoryview], bool] | None:
        codec = self._stream.codec_context
        return broken_test(codec.name, codec.extradata)

    def _packets_are_frames(self) -> bool:
        """False where a packet may be one field of a frame, whose other half must not be lost."""
        order = int(getattr(self._stream.codec_context, "field_order", _UNKNOWN_ORDER))
        whole = self._container.format.name.split(",")[0] in _WHOLE_FRAMES
        return order == _PROGRESSIVE or (whole and order == _UNKNOWN_ORDER)

    def _decode(
        self, run: Run, *, drop: bool, sound_until: int
    ) -> Generator[tuple[int, VideoFrame], None, list[int]]:
        """Yield the wanted frames of a run as they come; return the ranks of those that do not.

        Args:
            run: What to decode.
            drop: Leave out packets that nothing refers to.
            sound_until: Stop where there is damage before this packet.

        Raises:
            PacketsMislead: Frames are missing though every packet was decoded and none is damaged.
        """
        waiting = {int(self.times.pts[rank]): rank for rank in run.ranks}
        # A picture that refers to a later one comes out before it, and before it is known whether
        # that one is damaged: it is held until all that were decoded before it have come.
        latest = self._table.latest_shown(run.start, run.stop)
        held: list[tuple[int, int, VideoFrame]] = []
        is_first = bool(self._table.keyframe[run.start])
        self._damaged = []
        last_pts = _BEFORE_ALL
        with closing(self._pictures(run, drop)) as pictures:
            for picture in pictures:
                if not self._is_sound(sound_until):
                    break
                # Behind damage the keyframe may be lost, and this be a picture after it.
                is_own = not self._damaged or picture.pts == self._table.pts[run.start]
                if is_first and is_own and not self._is_start(picture):
                    raise PacketsMislead
                is_first = False
                if not self._damaged and picture.pts is not None:
                    if picture.pts <= last_pts:  # its times are not those of its pictures
                        raise PacketsMislead
                    last_pts = picture.pts
                if picture.pts in waiting:
                    rank = waiting.pop(picture.pts)
                    place = int(self._table.packet_of[rank]) - run.start
                    held.append((int(latest[place]), rank, picture))
                while held and picture.pts is not None and held[0][0] <= picture.pts:
                    yield self._note_doubtful(*held.pop(0)[1:])
                if not waiting and not held:
                    return []
        if self._is_sound(sound_until):
            yield from (self._note_doubtful(*each[1:]) for each in held)
            held.clear()
        if not drop and not self._damaged and not self._missing_means_damage():
            raise PacketsMislead
        return sorted([*waiting.values(), *(rank for _, rank, _ in held)])

    def _is_start(self, picture: VideoFrame) -> bool:
        """Return True if decoding can start at a picture, whatever its packet's flag says.

        H.264 and HEVC may also start at a recovery point, whose picture is no keyframe.
        """
        return bool(self._stream.codec_context.name in _RECOVERY_POINTS or picture.key_frame)

    def _missing_means_damage(self) -> bool:
        return self._whole_frames and self._stream.codec_context.name in _ONE_PICTURE

    def _pictures(self, run: Run, drop: bool) -> Generator[VideoFrame, None, None]:
        """Decode the packets of a run, and what the decoder still holds after the last."""
        codec = self._stream.codec_context
        disposable = disposable_test(codec.name, codec.extradata) if drop else None
        needed = {int(self._table.packet_of[rank]) for rank in run.ranks}
        stop = run.stop if self._whole_frames else run.stop + 2
        if self._decoder.num_errors:
            # Some decoders keep what they made up for damage through a flush, and show it later.
            self._open_again()
        self._go_to(run.start)
        self._decoder.flush()
        self._broken = self._broken_test()  # of the packets from here on
        start_pts = self._table.pts[run.start]
        owed = 0  # pictures of the packets so far that did not come
        try:
            for index, packet in self._read(run.start):
                if (
                    disposable is not None
                    and disposable(memoryview(packet))
                    and index not in needed
                ):
                    self._progress()
                else:
                    pictures = self._fed(packet, index)
                    owed += int(self._table.pts[index] >= start_pts) - len(pictures)
                    yield from pictures
                if index >= stop:
                    break
            pictures = self._fed(None, stop)
            mistaken = codec.name in _MISTAKES_TIMES and owed > len(pictures)
            if mistaken and not self._damaged:
                raise PacketsMislead
            yield from pictures
        finally:
            self._decoder.flush()

    def _fed(self, packet: Packet[VideoStream] | None, index: int) -> list[VideoFrame]:
        """Give the decoder a packet, and note which packet is damaged, if one is."""
        errors = self._decoder.num_errors
        pictures = self._decoder.decode(packet)
        if self._decoder.num_errors > errors:
            places = [self._table.index_of(pts, -1) for pts in self._decoder.damaged_pts]
            self._damaged += [at for at in places if at is not None] or [index]
        return pictures

    def _is_sound(self, until: int) -> bool:
        """Return True if no packet before one is damaged."""
        return min(self._damaged, default=until) >= until

    def _note_doubtful(self, rank: int, picture: VideoFrame) -> tuple[int, VideoFrame]:
        """Note whether a picture may refer to a damaged one, and return both."""
        if self._damaged:
            packet = int(self._table.packet_of[rank])
            start = start_packet(self._table, rank)
            if any(start <= at <= packet + _NOTICED_LATER for at in self._damaged):
                self._doubtful.add(rank)
        return rank, picture

    def _read(self, start: int) -> Iterator[tuple[int, Packet[VideoStream]]]:
        """Yield packets of the table from `start` on, with their place in it."""
        strangers = 0
        is_first = True
        for packet in self._packets:
            if packet is None:
                self._damaged.append(max(self._next, start))
                continue
            index = self._place_of(packet)
            if index is None:
                strangers += 1
                if strangers > _SEARCH_PACKETS:
                    break
                continue
            self._next = index + 1
            if index >= start:
                if not self._is_same(packet, index):
                    if not (is_first and self._seekable):
                        raise PacketsMislead
                    self._seekable = False
                    self._open_again()
                    yield from self._read(start)
                    return
                is_first = False
                is_corrupt = packet.is_corrupt and not self._table.is_at_join(index)
                if is_corrupt or (self._broken is not None and self._broken(memoryview(packet))):
                    self._damaged.append(index)
                yield index, packet
            else:
                self._progress()
        self._next = -1

    def _is_same(self, packet: Packet[VideoStream], index: int) -> bool:
        """Return False if a packet has the time of one in the table, and another content.

        Behind a seek program streams may give the times of one picture to the next, and damaged
        files other packets.
        """
        return fingerprint(memoryview(packet)) == int(self._table.prints[index])

    def _place_of(self, packet: Packet[VideoStream]) -> int | None:
        """Find a packet in the table, and give it the time that it has there."""
        if self._table.seekable:
            return self._table.index_of(packet.pts, self._next)
        # Its own time may occur twice. But this file is only read from its start, so it can be
        # counted.
        if self._next >= len(self._table.pts):
            return None
        packet.pts = int(self._table.pts[self._next])
        packet.dts = None
        return self._next

    def _go_to(self, start: int) -> None:
        """Stand at or before a packet: read on, seek, seek earlier, or open again."""
        far = _SKIP_PACKETS if self._seekable else len(self._table.pts)
        if 0 <= self._next <= start <= self._next + far:
            return
        if self._seekable and self._seek(start):
            return
        self._open_again()

    def _open_again(self) -> None:
        self._container.close()
        self._use(self._reopen())
        self._next = 0

    def _seek(self, start: int) -> bool:
        """Seek to a packet or shortly before it; False if that is not possible."""
        keys = self._table.keys
        place = int(np.searchsorted(keys, start, side="right")) - 1
        for back in (0, 1, 4):
            if place - back < 0:
                continue
            try:
                target = int(self._table.pts[keys[place - back]])
                self._container.seek(target, stream=self._stream)
            except av.error.FFmpegError:
                break
            if self._peek() <= start:
                return True
        return False

    def _peek(self) -> int:
        """Return the place of the next packet without consuming it; past the end if unknown."""
        self._next = -1
        self._packets = packets(self._container, self._stream)
        for packet in itertools.islice(self._packets, _SEARCH_PACKETS):
            if packet is None:
                continue
            index = self._table.index_of(packet.pts, -1)
            if index is not None and self._is_same(packet, index):
                self._next = index
                self._packets = itertools.chain((packet,), self._packets)
                return index
        return len(self._table.pts)
