"""An open video from which single frames can be had, each exactly as if all were decoded.

`PlannedSource` decodes only the groups of pictures that hold wanted frames, and leaves out packets
that nothing refers to. What it foretells from packets it checks against what the decoder gives;
where they differ it starts again, earlier and with every packet, before it calls a frame missing.
`SequentialSource` decodes everything, for files whose packets foretell nothing, and is the
slow twin that the other must equal.
"""

from __future__ import annotations

import errno
import itertools
import mmap
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Protocol

import av.error
import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from longvid.decode.container import decoder_options, packets
from longvid.decode.engine import Progress
from longvid.decode.gop_plan import Run, plan_runs
from longvid.decode.non_reference import disposable_test
from longvid.decode.packet_table import FrameTimes, PacketTable

__all__ = [
    "DecoderSettings",
    "PacketsMislead",
    "PlannedSource",
    "SequentialSource",
    "Source",
    "first_picture",
]

#: Reading so many packets costs about as much as a seek.
_SKIP_PACKETS = 256
#: After a seek a packet of the table must come up within so many.
_SEARCH_PACKETS = 4096

_LEAST_ROOM_BYTES = 1 << 24

#: Codecs of which every visible packet is one picture, unless it is damaged.
_ONE_PICTURE = ("h264", "hevc", "vp8", "vp9", "av1", "libdav1d")

#: Containers whose packets are whole frames, even when these are interlaced.
_WHOLE_FRAMES = ("mov", "matroska", "flv", "avi", "asf")
_UNKNOWN_ORDER, _PROGRESSIVE = 0, 1


@dataclass(frozen=True, slots=True)
class DecoderSettings:
    """How pictures are decoded.

    Args:
        max_pixels: Larger frames are refused.
        loop_filter: Off, decoding is a quarter faster and pictures differ from the exact ones.
        drop_disposable: Leave out packets that nothing refers to and nobody wants.
    """

    max_pixels: int
    loop_filter: bool = True
    drop_disposable: bool = True

    def codec_options(self) -> dict[str, str]:
        """Return them as the decoder's options."""
        more = {} if self.loop_filter else {"skip_loop_filter": "all"}
        return decoder_options(self.max_pixels, **more)


Opened = tuple[InputContainer, VideoStream]


class PacketsMislead(Exception):
    """A sound packet gave no picture of its own: packets do not foretell this file's frames."""


class Source(Protocol):
    """Frames of one file by rank, in order of display."""

    @property
    def times(self) -> FrameTimes:
        """When each frame is shown."""

    def frames(self, ranks: Sequence[int]) -> Iterator[tuple[int, VideoFrame | None]]:
        """Yield each wanted frame once, or None where it cannot be decoded.

        Args:
            ranks: Increasing and unique.
        """

    def close(self) -> None:
        """Close the file."""


class _Decoder:
    """The codec of a stream, on one thread, that survives damaged packets."""

    def __init__(self, stream: VideoStream, settings: DecoderSettings, progress: Progress) -> None:
        self._codec: Any = stream.codec_context
        self._progress = progress
        self.num_errors = 0
        if not self._codec.is_open:
            self._codec.options = settings.codec_options()
            self._codec.thread_count = 1
            self._codec.thread_type = "NONE"

    def decode(self, packet: Packet[VideoStream] | None) -> list[VideoFrame]:
        """Return the pictures that a packet completes; None asks for all that are left."""
        self._progress()
        try:
            decoded: list[VideoFrame] = self._codec.decode(packet)
        except EOFError:
            return []
        except av.error.FFmpegError as error:
            if error.errno == errno.ENOMEM:
                raise MemoryError from error
            self._require_room()
            self.num_errors += 1
            return []
        sound = [frame for frame in decoded if not frame.is_corrupt]
        self.num_errors += len(decoded) - len(sound)
        return sound

    def _require_room(self) -> None:
        """Raise MemoryError if what looks like damage is a decoder that got no memory.

        Several of FFmpeg's decoders say "invalid data" when an allocation fails.
        """
        pixels = (self._codec.height or 0) * (self._codec.width or 0)
        try:
            mmap.mmap(-1, max(_LEAST_ROOM_BYTES, 8 * pixels)).close()
        except OSError as error:
            raise MemoryError from error

    def flush(self) -> None:
        """Forget everything, to start again at a keyframe."""
        self._codec.flush_buffers()


