"""H.264 whose pictures are two fields, each a picture of its own: no encoder at hand makes it."""

from __future__ import annotations

from pathlib import Path

_SIZE = 64
_BLOCKS = 8  # of a field: four wide, two high
_TOP, _BOTTOM = 0, 1


class _Bits:
    def __init__(self) -> None:
        self._text = ""

    def put(self, *fields: tuple[int, int]) -> _Bits:
        """Append numbers of so many bits."""
        self._text += "".join(f"{value:0{count}b}" for value, count in fields)
        return self

    def golomb(self, *values: int) -> _Bits:
        """Append Exp-Golomb codes, ue(v); 0 is se(0), too."""
        for value in values:
            code = f"{value + 1:b}"
            self._text += "0" * (len(code) - 1) + code
        return self

    def raw(self, data: bytes) -> _Bits:
        """Append bytes at the next whole one."""
        self._text += "0" * (-len(self._text) % 8)
        return self.put(*((byte, 8) for byte in data))

    def unit(self, header: int) -> bytes:
        """Return a NAL unit with its start code."""
        text = self._text + "1"
        text += "0" * (-len(text) % 8)
        data = int(text, 2).to_bytes(len(text) // 8, "big")
        escaped = bytearray()
        for byte in data:
            if escaped[-2:] == b"\0\0" and byte <= 3:
                escaped.append(3)
            escaped.append(byte)
        return b"\0\0\0\1" + bytes([header]) + bytes(escaped)


def write_fields(path: Path, num_frames: int, group: int) -> Path:
    """Write a bare stream in which each second block is taken from an earlier field.

    Args:
        num_frames: Pairs of fields.
        group: An IDR picture comes every so many frames, with its parameter sets.
    """
    sequence = (
        _Bits()
        .put((77, 8), (0, 8), (30, 8))
        .golomb(0, 0, 2, 1)
        .put((0, 1))
        .golomb(_SIZE // 16 - 1, _SIZE // 32 - 1)
        .put((0, 1), (0, 1), (1, 1), (0, 1), (0, 1))
        .unit(0x67)
    )
    picture = (
        _Bits()
        .golomb(0, 0)
        .put((0, 2))
        .golomb(0, 0, 0)
        .put((0, 3))
        .golomb(0, 0, 0)
        .put((1, 1), (0, 2))
        .unit(0x68)
    )
    content = b""
    for frame in range(num_frames):
        is_key = frame % group == 0
        content += b"\0\0\0\1\x09\x10" + (sequence + picture if is_key else b"")
        for field in (_TOP, _BOTTOM):
            content += _field(frame, frame % group, field, is_idr=is_key and field == _TOP)
    path.write_bytes(content)
    return path


def _field(frame: int, number: int, field: int, *, is_idr: bool) -> bytes:
    bits = _Bits().golomb(0, 7 if is_idr else 5, 0).put((number % 16, 4), (1, 1), (field, 1))
    if is_idr:
        bits.golomb(frame % 16).put((0, 2))
    else:
        bits.put((0, 3))
    bits.golomb(0, 1)  # the quantiser's step, no loop filter
    for block in range(_BLOCKS):
        if not is_idr and (block + frame) % 2 and block < _BLOCKS - 1:
            continue  # skipped: as in the field referred to
        if is_idr:
            bits.golomb(25)
        else:
            was_skipped = block > 0 and (block - 1 + frame) % 2
            bits.golomb(1 if was_skipped else 0, 30)
        gray = (5 * frame + 17 * block + 40 * field) % 200 + 20
        bits.raw(bytes(gray + column % 16 for column in range(256)) + bytes([120] * 128))
    return bits.unit(0x65 if is_idr else 0x61)
