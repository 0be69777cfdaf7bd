"""Find what is said in a video: a file beside it, or a stream of text inside it.

A file may lie beside a video in a bucket too, wherever folders can be listed. A stream inside a
container is read by a child process that can be killed, and only when the container's head names a
text stream: most videos have none, and for them no process is asked and of one in a bucket only the
head is read. Those are SubRip, WebVTT and ASS in Matroska and WebM, 3GPP timed text and WebVTT in
MP4 and MOV. Not read are the pictures of text (DVB, DVD, Blu-ray) and the teletext pages that
MPEG-TS and MPEG-PS hold, and captions inside the coded pictures (CEA-608 and 708): FFmpeg reads the
first as pictures only, PyAV's build of it no teletext, and the last take a decoding of the film.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import BinaryIO

from longvid.decode.process import ChildFailure, ChildProcess, Limits
from longvid.remote_files import (
    borrowed_copy,
    foreign_errors,
    is_remote,
    open_file,
    remote_file,
)
from longvid.timed_text.subtitles import (
    MOST_BYTES,
    Subtitle,
    in_time_order,
    plain_text,
    read_sidecar,
    read_text,
    sidecar_of,
)

__all__ = ["SubtitleReader", "may_hold_text"]

_HEAD_BYTES = 1 << 20
_MOST_MOOV_BYTES = 64 << 20
_FOLDERS_KEPT = 64
#: What tracks of text are called in Matroska and WebM, and sample entries in MP4 and MOV.
_MATROSKA_TEXT = (b"S_TEXT/", b"D_WEBVTT/", b"S_ASS", b"S_SSA")
_MP4_TEXT = (b"tx3g", b"wvtt", b"text")
_LIMITS = Limits(deadline_seconds=120.0, stall_seconds=30.0, memory_bytes=1 << 30)


class SubtitleReader:
    """Reads the subtitles of videos, one after the other; close it at the end."""

    def __init__(self) -> None:
        self._child: ChildProcess | None = None
        self._folders: dict[str, tuple[str, ...]] = {}

    def beside(self, path: str) -> tuple[Subtitle, ...]:
        """Return what a file beside a video says; nothing where there is none or it is unreadable.

        Args:
            path: Of a local video, or a URI.
        """
        sidecar = sidecar_of(path, self._names(os.path.dirname(path)))
        if sidecar is None:
            return ()
        with contextlib.suppress(*foreign_errors()):
            if not is_remote(sidecar):
                return read_sidecar(sidecar)
            system, inner = remote_file(sidecar)
            return read_text(system.cat_file(inner, end=MOST_BYTES))
        return ()

    def inside(self, path: str) -> tuple[Subtitle, ...]:
        """Return what a stream inside a video says; nothing where there is none.

        Args:
            path: Of a local video, or a URI: one that may hold text is copied here, if it is not.
        """
        if may_hold_text(path):
            with contextlib.suppress(OSError), borrowed_copy(path) as local:
                return self._embedded(local)
        return ()

    def close(self) -> None:
        """End the child."""
        if self._child is not None:
            self._child.close()
            self._child = None

    def _names(self, folder: str) -> tuple[str, ...]:
        """List the subtitle files of a folder; it is listed once, however many videos it holds."""
        if folder not in self._folders:
            names: tuple[str, ...] = ()
            with contextlib.suppress(*foreign_errors()):
                names = tuple(
                    name for name in _files(folder) if name.lower().endswith((".srt", ".vtt"))
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


def _files(folder: str) -> Iterator[str]:
    """Yield the names in a folder, those of a local one without holding them all."""
    if not is_remote(folder):
        with os.scandir(folder or ".") as entries:
            for entry in entries:
                yield entry.name
        return
    system, inner = remote_file(folder)
    for name in system.ls(inner, detail=False):
        yield os.path.basename(name)


def may_hold_text(path: str) -> bool:
    """Tell from a few bytes whether a container may hold a stream of text.

    Args:
        path: A local file, or a URI. One that cannot be read holds none.
    """
    try:
        with open_file(path, _HEAD_BYTES) as file:
            head = file.read(_HEAD_BYTES)
            if head[4:8] == b"ftyp":
                moov = _moov(file)
                return any(name in moov for name in _MP4_TEXT)
            return any(name in head for name in _MATROSKA_TEXT)
    except foreign_errors():
        return False


def _moov(file: BinaryIO) -> bytes:
    """Return the box of an MP4 file that describes its tracks, wherever it lies."""
    start = 0
    size = file.seek(0, os.SEEK_END)
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
