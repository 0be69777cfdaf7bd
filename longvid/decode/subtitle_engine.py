"""Read subtitle files, and the text streams of a container: an engine for the child process.

It decodes nothing. Containers and protocols are those that videos may have, and only streams whose
packets are plain text are read; a packet's bytes are the text.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import av
import av.error
from av.stream import Discard

from longvid.decode.container import FORMATS
from longvid.errors import VideoError
from longvid.timed_text.formats import MAX_LINES, SUFFIXES, read_sidecar

__all__ = ["SubtitleEngine", "TextStream"]

_TEXT_CODECS = ("srt", "subrip", "mov_text", "webvtt", "ass", "ssa", "text")
_WEBVTT_BOXES = "wvtt"
_MOST_LINE_BYTES = 1 << 14


@dataclass(frozen=True, slots=True)
class TextStream:
    """The lines of one stream.

    Args:
        language: As the container says, "" if it does not.
        lines: (start_seconds, end_seconds, text) each.
    """

    language: str = ""
    lines: list[tuple[float, float, str]] = field(default_factory=list)

    def add(self, start: float, end: float, text: str) -> None:
        """Take in a line; one that goes on from the last, as WebVTT in MP4 is cut, lengthens it."""
        if self.lines and self.lines[-1][1:] == (start, text):
            start = self.lines.pop()[0]
        self.lines.append((start, end, text))


class SubtitleEngine:
    """Answers `probe` with the text of a file; `decode` is for engines that give frames.

    Args:
        options: None are known.
        tick: Called while it works, so that the parent knows it lives.
    """

    def __init__(self, options: dict[str, Any], tick: Callable[[], None]) -> None:
        self._tick = tick

    def probe(self, path: str) -> TextStream:
        """Read a subtitle file, or a container's English text stream, else its first.

        Raises:
            VideoError: The file cannot be read as a subtitle file, or opened as a container.
        """
        if path.lower().endswith(SUFFIXES):
            lines = read_sidecar(path)
            return TextStream(
                lines=[(line.start_seconds, line.end_seconds, line.text) for line in lines]
            )
        options = {"format_whitelist": FORMATS, "protocol_whitelist": "file"}
        try:
            with av.open(
                f"file:{os.path.abspath(path)}", options=options, metadata_errors="ignore"
            ) as container:
                return self._read(container)
        except av.error.FFmpegError as error:
            if error.errno == errno.ENOMEM:
                raise MemoryError from error
            sentence = f"{path} holds subtitles that cannot be read: {error.strerror}."
            raise VideoError(sentence, kind="unsupported", path=path) from error

    def _read(self, container: Any) -> TextStream:
        streams = [stream for stream in container.streams.subtitles if stream.name in _TEXT_CODECS]
        # FFmpeg has no name for WebVTT in MP4 and calls it data.
        in_mp4 = "mov" in container.format.name
        if in_mp4 and not streams:
            streams = [stream for stream in container.streams.data if stream.codec_context is None]
        if not streams:
            return TextStream()
        chosen = min(streams, key=lambda stream: (not _is_english(stream), stream.index))
        if in_mp4:  # whose index says where the text lies, so that the pictures are not read
            for stream in container.streams:
                if stream.index != chosen.index:
                    stream.discard = Discard.all
        found = TextStream(chosen.language or "")
        for packet in container.demux():
            self._tick()
            timed = packet.pts is not None and packet.time_base is not None and packet.duration
            if packet.stream_index != chosen.index or not timed:
                continue
            start = float(packet.pts * packet.time_base)
            end = start + float(packet.duration * packet.time_base)
            text = _text_of(bytes(packet)[:_MOST_LINE_BYTES], chosen.name or _WEBVTT_BOXES)
            found.add(start, end, text)
            if len(found.lines) >= MAX_LINES:
                break
        return found


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
