"""Tell which packets hold a picture that is decoded but never shown.

VP8, VP9 and AV1 code alternative reference pictures of that kind. Where one has a packet of its
own, its presentation time means nothing. (VP8: RFC 6386 §9.1; VP9 bitstream specification §6.2 and
annex B; AV1 bitstream specification §5.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator


def invisible_test(codec: str, extradata: bytes | None) -> Callable[[memoryview], bool] | None:
    """Return the test for packets of a codec, None where every packet is shown.

    Args:
        codec: FFmpeg's name of the decoder.
        extradata: The stream's headers.

    Returns:
        It must see every packet.
    """
    if codec in ("av1", "libdav1d"):
        return _InvisibleAv1(extradata)
    return {"vp8": _invisible_vp8, "vp9": _invisible_vp9}.get(codec)


def _invisible_vp8(data: memoryview) -> bool:
    return not data[0] & 0b0001_0000  # show_frame


def _invisible_vp9(data: memoryview) -> bool:
    if data[-1] & 0b1110_0000 == 0b1100_0000:
        return False  # a superframe: several pictures, the last of them shown
    header = data[0]
    if header >> 6 != 0b10:
        return False  # damaged
    reserved = 1 if header & 0b0011_0000 == 0b0011_0000 else 0  # profile 3 has one bit more
    show_existing_frame = header >> (3 - reserved) & 1
    show_frame = header >> (1 - reserved) & 1
    return not (show_existing_frame or show_frame)


_SEQUENCE_HEADER, _FRAME_HEADERS = 1, (3, 6)  # a frame's header by itself, or with its tiles
_AV1C_BYTES = 4


class _InvisibleAv1:
    def __init__(self, extradata: bytes | None) -> None:
        self._is_still = False  # every frame is shown then, and does not say so
        for kind, content in _units_av1(memoryview(extradata or b"")[_AV1C_BYTES:]):
            self._learn(kind, content)

    def __call__(self, data: memoryview) -> bool:
        seen = False
        for kind, content in _units_av1(data):
            self._learn(kind, content)
            if kind in _FRAME_HEADERS and len(content):
                # show_existing_frame, frame_type (2 bits), show_frame
                if self._is_still or content[0] & 0b1001_0000:
                    return False
                seen = True
        return seen

    def _learn(self, kind: int, content: memoryview) -> None:
        if kind == _SEQUENCE_HEADER and len(content):
            self._is_still = bool(content[0] & 0b0000_1000)  # reduced_still_picture_header


def _units_av1(data: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Yield type and content of the units (OBU) of a packet, as far as they are whole."""
    position = 0
    while position < len(data):
        header = data[position]
        position += 2 if header & 0b100 else 1  # an extension follows
        length = len(data) - position
        if header & 0b10:
            length, shift = 0, 0
            while True:
                if position >= len(data) or shift > 28:
                    return
                byte = data[position]
                length |= (byte & 0x7F) << shift
                position, shift = position + 1, shift + 7
                if byte < 0x80:
                    break
        if length > len(data) - position:
            return
        yield header >> 3 & 15, data[position : position + length]
        position += length
