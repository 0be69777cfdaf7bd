"""Tell from the numbers of H.264 pictures whether one that others refer to is lost.

A decoder says nothing of a picture that never came: it puts an earlier one in its place. But each
picture carries `frame_num`, which goes up by one behind each reference picture (H.264 §7.4.3), so a
step of more is a loss: a packet that a recorder dropped, or that a damaged container hides.

Not looked at are streams that may leave numbers out (`gaps_in_frame_num_value_allowed_flag`), and
pictures of I-slices, where recordings may be joined; and since a picture may set the numbers back
(memory_management_control_operation 5), 0 and 1 are always right.
"""

from __future__ import annotations

from longvid.decode.non_reference import nal_units

_SLICE, _IDR_SLICE, _SEQUENCE_PARAMETERS = 1, 5, 7
#: Profiles whose parameters say the format of chroma (H.264 §7.3.2.1.1).
_WITH_CHROMA = (44, 83, 86, 100, 110, 118, 122, 128, 134, 135, 138, 139, 244)
_I_SLICES = (2, 4, 7, 9)  # and SI
#: Bytes of a slice in which its number is.
_HEADER_BYTES = 24


class FrameNumbers:
    """Says of each packet whether a picture is missing before it. Must see all from a keyframe on.

    Args:
        extradata: The stream's parameter sets: avcC, or Annex B, or nothing.
    """

    def __init__(self, extradata: bytes | None) -> None:
        extradata = extradata or b""
        is_record = extradata[:1] == b"\1" and len(extradata) > 7
        self._length_bytes = (extradata[4] & 3) + 1 if is_record else 0
        self._number_bits = 0  # 0: not known, or nothing can be told
        self._last: int | None = None  # the number of the last reference picture
        if is_record:
            length = int.from_bytes(extradata[6:8], "big")
            self._learn(memoryview(extradata)[8 : 8 + length])
        else:
            for unit in nal_units(memoryview(extradata), 0):
                self._learn(unit)

    def __call__(self, data: memoryview) -> bool:
        """Return True if a picture that this one may refer to is missing."""
        for unit in nal_units(data, self._length_bytes):
            kind = unit[0] & 31 if len(unit) > 1 else 0
            if kind == _SEQUENCE_PARAMETERS:
                self._learn(unit)
            elif kind in (_SLICE, _IDR_SLICE):
                return self._number_bits > 0 and self._is_behind_a_loss(unit, kind)
        return False

    def _is_behind_a_loss(self, unit: memoryview, kind: int) -> bool:
        bits = _Bits(unit[1:_HEADER_BYTES])
        bits.unsigned()  # first_mb_in_slice
        slice_type = bits.unsigned()
        bits.unsigned()  # pic_parameter_set_id
        number = bits.take(self._number_bits)
        last = self._last
        if unit[0] & 0x60:
            self._last = number
        if last is None or kind == _IDR_SLICE or slice_type in _I_SLICES:
            return False
        return number not in (0, 1, last, (last + 1) % (1 << self._number_bits))

    def _learn(self, unit: memoryview) -> None:
        """Read how many bits a number has from sequence parameters (H.264 §7.3.2.1.1)."""
        if len(unit) < 5 or unit[0] & 31 != _SEQUENCE_PARAMETERS:
            return
        profile = unit[1]
        bits = _Bits(unit[4:])
        bits.unsigned()  # seq_parameter_set_id
        separate_planes = False
        if profile in _WITH_CHROMA:
            chroma = bits.unsigned()
            separate_planes = chroma == 3 and bits.take(1) == 1
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
        told = not (may_leave_out or separate_planes or bits.ran_out or number_bits > 16)
        self._number_bits = number_bits if told else 0


class _Bits:
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
