"""Tell from packets that they do not hold what a plan or a decoder takes for granted.

A plan takes each packet for one picture, and a keyframe for a place at which a decoder can start.
Some files break that, and their keyframe flags and times do not say so:

    packed MPEG-4   DivX and XviD put a B-picture into the packet of the picture that it precedes,
                    and an empty picture of a few bytes into the packet that is left over
    headers         a parameter set that changes in mid-stream and is not repeated at each keyframe
    Motion JPEG     a picture without tables, which are those of an earlier picture
    H.264           one field of a picture whose other field has a packet of its own; or a keyframe
                    that is not of I-slices: a gradual refresh begins there, and what its encoder
                    says of the place where the picture is whole again need not be true
    HEVC            a keyframe that is no IRAP picture
    MPEG-1 and 2    times in another order than the pictures' own numbers: a reader counts them from
                    the types of pictures, and one damaged type shifts its neighbours
    B-pictures      one that is shown after the later of the two pictures that it refers to: that
                    picture is lost, and a decoder puts an earlier one in its place

Some decoders say nothing of damage, and fill what is damaged from whatever was decoded before.
Four codecs have a structure that shows it: the marker segments of a JPEG picture follow each other
(ITU-T T.81 annex B), each chunk of a PNG picture has a checksum (ISO/IEC 15948 §5.3), each block of
a DV frame is numbered (SMPTE 314M §4.3), and so is each picture of H.264 (`frame_numbers`).
"""

from __future__ import annotations

import itertools
import re
import zlib
from collections.abc import Callable, Container, Sequence

import numpy as np

from longvid.decode.frame_numbers import FrameNumbers
from longvid.decode.h264_headers import FRAME, SliceReader
from longvid.decode.non_reference import nal_units

_VOP = b"\0\0\1\xb6"
#: "DivX503b1393p": the p says that pictures are packed.
_PACKED = re.compile(rb"\x00\x00\x01\xb2DivX\d+[bB]\d+p")
#: A picture that is "not coded" takes 7 bytes at most, unless seconds are skipped.
_EMPTY_PICTURE_BYTES = 9


#: Called with a packet, and whether it is called a keyframe.
IrregularTest = Callable[[memoryview, bool], bool]


def irregular_test(codec: str, extradata: bytes | None) -> IrregularTest | None:
    """Return a test for packets that are not exactly one picture, or no start for a decoder.

    Args:
        codec: FFmpeg's name of the decoder.
        extradata: The stream's headers.

    Returns:
        It must see every packet; None where nothing is known.
    """
    if codec == "mjpeg":
        return _InheritedTables()
    if codec == "h264":
        return _IrregularH264(extradata)
    if codec == "hevc":
        length_bytes = _length_bytes_hevc(extradata or b"")
        return lambda data, is_keyframe: is_keyframe and not _is_irap(data, length_bytes)
    if codec != "mpeg4":
        return None
    if _PACKED.search(extradata or b""):
        return lambda *_: True
    return _irregular_mpeg4


class _IrregularH264:
    def __init__(self, extradata: bytes | None) -> None:
        self._reader = SliceReader(extradata)

    def __call__(self, data: memoryview, is_keyframe: bool) -> bool:
        if not (is_keyframe or self._reader.has_fields):
            return False
        slices = list(self._reader.slices(data))
        fields = {each.field for each in slices}
        if len(fields) == 1 and FRAME not in fields:
            return True
        # Of a pair of fields the second may refer to the first.
        return is_keyframe and any(
            not each.is_intra for each in slices if each.field == slices[0].field
        )


_HEVC_SLICES, _HEVC_IRAP = range(32), range(16, 24)


def _is_irap(data: memoryview, length_bytes: int) -> bool:
    """Return whether the first slice of a packet is of a picture at which decoding may start."""
    kinds = (unit[0] >> 1 & 63 for unit in nal_units(data, length_bytes) if len(unit))
    return next((kind for kind in kinds if kind in _HEVC_SLICES), 0) in _HEVC_IRAP


def _length_bytes_hevc(extradata: bytes) -> int:
    """Return the width of the lengths in front of NAL units; 0 for start codes."""
    return (extradata[21] & 3) + 1 if extradata[:1] == b"\1" and len(extradata) > 22 else 0


def _irregular_mpeg4(data: memoryview, _: bool) -> bool:
    content = bytes(data)
    return (
        len(content) < _EMPTY_PICTURE_BYTES
        or content.count(_VOP) != 1
        or _PACKED.search(content) is not None
    )


