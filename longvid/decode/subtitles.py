"""Find what is said in a video: a file beside it, or a stream of text inside it.

A file inside a container is read by a child process that can be killed, and only when the
container's head names a text stream: most videos have none, and for them no process is asked.
"""

from __future__ import annotations

import contextlib
import os
from typing import BinaryIO

from longvid.decode.process import ChildFailure, ChildProcess, Limits
from longvid.subtitles import Subtitle, in_time_order, plain_text, read_sidecar, sidecar_of

__all__ = ["SubtitleReader", "may_hold_text"]

_HEAD_BYTES = 1 << 20
_MOST_MOOV_BYTES = 64 << 20
_FOLDERS_KEPT = 64
#: What a Matroska track and an MP4 sample entry of text are called.
_MATROSKA_TEXT = b"S_TEXT/"
_MP4_TEXT = (b"tx3g", b"wvtt")
_LIMITS = Limits(deadline_seconds=120.0, stall_seconds=30.0, memory_bytes=1 << 30)


class SubtitleReader:
    """Reads the subtitles of videos, one after the other; close it at the end."""

    def __init__(self) -> None:
        self._child: ChildProcess | None = None
        self._folders: dict[str, tuple[str, ...]] = {}

    def read(self, path: str) -> tuple[Subtitle, ...]:
        """Return the subtitles of a local video; none when there are none or they are unreadable.

        A file beside the video counts before a stream inside it.
        """
        sidecar = sidecar_of(path, self._names(os.path.dirname(path)))
        if sidecar is not None:
            with contextlib.suppress(OSError):
                return read_sidecar(sidecar)
        return self._embedded(path) if may_hold_text(path) else ()

    def close(self) -> None:
        """End the child."""
        if self._child is not None:
            self._child.close()
            self._child = None

    def _names(self, folder: str) -> tuple[str, ...]:
        """List the subtitle files of a folder; it is listed once, however many videos it holds."""
        if folder not in self._folders:
            names: tuple[str, ...] = ()
            with contextlib.suppress(OSError):
                names = tuple(
                    name
                    for name in os.listdir(folder or ".")
                    if name.lower().endswith((".srt", ".vtt"))
                )
            while len(self._folders) >= _FOLDERS_KEPT:
                del self._folders[next(iter(self._folders))]
            self._folders[folder] = names
        return self._folders[folder]

    def _embedded(self, path: str) -> tuple[Subtitle, ...]:
        facts: dict[str, list[tuple[float, float, str]]] = {}
        try:
            if self._child is None or not self._child.alive:
                self.close()
                engine = "longvid.decode.subtitle_engine:SubtitleEngine"
                self._child = ChildProcess(engine, {}, _LIMITS)
            for message, _ in self._child.ask({"kind": "probe", "path": path}):
                facts = message
        except ChildFailure:
            self.close()
            return ()  # the video itself was read; what is said in it stays unknown
        lines = [
            Subtitle(start, end, plain_text(text))
            for start, end, text in facts.get("lines", ())
            if plain_text(text) and end > start
        ]
        return in_time_order(lines)


def may_hold_text(path: str) -> bool:
    """Tell from a few bytes whether a container may hold a stream of text.

    Args:
        path: A local file. One that cannot be read holds none.
    """
    try:
        with open(path, "rb") as file:
            head = file.read(_HEAD_BYTES)
            if head[4:8] == b"ftyp":
                return _names_text(_moov(file))
            return _MATROSKA_TEXT in head
    except OSError:
        return False


def _names_text(moov: bytes) -> bool:
    return any(name in moov for name in _MP4_TEXT)


def _moov(file: BinaryIO) -> bytes:
    """Return the box of an MP4 file that describes its tracks, wherever it lies."""
    start = 0
    size = os.fstat(file.fileno()).st_size
    while start + 8 <= size:
        file.seek(start)
        head = file.read(16)
        length = int.from_bytes(head[:4], "big")
        if length == 1:
            length = int.from_bytes(head[8:16], "big")
        if head[4:8] == b"moov":
            file.seek(start)
            return file.read(min(length or size, _MOST_MOOV_BYTES))
        if length < 8:
            break
        start += length
    return b""
