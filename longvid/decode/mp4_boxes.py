"""Walk the top level of an MP4 file without reading its boxes (ISO/IEC 14496-12 §4.2)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import BinaryIO

MOVIE = b"moov"
#: What an MP4 or QuickTime file may begin with.
_FIRST = (b"ftyp", b"mdat", b"wide", b"free", b"skip", b"pnot", b"moof", b"styp", b"sidx")
_MOST_BOXES = 100_000


def boxes(file: BinaryIO) -> Iterator[tuple[bytes, int, int]]:
    """Yield type, start of the content, and bytes of the content up to the end of the file."""
    end = os.fstat(file.fileno()).st_size
    at = 0
    for _ in range(_MOST_BOXES):
        if at >= end:
            return
        file.seek(at)
        head = file.read(16)
        if len(head) < 8:
            return
        size, header = int.from_bytes(head[:4], "big"), 8
        if size == 1 and len(head) == 16:
            size, header = int.from_bytes(head[8:], "big"), 16
        elif size == 0:
            size = end - at
        if size < header:
            return
        yield head[4:8], at + header, min(size, end - at) - header
        at += size


def lacks_movie(path: str) -> bool:
    """Return True if a file is MP4 or QuickTime, but the index without which it cannot be read
    is missing.

    Raises:
        OSError: It cannot be read.
    """
    with open(path, "rb") as file:
        kinds = [kind for kind, _, _ in boxes(file)]
    return bool(kinds) and kinds[0] in _FIRST and MOVIE not in kinds