def first_picture(
    container: InputContainer,
    stream: VideoStream,
    settings: DecoderSettings,
    progress: Progress,
) -> VideoFrame | None:
    """Decode the first picture that can be decoded, from the start of the file."""
    decoder = _Decoder(stream, settings, progress)
    for packet in packets(container, stream):
        if packet is not None and (decoded := decoder.decode(packet)):
            return decoded[0]
    decoded = decoder.decode(None)
    return decoded[0] if decoded else None


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
        reopen: Callable[[], Opened],
        opened: Opened,
        table: PacketTable,
        settings: DecoderSettings,
        progress: Progress,
    ) -> None:
        self._reopen, self._settings, self._progress = reopen, settings, progress
        self._table = table
        self._read_errors = 0
        self._use(opened)

    def _use(self, opened: Opened) -> None:
        self._container, self._stream = opened
        self._decoder = _Decoder(self._stream, self._settings, self._progress)
        self._packets = packets(self._container, self._stream)
        self._next = -1  # the packet that reading on would give, where that is known
        self._whole_frames = self._packets_are_frames()

    def close(self) -> None:
        """Close the file."""
        self._container.close()

    @property
    def times(self) -> FrameTimes:
        """When each frame is shown."""
        return self._table.times

    def frames(self, ranks: Sequence[int]) -> Iterator[tuple[int, VideoFrame | None]]:
        """Yield each wanted frame once, or None where it cannot be decoded."""
        drop = self._settings.drop_disposable and self._whole_frames
        for run in plan_runs(self._table, ranks):
            missing = yield from self._decode(run, drop=drop)
            if missing and drop:
                missing = yield from self._decode(_only(run, missing), drop=False)
            earlier = self._keyframe_before(run.start)
            if missing and earlier is not None:
                missing = yield from self._decode(_only(run, missing, earlier), drop=False)
            for rank in missing:
                yield rank, None

    def _keyframe_before(self, packet: int) -> int | None:
        place = int(np.searchsorted(self._table.keys, packet)) - 1
        return int(self._table.keys[place]) if place >= 0 else None

    def _packets_are_frames(self) -> bool:
        """False where a packet may be one field of a frame, whose other half must not be lost."""
        order = int(getattr(self._stream.codec_context, "field_order", _UNKNOWN_ORDER))
        whole = self._container.format.name.split(",")[0] in _WHOLE_FRAMES
        return order == _PROGRESSIVE or (whole and order == _UNKNOWN_ORDER)

    def _decode(
        self, run: Run, *, drop: bool
    ) -> Generator[tuple[int, VideoFrame], None, list[int]]:
        """Yield the wanted frames of a run as they come; return the ranks of those that do not.

        What a decoder makes up for damaged data depends on every packet before it. So from the
        first error on nothing is taken from a run in which packets were left out.

        Raises:
            PacketsMislead: Frames are missing though every packet was decoded and none is damaged.
        """
        waiting = {int(self.times.pts[rank]): rank for rank in run.ranks}
        errors = self._num_errors
        with closing(self._pictures(run, drop)) as pictures:
            for picture in pictures:
                if drop and self._num_errors > errors:
                    break
                if picture.pts in waiting:
                    yield waiting.pop(picture.pts), picture
                    if not waiting:
                        return []
        if not drop and self._num_errors == errors and not self._missing_means_damage():
            raise PacketsMislead
        return sorted(waiting.values())

    def _missing_means_damage(self) -> bool:
        return self._whole_frames and self._stream.codec_context.name in _ONE_PICTURE

    @property
    def _num_errors(self) -> int:
        return self._read_errors + self._decoder.num_errors

    def _pictures(self, run: Run, drop: bool) -> Generator[VideoFrame, None, None]:
        """Decode the packets of a run, and what the decoder still holds after the last."""
        codec = self._stream.codec_context
        disposable = disposable_test(codec.name, codec.extradata) if drop else None
        needed = {int(self._table.packet_of[rank]) for rank in run.ranks}
        stop = run.stop if self._whole_frames else run.stop + 2
        self._go_to(run.start)
        self._decoder.flush()
        try:
            for index, packet in self._read(run.start):
                if (
                    disposable is not None
                    and disposable(memoryview(packet))
                    and index not in needed
                ):
                    self._progress()
                else:
                    yield from self._decoder.decode(packet)
                if index >= stop:
                    break
            yield from self._decoder.decode(None)
        finally:
            self._decoder.flush()

    def _read(self, start: int) -> Iterator[tuple[int, Packet[VideoStream]]]:
        """Yield packets of the table from `start` on, with their place in it."""
        strangers = 0
        for packet in self._packets:
            if packet is None:
                self._read_errors += 1
                continue
            index = self._table.index_of(packet.pts, self._next)
            if index is None:
                strangers += 1
                if strangers > _SEARCH_PACKETS:
                    break
                continue
            self._next = index + 1
            if index >= start:
                yield index, packet
            else:
                self._progress()
        self._next = -1

    def _go_to(self, start: int) -> None:
        """Stand at or shortly before a packet: read on, seek, seek earlier, or open again."""
        if 0 <= self._next <= start <= self._next + _SKIP_PACKETS:
            return
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
                return
        self._container.close()
        self._read_errors += self._decoder.num_errors  # a new decoder counts from 0
        self._use(self._reopen())
        self._next = 0

    def _peek(self) -> int:
        """Return the place of the next packet without consuming it; past the end if unknown."""
        self._next = -1
        self._packets = packets(self._container, self._stream)
        for packet in itertools.islice(self._packets, _SEARCH_PACKETS):
            if packet is None:
                continue
            index = self._table.index_of(packet.pts, -1)
            if index is not None:
                self._next = index
                self._packets = itertools.chain((packet,), self._packets)
                return index
        return len(self._table.pts)


