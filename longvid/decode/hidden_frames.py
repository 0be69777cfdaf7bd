"""Tell which packets hold a picture that is decoded but never shown.

VP8 and VP9 code alternative reference pictures of that kind, with a presentation time that means
nothing. (VP8: RFC 6386 §9.1; VP9 bitstream specification §6.2 and annex B.)
"""

from __future__ import annotations

from collections.abc import Callable


def invisible_test(codec: str) -> Callable[[memoryview], bool] | None:
    """Return the test for packets of a codec, None where every packet is shown.

    Args:
        codec: FFmpeg's name of the decoder.
    """
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
