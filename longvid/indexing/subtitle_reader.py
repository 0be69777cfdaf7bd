"""Find and read the subtitles of a video: a file beside it, else a text stream inside it.

Both are read by the decoder, in its process that can be killed. A file may be beside a video in a
bucket too, wherever folders can be listed.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache

from longvid.errors import VideoError
from longvid.indexing.messages import DECODER_DIED, VideoText
from longvid.protocols import Decoder
from longvid.remote_files import foreign_errors, is_remote, reason, remote_file
from longvid.timed_text.subtitle_formats import MAX_BYTES, SUFFIXES, sidecar_of
from longvid.types import Failure, TextLine, Video

_MAX_FOLDERS = 64


class SubtitleReader:
    """Reads the subtitles of videos, one after the other."""

    def __init__(self, decoder: Decoder) -> None:
        self._decoder = decoder
        # A folder is listed once, however many videos are in it.
        self._names = lru_cache(_MAX_FOLDERS)(_subtitle_names)

    def read(self, video: Video, local: str) -> VideoText:
        """Read the subtitle file beside a video, else the text stream inside it.

        Args:
            video: Its path is the user's name for it, of a local file or a URI.
            local: The video, or its copy, on this machine.
        """
        failures: list[Failure] = []
        beside: tuple[TextLine, ...] = ()
        inside: tuple[TextLine, ...] = ()
        try:
            found = self._beside(video.path)  # in the time of a player
            beside = _cut(found, video.player_seconds(video.end_seconds))
        except VideoError as error:
            failures.append(_failure(video, error))
        if not beside:
            try:
                inside = _cut(self._read(local), video.end_seconds)
            except VideoError as error:
                failure = _failure(video, error)
                failures.append(replace(failure, error=failure.error.replace(local, video.path)))
        return VideoText(beside, inside, tuple(failures))

    def _read(self, path: str) -> tuple[TextLine, ...]:
        """Read a file; if the decoder dies, once more."""
        try:
            return self._decoder.read_text(path)
        except VideoError as error:
            if error.kind not in DECODER_DIED:
                raise
            return self._decoder.read_text(path)

    def _beside(self, path: str) -> tuple[TextLine, ...]:
        sidecar = sidecar_of(path, self._names(os.path.dirname(path)))
        if sidecar is None:
            return ()
        if not is_remote(sidecar):
            return self._read(sidecar)
        with tempfile.TemporaryDirectory() as folder:
            local = os.path.join(folder, "subtitles" + os.path.splitext(sidecar)[1])
            try:
                system, inner = remote_file(sidecar)
                data = system.cat_file(inner, end=MAX_BYTES + 1)
            except foreign_errors() as error:
                sentence = f"The subtitle file {sidecar} cannot be fetched: {reason(error)}."
                raise VideoError(sentence, kind="unreadable", path=path, stage="text") from error
            with open(local, "wb") as file:
                file.write(data)
            try:
                return self._read(local)
            except VideoError as error:
                sentence = str(error).replace(local, sidecar)
                raise VideoError(sentence, kind=error.kind, path=path, stage="text") from error


def _cut(lines: tuple[TextLine, ...], end_seconds: float) -> tuple[TextLine, ...]:
    """End the lines that go on after the end of a video there; those that begin after it go."""
    return tuple(
        replace(line, end_seconds=min(line.end_seconds, end_seconds))
        for line in lines
        if line.start_seconds < end_seconds
    )


def _failure(video: Video, error: VideoError) -> Failure:
    return Failure(video.video_id, video.path, error.stage, error.kind, str(error))


def _subtitle_names(folder: str) -> tuple[str, ...]:
    """List the subtitle files of a folder; none where it cannot be listed."""
    with contextlib.suppress(*foreign_errors()):
        return tuple(name for name in _names(folder) if name.lower().endswith(SUFFIXES))
    return ()


def _names(folder: str) -> Iterator[str]:
    """Yield the names in a folder, those of a local one without holding them all."""
    if not is_remote(folder):
        with os.scandir(folder or ".") as entries:
            for entry in entries:
                yield entry.name
        return
    system, inner = remote_file(folder)
    for name in system.ls(inner, detail=False):
        yield os.path.basename(name)