def _only(run: Run, ranks: Sequence[int], start: int | None = None) -> Run:
    return Run(run.start if start is None else start, run.stop, tuple(sorted(ranks)))


class SequentialSource:
    """Decodes every frame from the start, and believes only what comes out.

    Args:
        reopen: Opens the file anew.
        settings: How pictures are decoded.
        progress: Called for every packet.
    """

    def __init__(
        self,
        reopen: Callable[[], Opened],
        settings: DecoderSettings,
        progress: Progress,
    ) -> None:
        self._reopen, self._settings, self._progress = reopen, settings, progress
        numerator, denominator = self._time_base()
        ticks = [picture.pts if picture.pts is not None else picture.dts for picture in self._all()]
        #: The pictures that count, by their place in the decoder's output.
        self._places, ordered = _in_order_of_display(ticks)
        last = int(np.median(np.diff(ordered))) if len(ordered) > 1 else 1
        end = ordered[-1] + max(last, 1) if ordered else 0
        self._times = FrameTimes(np.array(ordered, np.int64), end, numerator, denominator)

    @property
    def times(self) -> FrameTimes:
        """When each frame is shown."""
        return self._times

    def close(self) -> None:
        """Do nothing: the file is open only while frames are read."""

    def frames(self, ranks: Sequence[int]) -> Iterator[tuple[int, VideoFrame | None]]:
        """Yield each wanted frame once; None only if the file changed meanwhile."""
        waiting = deque((self._places[rank], rank) for rank in ranks)
        if waiting:
            with closing(self._all()) as pictures:
                for place, picture in enumerate(pictures):
                    if place == waiting[0][0]:
                        yield waiting.popleft()[1], picture
                        if not waiting:
                            return
        for _, rank in waiting:
            yield rank, None

    def _time_base(self) -> tuple[int, int]:
        container, stream = self._reopen()
        base = stream.time_base
        container.close()
        return (base.numerator, base.denominator) if base else (1, 90_000)

    def _all(self) -> Generator[VideoFrame, None, None]:
        container, stream = self._reopen()
        try:
            decoder = _Decoder(stream, self._settings, self._progress)
            sound = (packet for packet in packets(container, stream) if packet is not None)
            for packet in itertools.chain(sound, (None,)):
                yield from decoder.decode(packet)
        finally:
            container.close()


def _in_order_of_display(ticks: Sequence[int | None]) -> tuple[list[int], list[int]]:
    """Give pictures, which come in order of display, times that increase.

    H.264 in AVI has its times in decoding order: the right ones, in the wrong places. Where times
    are missing or double, a picture that does not come later than the one before is left out.

    Args:
        ticks: What each picture says of itself.

    Returns:
        The places of the pictures kept, and their times.
    """
    known = [time for time in ticks if time is not None]
    if len(set(known)) == len(ticks):
        return list(range(len(ticks))), sorted(known)
    places: list[int] = []
    times: list[int] = []
    for place, time in enumerate(ticks):
        if time is not None and (not times or time > times[-1]):
            places.append(place)
            times.append(time)
    return places, times
