"""Tell which packets hold pictures that no other picture refers to.

Such a picture can be left out in front of the decoder without changing any other. Only what the
bitstream itself says is believed, not a flag of the container, and what is unknown is kept:

    H.264   every slice has nal_ref_idc = 0                         (H.264 §7.4.1)
    HEVC    a sub-layer non-reference picture of the highest        (H.265 §7.4.2.2)
            temporal layer that the parameter sets allow
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol


class Disposable(Protocol):
    """Says of a packet whether nothing refers to it. Must see every packet, in decoding order."""

    def __call__(self, data: memoryview) -> bool:
        """Return True only when it is certain."""


def disposable_test(codec: str, extradata: bytes | None) -> Disposable | None:
    """Return the test for a stream, None where it cannot be told.

    Args:
        codec: FFmpeg's name of the decoder.
        extradata: The stream's parameter sets: avcC or hvcC, or Annex B, or nothing.
    """
    extradata = extradata or b""
    if codec == "h264":
        return _H264(extradata)
    if codec == "hevc":
        return _Hevc(extradata)
    return None


def nal_units(data: memoryview, length_bytes: int) -> Iterator[memoryview]:
    """Split a packet into NAL units.

    Args:
        data: The packet.
        length_bytes: Width of the length in front of each unit; 0 for Annex B start codes.

    Returns:
        The units, possibly with trailing zero bytes; a damaged packet ends early with an empty
        unit.
    """
    if length_bytes:
        position, end = 0, len(data)
        while position + length_bytes <= end:
            length = int.from_bytes(data[position : position + length_bytes], "big")
            position += length_bytes
            if position + length > end:
                yield data[:0]
                return
            yield data[position : position + length]
            position += length
        return
    text = bytes(data)
    start = text.find(b"\0\0\1")
    if start < 0:
        yield data[:0]
    while start >= 0:
        stop = text.find(b"\0\0\1", start + 3)
        yield data[start + 3 : stop if stop >= 0 else len(data)]
        start = stop


def disposable_h264(data: memoryview, length_bytes: int) -> bool:
    """Return True if an H.264 packet holds slices with nal_ref_idc 0, and no parameter sets."""
    slices = 0
    for unit in nal_units(data, length_bytes):
        if not len(unit):
            return False
        unit_type = unit[0] & 31
        if 1 <= unit_type <= 5:
            if unit[0] & 0x60:
                return False
            slices += 1
        elif unit_type not in (6, 9, 12):  # not SEI, access unit delimiter or filler
            return False
    return slices > 0


class _H264:
    def __init__(self, extradata: bytes) -> None:
        self._length_bytes = (extradata[4] & 3) + 1 if extradata[:1] == b"\1" else 0

    def __call__(self, data: memoryview) -> bool:
        return disposable_h264(data, self._length_bytes)


# nal_unit_type of TRAIL_N, TSA_N, STSA_N, RADL_N, RASL_N
_HEVC_NON_REFERENCE = (0, 2, 4, 6, 8)
_HEVC_PARAMETER_SETS = (32, 33)


class _Hevc:
    """Keeps the highest temporal layer that any parameter set so far allows."""

    def __init__(self, extradata: bytes) -> None:
        self._length_bytes = 0
        self._highest_layer = -1
        if extradata[:1] == b"\1" and len(extradata) > 22:
            self._length_bytes = (extradata[21] & 3) + 1
            units: Iterator[memoryview] = _units_of_hvcc(memoryview(extradata))
        else:
            units = nal_units(memoryview(extradata), 0)
        for unit in units:
            self._learn(unit)

    def _learn(self, unit: memoryview) -> None:
        if len(unit) < 5:
            return
        unit_type = (unit[0] >> 1) & 63
        if unit_type == 32:  # VPS: 4 + 1 + 1 + 6 bits, then vps_max_sub_layers_minus1 in 3
            self._highest_layer = max(self._highest_layer, (unit[3] >> 1) & 7)
        elif unit_type == 33:  # SPS: 4 bits, then sps_max_sub_layers_minus1 in 3
            self._highest_layer = max(self._highest_layer, (unit[2] >> 1) & 7)

    def __call__(self, data: memoryview) -> bool:
        slices = 0
        disposable = True
        for unit in nal_units(data, self._length_bytes):
            if len(unit) < 3:
                return False
            unit_type = (unit[0] >> 1) & 63
            if unit_type in _HEVC_PARAMETER_SETS:
                self._learn(unit)
                disposable = False
            elif unit_type < 32:
                layer = (unit[1] & 7) - 1
                certain = layer == self._highest_layer and not (unit[0] & 1 or unit[1] >> 3)
                disposable &= unit_type in _HEVC_NON_REFERENCE and certain
                slices += 1
            elif unit_type not in (35, 38, 39, 40):  # not delimiter, filler or SEI
                disposable = False
        return disposable and slices > 0


def _units_of_hvcc(extradata: memoryview) -> Iterator[memoryview]:
    """Yield the parameter sets in an hvcC record (ISO/IEC 14496-15 §8.3.2)."""
    position = 23
    for _ in range(extradata[22]):
        if position + 3 > len(extradata):
            return
        count = int.from_bytes(extradata[position + 1 : position + 3], "big")
        position += 3
        for _ in range(count):
            length = int.from_bytes(extradata[position : position + 2], "big")
            yield extradata[position + 2 : position + 2 + length]
            position += 2 + length
