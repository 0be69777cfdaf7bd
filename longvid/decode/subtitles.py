"""Find the subtitles of a video: a file beside it, or a stream of text inside it.

Both are read by a child process that can be killed. A file may be beside a video in a bucket too,
wherever folders can be listed. A stream inside a container is read only when the container's head
names a text stream: most videos have none, and for them no process is asked and of one in a bucket
only the head is read. Those are SubRip, WebVTT and ASS in Matroska and WebM, 3GPP timed text and
WebVTT in MP4 and MOV. Not read are the pictures of text (DVB, DVD, Blu-ray) and the teletext pages
that MPEG-TS and MPEG-PS hold, and captions inside the coded pictures (CEA-608 and 708): FFmpeg
reads the first as pictures only, PyAV's build of it no teletext, and the last take a decoding of
the film.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from typing import Any, BinaryIO

from longvid.decode.process import ChildFailure, ChildProcess, Limits
from longvid.errors import VideoError
from longvid.remote_files import (
    borrowed_copy,
    foreign_errors,
    is_remote,
    open_file,
    remote_file,
)
from longvid.timed_text.formats import (
    MAX_BYTES,
    SUFFIXES,
    in_time_order,
    plain_text,
    sidecar_of,
)
from longvid.types import TextLine

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

    def beside(self, path: str) -> tuple[TextLine, ...]:
        """Return the lines of a subtitle file beside a video; none where there is no such file.

        Args:
            path: Of a local video, or a URI.

        Raises:
            VideoError: There is such a file and it cannot be read; the stage is "text".
        """
        sidecar = sidecar_of(path, self._names(os.path.dirname(path)))
        if sidecar is None:
            return ()
        if not is_remote(sidecar):
            return self._read(sidecar, sidecar)
        with tempfile.TemporaryDirectory() as folder:
            local = os.path.join(folder, "subtitles" + os.path.splitext(sidecar)[1])
            try:
                system, inner = remote_file(sidecar)
                data = system.cat_file(inner, end=MAX_BYTES + 1)
            except foreign_errors() as error:
                sentence = f"The subtitle file {sidecar} cannot be fetched: {error}."
                raise VideoError(sentence, kind="unreadable", path=sidecar, stage="text") from error
            with open(local, "wb") as file:
                file.write(data)
            return self._read(local, sidecar)

    def inside(self, path: str) -> tuple[TextLine, ...]:
        """Return the lines of a text stream inside a video; none where there is no such stream.

        Args:
            path: Of a local video, or a URI: one that may hold text is copied here, if it is not.

        Raises:
            VideoError: The stream cannot be read; the stage is "text".
        """
        if may_hold_text(path):
            with contextlib.suppress(OSError), borrowed_copy(path) as local:
                return self._read(local, path)
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
                names = tuple(name for name in _files(folder) if name.lower().endswith(SUFFIXES))
            while len(self._folders) >= _FOLDERS_KEPT:
                del self._folders[next(iter(self._folders))]
            self._folders[folder] = names
        return self._folders[folder]

    def _read(self, path: str, name: str) -> tuple[TextLine, ...]:
        """Let the child read a file, which errors call by the name that the user gave."""
        facts: dict[str, Any] = {}
        try:
            if self._child is None or not self._child.alive:
                self.close()
                engine = "longvid.decode.subtitle_engine:SubtitleEngine"
                self._child = ChildProcess(engine, {}, _LIMITS)
            for message, _ in self._child.ask({"kind": "probe", "path": path}):
                facts = message
        except ChildFailure as failure:
            self.close()
            sentence = str(failure).replace(path, name)
            if name not in sentence:
                sentence = f"The text of {name} cannot be read: {sentence}."
            raise VideoError(sentence, kind=failure.kind, path=name, stage="text") from failure
        lines = [
            TextLine(start, end, plain_text(text))
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
