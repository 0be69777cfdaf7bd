"""Keep what is said in videos: found beside a video or inside it, written beside its manifest.

A video may have several names, and a file beside each: the file beside the name that sorts first
counts, whatever the order in which a run meets them, so that two runs keep the same. A stream
inside counts where there is no file. This module opens no video itself.
"""

from __future__ import annotations

from collections.abc import Sequence

from longvid.decode.subtitles import SubtitleReader
from longvid.store import Store, subtitles_beside, write_subtitles

__all__ = ["SubtitleKeeper"]


class SubtitleKeeper:
    """Finds and writes the subtitles of a store's videos."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._reader = SubtitleReader()

    def keep(self, video_id: str, paths: Sequence[str]) -> None:
        """Write what is said in a video, before its manifest makes it visible.

        Args:
            video_id: Of the video.
            paths: Its names so far, at least one.
        """
        for path in sorted(paths):
            lines = self._reader.beside(path)
            if lines:
                write_subtitles(self._store, video_id, lines, path)
                return
        write_subtitles(self._store, video_id, self._reader.inside(paths[0]))

    def add_name(self, video_id: str, path: str) -> None:
        """Take in another name of a finished video: a file beside it may come first."""
        lines = self._reader.beside(path)
        if lines:
            kept = subtitles_beside(self._store, video_id)
            if not kept or path < kept:
                write_subtitles(self._store, video_id, lines, path)
