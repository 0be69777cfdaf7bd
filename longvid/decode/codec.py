"""The codec of a stream: packets in, pictures out, damaged packets survived."""

from __future__ import annotations

import errno
import mmap
from dataclasses import dataclass
from typing import Any

import av.error
import av.logging
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from longvid.decode.container import decoder_options, packets
from longvid.decode.engine import Progress

_LEAST_ROOM_BYTES = 1 << 24

#: What decoders print at the level of debugging where they leave a part of a picture as it was
#: before: memory of any older picture.
_OUTSIDE, _MISSING_SLICE = "motion vector out of boundary", "ignoring last missing slice"
_UNPAINTED = {"mpeg1video": (_OUTSIDE,), "mpeg2video": (_OUTSIDE, _MISSING_SLICE)}
_MACROBLOCK = 16


def _unpainted(codec: str, height: int) -> tuple[str, ...]:
    """Return the messages that tell of an unpainted part.

    Some encoders leave out the last slice of 1080 lines, half of which is below the picture: where
    the picture does not end with a macroblock, a missing one is no sign of damage.
    """
    texts = _UNPAINTED.get(codec, ())
    return tuple(each for each in texts if each != _MISSING_SLICE or height % _MACROBLOCK == 0)


@dataclass(frozen=True, slots=True)
class DecoderSettings:
    """How pictures are decoded.

    Args:
        max_pixels: Larger frames are refused.
        loop_filter: Off, decoding is a quarter faster and pictures differ from the exact ones.
        drop_disposable: Leave out packets that nothing refers to and nobody wants.
        count_messages: Take an error that FFmpeg only prints for damage, too. Messages are those
            of the whole process, so this is for a process that does nothing else.
    """

    max_pixels: int
    loop_filter: bool = True
    drop_disposable: bool = True
    count_messages: bool = False

    def codec_options(self) -> dict[str, str]:
        more = {} if self.loop_filter else {"skip_loop_filter": "all"}
        return decoder_options(self.max_pixels, **more)


class PacketDecoder:
    """The codec of a stream, on one thread, that survives damaged packets."""

    def __init__(self, stream: VideoStream, settings: DecoderSettings, progress: Progress) -> None:
        self._codec: Any = stream.codec_context
        self._progress = progress
        self.num_errors = 0
        #: Of the damaged pictures that the last packet completed.
        self.damaged_pts: list[int] = []
        # H.264 marks what it makes up, and prints errors at sound places too: where an open group
        # of pictures is entered.
        self._counts = settings.count_messages and self._codec.name != "h264"
        self._listens = settings.count_messages and self._codec.name in _UNPAINTED
        if settings.count_messages and av.logging.get_level() is None:
            av.logging.set_level(av.logging.PANIC)  # prints nothing, but counts
        if not self._codec.is_open:
            self._codec.options = settings.codec_options()
            self._codec.thread_count = 1
            self._codec.thread_type = "NONE"

    def decode(self, packet: Packet[VideoStream] | None) -> list[VideoFrame]:
        """Return the pictures that a packet completes; None asks for all that are left."""
        self._progress()
        self.damaged_pts = []
        before = av.logging.get_last_error()[0] if self._counts else 0
        try:
            if self._listens:
                return self._decode_listening(packet)
            return self._decode(packet)
        finally:
            if self._counts:
                self.num_errors += av.logging.get_last_error()[0] - before

    def _decode_listening(self, packet: Packet[VideoStream] | None) -> list[VideoFrame]:
        """Decode, and take a message of debugging about an unpainted part for damage."""
        level = av.logging.get_level()
        av.logging.set_level(av.logging.DEBUG)
        try:
            with av.logging.Capture() as messages:
                return self._decode(packet)
        finally:
            av.logging.set_level(level)
            unpainted = _unpainted(self._codec.name, self._codec.height or 0)
            self.num_errors += any(each in text for _, _, text in messages for each in unpainted)

    def _decode(self, packet: Packet[VideoStream] | None) -> list[VideoFrame]:
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
        damaged = [frame for frame in decoded if frame.is_corrupt]
        self.num_errors += len(damaged)
        self.damaged_pts = [frame.pts for frame in damaged if frame.pts is not None]
        return [frame for frame in decoded if not frame.is_corrupt]

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
    container: InputContainer, stream: VideoStream, settings: DecoderSettings, progress: Progress
) -> VideoFrame | None:
    """Decode the first picture that can be decoded, from the start of the file."""
    decoder = PacketDecoder(stream, settings, progress)
    for packet in packets(container, stream):
        if packet is not None and (decoded := decoder.decode(packet)):
            return decoded[0]
    decoded = decoder.decode(None)
    return decoded[0] if decoded else None
