"""Read subtitle files, and the text stream of a container, inside the decoding process.

Nothing is decoded. Containers and protocols are those that videos may have, and only streams whose
packets are plain text are read; a packet's bytes are the text: SubRip, WebVTT and ASS in Matroska
and WebM, 3GPP timed text and WebVTT in MP4 and MOV. Not read are pictures of text (DVB, DVD,
Blu-ray), teletext in MPEG-TS and MPEG-PS, and captions inside coded pictures (CEA-608 and 708):
FFmpeg reads the first as pictures only, PyAV's build has no teletext, and captions need the whole
film to be decoded. Most containers hold no text; their first bytes show it.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

import av
import av.error
from av.stream import Discard

from longvid.decode.container import FORMATS
from longvid.errors import VideoError
from longvid.timed_text.subtitle_formats import MAX_BYTES, MAX_LINES, SUFFIXES, Line, read_sidecar

_TEXT_CODECS = ("srt", "subrip", "mov_text", "webvtt", "ass", "ssa", "text")
_WEBVTT_BOXES = "wvtt"
_MAX_LINE_BYTES = 1 << 14
_HEAD_BYTES = 1 << 20
_MAX_MOOV_BYTES = 64 << 20
#: Names of text tracks in Matroska and WebM, and of their sample entries in MP4 and MOV.
_MATROSKA_TEXT = (b"S_TEXT/", b"D_WEBVTT/", b"S_ASS", b"S_SSA")
_MP4_TEXT = (b"tx3g", b"wvtt", b"text")


def read_text(path: str, tick: Callable[[], None]) -> list[Line]:
    """Read a subtitle file, or a container's English text stream, else its first.

    Args:
        path: A local file; an ending of a subtitle file makes it one.
        tick: Called while it works, so that the parent knows it lives.

    Raises:
        VideoError: The file cannot be read as a subtitle file, or opened as a container, or holds
            too much text.
    """
    if path.lower().endswith(SUFFIXES):
        lines = read_sidecar(path)
        return [(line.start_seconds, line.end_seconds, line.text) for line in lines]
    if not may_hold_text(path, tick):
        return []
    options = {"format_whitelist": FORMATS, "protocol_whitelist": "file"}
    try:
        with av.open(
            f"file:{os.path.abspath(path)}", options=options, metadata_errors="ignore"
        ) as container:
            return _read_stream(container, path, tick)
    except av.error.FFmpegError as error:
        if error.errno == errno.ENOMEM:
            raise MemoryError from error
        raise _refusal(path, f"cannot be read: {error.strerror}") from error


def _read_stream(container: Any, path: str, tick: Callable[[], None]) -> list[Line]:
    streams = [stream for stream in container.streams.subtitles if stream.name in _TEXT_CODECS]
    # FFmpeg has no name for WebVTT in MP4 and calls it data.
    in_mp4 = "mov" in container.format.name
    if in_mp4 and not streams:
        streams = [stream for stream in container.streams.data if stream.codec_context is None]
    if not streams:
        return []
    chosen = min(streams, key=lambda stream: (not _is_english(stream), stream.index))
    if in_mp4:  # whose index says where the text is, so that the pictures are not read
        for stream in container.streams:
            if stream.index != chosen.index:
                stream.discard = Discard.all
    lines: list[Line] = []
    num_bytes = 0
    for packet in container.demux():
        tick()
        timed = packet.pts is not None and packet.time_base is not None and packet.duration
        if packet.stream_index != chosen.index or not timed:
            continue
        start = float(packet.pts * packet.time_base)
        end = start + float(packet.duration * packet.time_base)
        text = _text_of(bytes(packet)[:_MAX_LINE_BYTES], chosen.name or _WEBVTT_BOXES)
        num_bytes += len(text)
        # WebVTT in MP4 is cut where cues overlap: a piece that goes on lengthens its line.
        if lines and lines[-1][1:] == (start, text):
            start = lines.pop()[0]
        lines.append((start, end, text))
        if len(lines) > MAX_LINES or num_bytes > MAX_BYTES:
            sentence = f"is longer than the {MAX_LINES:,} lines and {MAX_BYTES:,} bytes allowed"
            raise _refusal(path, sentence, "too-large")
    return lines


def _refusal(path: str, what: str, kind: str = "unsupported") -> VideoError:
    sentence = f"{path} holds a text stream that {what}."
    return VideoError(sentence, kind=kind, path=path, stage="text")


def may_hold_text(path: str, tick: Callable[[], None]) -> bool:
    """Tell from a few bytes whether a container may hold a stream of text.

    Args:
        path: A local file. One that cannot be read holds none.
        tick: Called while it works.
    """
    try:
        with open(path, "rb") as file:
            head = file.read(_HEAD_BYTES)
            if head[4:8] == b"ftyp":
                moov = _moov(file, tick)
                return any(name in moov for name in _MP4_TEXT)
            return any(name in head for name in _MATROSKA_TEXT)
    except OSError:
        return False


def _moov(file: BinaryIO, tick: Callable[[], None]) -> bytes:
    """Return the box of an MP4 file that describes its tracks, wherever it is."""
    start = 0
    size = file.seek(0, os.SEEK_END)
    while start + 8 <= size:
        tick()
        file.seek(start)
        head = file.read(16)
        length = int.from_bytes(head[:4], "big")
        if length == 1:
            length = int.from_bytes(head[8:16], "big")
        if head[4:8] == b"moov":
            file.seek(start)
            return file.read(min(length or size, _MAX_MOOV_BYTES))
        if length < 8:
            break
        start += length
    return b""


def _is_english(stream: Any) -> bool:
    return str(stream.language or "").lower().startswith("en")


def _text_of(data: bytes, codec: str) -> str:
    """Return the text in a packet."""
    if codec == "mov_text":
        length = int.from_bytes(data[:2], "big")
        return data[2 : 2 + length].decode("utf-8", "replace")
    if codec == _WEBVTT_BOXES:
        return "\n".join(body.decode("utf-8", "replace") for body in _payloads(data))
    text = data.decode("utf-8", "replace")
    # A line of ASS has eight fields before its text.
    return text.split(",", 8)[-1] if codec in ("ass", "ssa") else text


def _payloads(data: bytes) -> Iterator[bytes]:
    """Yield the text of the cues in a sample of WebVTT: vttc boxes with a payl box in each."""
    for kind, body in _boxes(data):
        if kind == b"vttc":
            yield from (inner for name, inner in _boxes(body) if name == b"payl")


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the boxes of an MP4 structure, as far as they are whole."""
    while len(data) >= 8:
        size = int.from_bytes(data[:4], "big")
        if not 8 <= size <= len(data):
            return
        yield data[4:8], data[8:size]
        data = data[size:]
