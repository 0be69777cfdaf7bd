"""The few fields of H.264 headers that tell pictures apart.

Of a sequence: how many bits a picture's number has, and whether pictures may be fields. Of a slice:
its kind, its picture's number, and the field that it belongs to.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from longvid.decode.non_reference import nal_units

_SLICE, _IDR_SLICE, _SEQUENCE_PARAMETERS = 1, 5, 7
#: Profiles whose parameters say the format of chroma (H.264 §7.3.2.1.1).
_WITH_CHROMA = (44, 83, 86, 100, 110, 118, 122, 128, 134, 135, 138, 139, 244)
_I_SLICES = (2, 4, 7, 9)  # and SI
#: Bytes of a slice that hold the fields read here.
_HEADER_BYTES = 24

FRAME, TOP, BOTTOM = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Slice:
    """The start of a slice.

    Args:
        is_idr, is_intra: Of an IDR picture; of kind I or SI.
        is_reference: Other pictures may refer to it.
        number: `frame_num` of its picture.
        field: FRAME, TOP or BOTTOM.
    """

    is_idr: bool
    is_intra: bool
    is_reference: bool
    number: int
    field: int


@dataclass(frozen=True, slots=True)
class _Sequence:
    number_bits: int
    may_leave_out_numbers: bool
    has_planes: bool
    has_fields: bool


class SliceReader:
    """Reads the slices of packets, with the parameters that hold there.

    Args:
        extradata: The stream's parameter sets: avcC, or Annex B, or nothing.
    """

    def __init__(self, extradata: bytes | None) -> None:
        extradata = extradata or b""
        is_record = extradata[:1] == b"\1" and len(extradata) > 7
        self._length_bytes = (extradata[4] & 3) + 1 if is_record else 0
        self._sequence: _Sequence | None = None
        if is_record:
            length = int.from_bytes(extradata[6:8], "big")
            self._learn(memoryview(extradata)[8 : 8 + length])
        else:
            for unit in nal_units(memoryview(extradata), 0):
                self._learn(unit)

    @property
    def numbers_are_complete(self) -> bool:
        """Whether the parameters are known, and leave out no number."""
        known = self._sequence
        return known is not None and not (known.may_leave_out_numbers or known.has_planes)

    @property
    def num_numbers(self) -> int:
        """How many numbers there are, until they begin again; 1 if that is not known."""
        return 1 << self._sequence.number_bits if self._sequence is not None else 1

    @property
    def has_fields(self) -> bool:
        """Whether a picture may be a field. Parameters inside packets count once they were read."""
        return self._sequence is not None and self._sequence.has_fields

    def slices(self, data: memoryview) -> Iterator[Slice]:
        """Yield the slices of a packet; none while the parameters are not known."""
        for unit in nal_units(data, self._length_bytes):
            kind = unit[0] & 31 if len(unit) > 1 else 0
            if kind == _SEQUENCE_PARAMETERS:
                self._learn(unit)
            elif kind in (_SLICE, _IDR_SLICE) and self._sequence is not None:
                yield _slice(unit, self._sequence)

    def _learn(self, unit: memoryview) -> None:
        if len(unit) >= 5 and unit[0] & 31 == _SEQUENCE_PARAMETERS:
            self._sequence = _sequence(unit)


def _slice(unit: memoryview, sequence: _Sequence) -> Slice:
    """Read the start of a slice (H.264 §7.3.3)."""
    bits = Bits(unit[1:_HEADER_BYTES])
    bits.unsigned()  # first_mb_in_slice
    kind = bits.unsigned()
    bits.unsigned()  # pic_parameter_set_id
    bits.take(2 if sequence.has_planes else 0)
    number = bits.take(sequence.number_bits)
    field = FRAME
    if sequence.has_fields and bits.take(1):
        field = BOTTOM if bits.take(1) else TOP
    is_idr = unit[0] & 31 == _IDR_SLICE
    return Slice(is_idr, kind in _I_SLICES, bool(unit[0] & 0x60), number, field)


def _sequence(unit: memoryview) -> _Sequence | None:
    """Read sequence parameters (H.264 §7.3.2.1.1); None where they are damaged."""
    profile = unit[1]
    bits = Bits(unit[4:])
    bits.unsigned()  # seq_parameter_set_id
    has_planes = False
    if profile in _WITH_CHROMA:
        chroma = bits.unsigned()
        has_planes = chroma == 3 and bits.take(1) == 1
        bits.unsigned(), bits.unsigned(), bits.take(1)  # depths, lossless
        if bits.take(1):
            for place in range(8 if chroma != 3 else 12):
                if bits.take(1):
                    bits.skip_scaling_list(16 if place < 6 else 64)
    number_bits = bits.unsigned() + 4
    order_type = bits.unsigned()
    if order_type == 0:
        bits.unsigned()
    elif order_type == 1:
        bits.take(1)
        bits.unsigned(), bits.unsigned()
        for _ in range(min(bits.unsigned(), 255)):
            bits.unsigned()
    bits.unsigned()  # max_num_ref_frames
    may_leave_out = bits.take(1) == 1
    bits.unsigned(), bits.unsigned()  # width and height
    has_fields = bits.take(1) == 0
    if bits.ran_out or number_bits > 16:
        return None
    return _Sequence(number_bits, may_leave_out, has_planes, has_fields)


class Bits:
    """Reads the bits of a NAL unit, without the bytes that keep start codes out (§7.4.1)."""

    def __init__(self, data: memoryview) -> None:
        content = bytes(data).replace(b"\0\0\3", b"\0\0")
        self._value = int.from_bytes(content, "big")
        self._left = 8 * len(content)
        self.ran_out = False

    def take(self, count: int) -> int:
        """Return the next bits as a number; 0 behind the end."""
        self._left -= count
        if self._left < 0:
            self.ran_out, self._left = True, 0
            return 0
        return self._value >> self._left & ((1 << count) - 1)

    def unsigned(self) -> int:
        """Return the next Exp-Golomb code, ue(v) (§9.1)."""
        rest = self._value & ((1 << self._left) - 1)
        zeros = self._left - rest.bit_length()
        if not rest or zeros > 31:
            self.ran_out, self._left = True, 0
            return 0
        self._left -= zeros
        return self.take(zeros + 1) - 1

    def signed(self) -> int:
        """Return the next signed Exp-Golomb code, se(v) (§9.1.1)."""
        code = self.unsigned()
        return (code + 1) // 2 if code % 2 else -(code // 2)

    def skip_scaling_list(self, size: int) -> None:
        """Pass over a scaling list (§7.3.2.1.1.1)."""
        last = following = 8
        for _ in range(size):
            if following:
                following = (last + self.signed()) % 256
            last = following or last