def broken_test(codec: str, extradata: bytes | None) -> Callable[[memoryview], bool] | None:
    """Return a test for packets whose structure shows damage; None where it does not show.

    Returns:
        It must see every packet from a keyframe on.
    """
    if codec == "h264":
        return FrameNumbers(extradata)
    return {"mjpeg": _broken_jpeg, "png": _broken_png, "dvvideo": _broken_dv}.get(codec)


_START_OF_IMAGE, _START_OF_SCAN, _END_OF_IMAGE = 0xD8, 0xDA, 0xD9
_TABLES = (0xDB, 0xC4, 0xDD)  # of quantisation and of Huffman codes; the restart interval


def _jpeg_markers(data: memoryview) -> list[int] | None:
    """Return the markers up to the first scan; None if the segments do not lead there."""
    if bytes(data[:2]) != bytes((0xFF, _START_OF_IMAGE)):
        return None
    markers, position = [_START_OF_IMAGE], 2
    while position + 4 <= len(data) and data[position] == 0xFF:
        if data[position + 1] == 0xFF:  # a fill byte
            position += 1
            continue
        markers.append(data[position + 1])
        position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
        if markers[-1] == _START_OF_SCAN:
            return markers if position <= len(data) else None
    return None


def _broken_jpeg(data: memoryview) -> bool:
    return _jpeg_markers(data) is None


_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def _broken_png(data: memoryview) -> bool:
    if bytes(data[:8]) != _PNG_SIGNATURE:
        return False  # the decoder refuses it, or knows what it is
    position = 8
    while position + 12 <= len(data):
        end = position + 8 + int.from_bytes(data[position : position + 4], "big")
        if zlib.crc32(data[position + 4 : end]) != int.from_bytes(data[end : end + 4], "big"):
            return True
        if bytes(data[position + 4 : position + 8]) == b"IEND":
            return False
        position = end + 4
    return True


class _InheritedTables:
    """Tells of each JPEG picture whether it lacks a kind of table that one before it has."""

    def __init__(self) -> None:
        self._seen: set[int] = set()

    def __call__(self, data: memoryview, _: bool) -> bool:
        markers = _jpeg_markers(data)
        if markers is None:
            return False  # damage
        tables = {marker for marker in markers if marker in _TABLES}
        self._seen |= tables
        return tables != self._seen


#: Kind (in the three upper bits) and number of the 150 blocks of each sequence of a DV frame.
_DV_SEQUENCE = np.array(
    [
        *((0x00, 0), (0x20, 0), (0x20, 1), (0x40, 0), (0x40, 1), (0x40, 2)),
        *(
            block
            for group in range(9)
            for block in ((0x60, group), *((0x80, 15 * group + place) for place in range(15)))
        ),
    ],
    np.uint8,
)
_DV_BLOCK_BYTES = 80


def _broken_dv(data: memoryview) -> bool:
    sequences, rest = divmod(len(data), _DV_BLOCK_BYTES * len(_DV_SEQUENCE))
    if rest or not sequences:
        return True
    blocks = np.frombuffer(data, np.uint8).reshape(sequences, len(_DV_SEQUENCE), _DV_BLOCK_BYTES)
    return bool((blocks[:, :, (0, 2)] & (0xE0, 0xFF) != _DV_SEQUENCE).any())


_PICTURE, _GROUP = b"\0\0\1\0", b"\0\0\1\xb8"
_HEADERS_BYTES = 1024
_B_PICTURE, _B_VOP = 3, 2


