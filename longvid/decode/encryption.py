"""Tell that a file's pictures are encrypted, which makes a decoder see damage.

MP4       the sample entry is "encv" (CENC, cbcs, PIFF) or "drmi" (FairPlay)
ASF       an encryption object stands in the header
Matroska  a key is named for the stream
MPEG PS   packets of the video are marked as scrambled (the CSS of DVDs)
MPEG TS   packets are marked as scrambled
"""

from __future__ import annotations

import re
from typing import Any

from longvid.decode.mp4_boxes import MOVIE, boxes

_HEAD_BYTES = 1 << 20
_MOST_MOVIE_BYTES = 1 << 28

#: GUIDs of the content, extended content and advanced content encryption objects.
_ASF_OBJECTS = tuple(
    bytes.fromhex(guid)
    for guid in (
        "fbb3112223bdd211b4b700a0c955fc6e",
        "14e68a292226174cb935dae07ee9289c",
        "338505438169e6499b74ad12cb86d58c",
    )
)
#: An entry of the table of codecs: size, type, six reserved zeros.
_ENCRYPTED_ENTRY = re.compile(rb"(?:encv|drmi)\x00{6}")
#: The start of a video packet in a program stream, whose seventh byte holds the scrambling mark.
_VIDEO_PACKET = re.compile(rb"\x00\x00\x01[\xe0-\xef]..[\x80-\xbf]", re.DOTALL)

_PACKET_BYTES, _SYNC = 188, 0x47


def is_encrypted(path: str, container: str, metadata: dict[str, Any]) -> bool:
    """Return True if the container says that its video is encrypted.

    Raises:
        OSError: The file cannot be read.
    """
    if "enc_key_id" in metadata:
        return True
    if container.startswith("mov"):
        return has_encrypted_track(path)
    with open(path, "rb") as file:
        head = file.read(_HEAD_BYTES)
    if container == "asf":
        return any(guid in head for guid in _ASF_OBJECTS)
    if container == "mpeg":
        return any(start.group()[-1] & 0x30 for start in _VIDEO_PACKET.finditer(head))
    return False


def has_encrypted_track(path: str) -> bool:
    """Return True if a file is MP4 and one of its tracks is encrypted.

    FFmpeg cannot open some of these, so this is asked of a file that does not open, too.

    Raises:
        OSError: The file cannot be read.
    """
    with open(path, "rb") as file:
        for kind, start, size in boxes(file):
            if kind == MOVIE:
                file.seek(start)
                return bool(_ENCRYPTED_ENTRY.search(file.read(min(size, _MOST_MOVIE_BYTES))))
    return False


def is_scrambled_transport_stream(path: str) -> bool:
    """Return True if packets are marked as scrambled.

    The mark alone proves nothing: recorders leave it on what they have descrambled. So this is
    asked only of a file that cannot be decoded.

    Raises:
        OSError: The file cannot be read.
    """
    with open(path, "rb") as file:
        head = file.read(_HEAD_BYTES)
    starts = range(0, len(head) - 4, _PACKET_BYTES)
    marks = [head[at + 3] & 0x80 for at in starts if head[at] == _SYNC]
    return len(marks) > len(starts) // 2 and any(marks)
