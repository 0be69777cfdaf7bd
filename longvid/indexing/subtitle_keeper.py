"""Keep the subtitles of videos: found beside a video or inside it, written beside its manifest.

A video may have several names, and a file beside each: the file beside the name that sorts first
counts, whatever the order in which a run meets them, so that two runs keep the same. A stream
inside counts where there is no file. This module opens no video itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from longvid.decode.subtitles import SubtitleReader
from longvid.errors import VideoError
from longvid.store import Store, subtitles_beside, write_subtitles
from longvid.types import Failure, TextLine

__all__ = ["SubtitleKeeper"]


class SubtitleKeeper:
    """Finds and writes the subtitles of a store's videos."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._reader = SubtitleReader()

    def keep(self, video_id: str, paths: Sequence[str]) -> list[Failure]:
        """Write the subtitles of a video, before its manifest makes it visible.

        Args:
            video_id: Of the video.
            paths: Its names so far, at least one.

        Returns:
            Files and streams that could not be read; the video is not affected.
        """
        failures: list[Failure] = []
        for path in sorted(paths):
            lines = self._try(self._reader.beside, video_id, path, failures)
            if lines:
                write_subtitles(self._store, video_id, lines, path)
                return failures
        inside = self._try(self._reader.inside, video_id, paths[0], failures)
        write_subtitles(self._store, video_id, inside)
        return failures

    def add_name(self, video_id: str, path: str) -> list[Failure]:
        """Take in another name of a finished video: a file beside it may come first.

        Returns:
            A file that could not be read.
        """
        failures: list[Failure] = []
        lines = self._try(self._reader.beside, video_id, path, failures)
        if lines:
            kept = subtitles_beside(self._store, video_id)
            if not kept or path < kept:
                write_subtitles(self._store, video_id, lines, path)
        return failures

    def close(self) -> None:
        """End the reading process."""
        self._reader.close()

    @staticmethod
    def _try(
        read: Callable[[str], tuple[TextLine, ...]],
        video_id: str,
        path: str,
        failures: list[Failure],
    ) -> tuple[TextLine, ...]:
        try:
            return read(path)
        except VideoError as error:
            failures.append(Failure(video_id, path, error.stage, error.kind, str(error)))
            return ()
