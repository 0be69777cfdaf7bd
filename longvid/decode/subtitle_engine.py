"""Read the text streams of a container: an engine for the child process, which decodes nothing.

Containers and protocols are those that videos may have, and only streams whose packets are plain
text are read; a packet's bytes are the text.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import av
import av.error

from longvid.decode.container import FORMATS
from longvid.errors import VideoError

__all__ = ["SubtitleEngine", "TextStream"]

_TEXT_CODECS = ("srt", "subrip", "mov_text", "webvtt", "ass", "ssa", "text")
_MOST_LINES = 200_000
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


class SubtitleEngine:
    """Answers `probe` with the text of a file; `decode` is for engines that give frames.

    Args:
        options: None are known.
        tick: Called while it works, so that the parent knows it lives.
    """

    def __init__(self, options: dict[str, Any], tick: Callable[[], None]) -> None:
        self._tick = tick

    def probe(self, path: str) -> TextStream:
        """Read the English text stream, else the first; no line when there is none.

        Raises:
            VideoError: The file cannot be opened as a container.
        """
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
        if not streams:
            return TextStream()
        chosen = min(streams, key=lambda stream: (not _is_english(stream), stream.index))
        found = TextStream(chosen.language or "")
        for packet in container.demux(chosen):
            self._tick()
            if packet.pts is None or packet.time_base is None or not packet.duration:
                continue
            start = float(packet.pts * packet.time_base)
            end = start + float(packet.duration * packet.time_base)
            text = _text_of(bytes(packet)[:_MOST_LINE_BYTES], chosen.name)
            found.lines.append((start, end, text))
            if len(found.lines) >= _MOST_LINES:
                break
        return found


def _is_english(stream: Any) -> bool:
    return str(stream.language or "").lower().startswith("en")


def _text_of(data: bytes, codec: str) -> str:
    """Return the text in a packet."""
    if codec == "mov_text":
        length = int.from_bytes(data[:2], "big")
        return data[2 : 2 + length].decode("utf-8", "replace")
    text = data.decode("utf-8", "replace")
    # A line of ASS has eight fields before its text.
    return text.split(",", 8)[-1] if codec in ("ass", "ssa") else text