class DisplayOrder:
    """Compares the times of MPEG pictures with what the pictures say of their order.

    MPEG-1 and 2 number the pictures of a group in order of display, modulo 1024 (H.262 §6.3.9). In
    MPEG-4 part 2, too, a B-picture is shown before the last picture that it may refer to.

    Args:
        codec: FFmpeg's name of the decoder; others than MPEG-1, 2 and 4 never contradict.
    """

    def __init__(self, codec: str) -> None:
        self._is_numbered = codec in ("mpeg1video", "mpeg2video")
        self._is_mpeg4 = codec == "mpeg4"
        self._group: list[tuple[int, int]] = []  # pts and temporal reference of each picture
        self._reference_pts: int | None = None  # of the last picture that others may refer to
        #: In some group the two orders differ, or a picture is missing.
        self.contradicts = False

    def add(self, data: memoryview, pts: int) -> None:
        """Look at the next packet."""
        if self._is_numbered:
            self._add_numbered(bytes(data[:_HEADERS_BYTES]), pts)
        elif self._is_mpeg4:
            headers = bytes(data[:_HEADERS_BYTES])
            vop = headers.find(_VOP)
            if 0 <= vop < len(headers) - 4:
                self._add_type(pts, is_b=headers[vop + 4] >> 6 == _B_VOP)

    def _add_numbered(self, headers: bytes, pts: int) -> None:
        picture = headers.find(_PICTURE)
        if picture < 0 or picture + 6 > len(headers):
            return
        if headers.find(_GROUP, 0, picture) >= 0:
            self.end_group()
        self._add_type(pts, is_b=headers[picture + 5] >> 3 & 7 == _B_PICTURE)
        self._group.append((pts, int.from_bytes(headers[picture + 4 : picture + 6], "big") >> 6))

    def _add_type(self, pts: int, *, is_b: bool) -> None:
        if not is_b:
            self._reference_pts = pts
        elif self._reference_pts is not None:
            self.contradicts |= pts > self._reference_pts

    def end_group(self) -> None:
        """Compare the two orders of the pictures since the last group header."""
        references = [reference for _, reference in sorted(self._group)]
        steps = (after - before for before, after in itertools.pairwise(references))
        self.contradicts |= any(step % 1024 >= 512 for step in steps)
        self._group = []


class HeaderCheck:
    """Compares the headers in front of keyframes."""

    def __init__(self, codec: str, extradata: bytes | None) -> None:
        self._headers_of = _headers_of(codec, extradata or b"")
        self._last = b""
        #: Headers changed, and a later keyframe lacks them: a decoder cannot start there.
        self.inherited = False
        self._changed = False

    def add(self, keyframe: memoryview) -> None:
        """Look at the next keyframe."""
        if self._headers_of is None:
            return
        headers = self._headers_of(keyframe)
        if not headers:
            self.inherited |= self._changed
        elif headers != self._last:
            self._changed |= bool(self._last)
            self._last = headers


#: For codecs with start codes: that of the first header, and those that end the headers.
_START_CODES = {
    "mpeg1video": (b"\0\0\1\xb3", (b"\0\0\1\xb8", b"\0\0\1\0")),
    "mpeg2video": (b"\0\0\1\xb3", (b"\0\0\1\xb8", b"\0\0\1\0")),
    "mpeg4": (b"\0\0\1\x20", (b"\0\0\1\xb3", _VOP)),
    "vc1": (b"\0\0\1\x0f", (b"\0\0\1\x0d",)),
}


def _headers_of(codec: str, extradata: bytes) -> Callable[[memoryview], bytes] | None:
    """Return what cuts the headers out of a keyframe; None for codecs without any."""
    if codec == "h264":
        length_bytes = (extradata[4] & 3) + 1 if extradata[:1] == b"\1" else 0
        return lambda packet: _parameter_sets(packet, length_bytes, 0, 31, range(1, 6), (7, 8))
    if codec == "hevc":
        length_bytes = _length_bytes_hevc(extradata)
        return lambda packet: _parameter_sets(
            packet, length_bytes, 1, 63, _HEVC_SLICES, (32, 33, 34)
        )
    if codec in _START_CODES:
        first, ends = _START_CODES[codec]
        return lambda packet: _between(bytes(packet), first, ends)
    return None


def _parameter_sets(
    packet: memoryview,
    length_bytes: int,
    shift: int,
    mask: int,
    slices: Container[int],
    sets: Container[int],
) -> bytes:
    """Join the parameter sets in front of the first slice; the rest as in `nal_units`.

    Args:
        shift, mask: Where a unit's first byte holds its type.
        slices, sets: The types that are slices, and parameter sets.
    """
    found = []
    for unit in nal_units(packet, length_bytes):
        kind = unit[0] >> shift & mask if len(unit) else -1
        if kind < 0 or kind in slices:
            break
        if kind in sets:
            found.append(bytes(unit).rstrip(b"\0"))
    return b"".join(found)


def _between(content: bytes, first: bytes, ends: Sequence[bytes]) -> bytes:
    start = content.find(first)
    if start < 0:
        return b""
    stops = [stop for stop in (content.find(end, start) for end in ends) if stop >= 0]
    return content[start : min(stops, default=len(content))]
