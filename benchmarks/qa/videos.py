"""Where the videos of a benchmark lie: by name, whatever their ending and folder."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from benchmarks.qa.errors import AnnotationError
from longvid.listing import VIDEO_SUFFIXES, list_videos

__all__ = ["VideoFolder"]


class VideoFolder:
    """The videos below a folder, found by path, by name, or by name without its ending.

    Args:
        folder: As given on the command line.

    Raises:
        AnnotationError: It is no folder, or holds no video.
    """

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise AnnotationError(f"{folder} is not a folder; --videos names the folder of videos.")
        self.folder = folder
        self._by_path: dict[str, str] = {}
        self._by_name: dict[str, str] = {}
        self._by_stem: dict[str, str] = {}
        for path in list_videos([str(folder)]):
            inner = os.path.relpath(path, folder).replace(os.sep, "/")
            # A video nearer to the top, or earlier in order, wins over one of the same name.
            for table, key in (
                (self._by_path, inner),
                (self._by_name, os.path.basename(inner)),
                (self._by_stem, os.path.splitext(os.path.basename(inner))[0]),
            ):
                there = table.get(key)
                if there is None or path.count(os.sep) < there.count(os.sep):
                    table[key] = path
        if not self._by_path:
            raise AnnotationError(
                f"{folder} holds no video; known endings are {', '.join(sorted(VIDEO_SUFFIXES))}."
            )

    def __len__(self) -> int:
        return len(self._by_path)

    def find(self, names: Iterable[str]) -> str | None:
        """Return the path of the first name that is there, None if none is.

        Args:
            names: Paths below the folder, file names, or names without an ending.
        """
        for name in names:
            for table, key in (
                (self._by_path, name),
                (self._by_name, os.path.basename(name)),
                (self._by_stem, os.path.basename(name)),
                (self._by_stem, _stem(name)),
            ):
                if key in table:
                    return table[key]
        return None


def _stem(name: str) -> str:
    """Return a file name without an ending that videos have; dots elsewhere belong to it."""
    base, suffix = os.path.splitext(os.path.basename(name))
    return base if suffix.lower() in VIDEO_SUFFIXES else base + suffix
