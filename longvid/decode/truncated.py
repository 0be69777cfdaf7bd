"""Tell from a file's first bytes whether it has lost its end.

FFmpeg reads a cut AVI or Matroska file to where it stops and calls that the end. But both say in
front how long they are in bytes: RIFF in its header, Matroska in the size of its segment. (MP4 says
more, in its table of samples, which `packet_table.scan` looks at.)
"""

from __future__ import annotations

import os

_EBML, _SEGMENT = 0x1A45DFA3, 0x18538067
_HEAD_BYTES = 4096


def is_cut(path: str) -> bool:
    """Return True if the file is shorter than its header says.

    Raises:
        OSError: It cannot be read.
    """
    with open(path, "rb") as file:
        head = file.read(_HEAD_BYTES)
        actual = os.fstat(file.fileno()).st_size
    claimed = _riff_bytes(head) or _matroska_bytes(head)
    return claimed is not None and actual < claimed


def _riff_bytes(head: bytes) -> int | None:
    if head[:4] != b"RIFF" or len(head) < 8:
        return None
    return 8 + int.from_bytes(head[4:8], "little")


def _matroska_bytes(head: bytes) -> int | None:
    """Return where the segment ends; None if this is no Matroska or it does not say."""
    position = 0
    for expected in (_EBML, _SEGMENT):
        if int.from_bytes(head[position : position + 4], "big") != expected:
            return None
        position += 4
        if position >= len(head) or not head[position]:
            return None
        width = 9 - head[position].bit_length()  # leading zeros of the first byte tell it
        field = int.from_bytes(head[position : position + width], "big")
        size = field - (1 << 7 * width)
        position += width
        if size == (1 << 7 * width) - 1:
            return None  # unknown, as in a live recording
        if expected == _SEGMENT:
            return position + size
        position += size
    return None
