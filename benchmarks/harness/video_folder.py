"""Where the videos of a benchmark lie: by name, whatever their ending and folder."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.harness.errors import AnnotationError
from benchmarks.harness.picture_folder import as_video, pictures_of
from longvid.inputs import VIDEO_SUFFIXES, list_videos


def require_folder(folder: Path) -> None:
    """Refuse what cannot hold videos.

    Raises:
        AnnotationError: It is no folder.
    """
    if not folder.is_dir():
        raise AnnotationError(f"{folder} is not a folder; --videos names the folder of videos.")


class VideoFolder:
    """The videos below a folder, found by name with or without ending, and by folder and name.

    Args:
        folder: As given on the command line.
        picture_fps: A folder of pictures counts as a video of so many a second; 0: as none.
        made: Folder for the files that are made of such folders.

    Raises:
        AnnotationError: It is no folder, or holds no video.
    """

    def __init__(self, folder: Path, picture_fps: float = 0.0, made: Path = Path()) -> None:
        require_folder(folder)
        self.folder = folder
        self._picture_fps, self._made = picture_fps, made
        self._by_name: dict[str, str] = {}
        self._by_stem: dict[str, str] = {}
        self._count = 0
        for path in list_videos([str(folder)]):
            self._add(path, os.path.splitext(path)[0])
        for path in self._folders_of_pictures() if picture_fps else ():
            self._add(path, path)
        if not self._count:
            raise AnnotationError(
                f"{folder} holds no video; known endings are {', '.join(sorted(VIDEO_SUFFIXES))}."
            )

    def __len__(self) -> int:
        return self._count

    def find(self, names: Iterable[str]) -> str | None:
        """Return the path of the first name that is there, None if none is.

        A folder of pictures is made one file on the way.

        Args:
            names: File names with or without an ending, perhaps with folders before them: these
                must be there too, above the file.

        Raises:
            AnnotationError: A folder of pictures cannot be read.
        """
        for name in names:
            for table, key in (
                (self._by_name, name),
                (self._by_stem, name),
                (self._by_stem, _stem(name)),
            ):
                if key in table:
                    path = table[key]
                    if os.path.isdir(path):
                        return as_video(path, self._picture_fps, self._made)
                    return path
        return None

    def _add(self, path: str, stem: str) -> None:
        """Enter a path under its name, and under as many folders before it as there are."""
        self._count += 1
        for table, known in ((self._by_name, path), (self._by_stem, stem)):
            parts = os.path.relpath(known, self.folder).split(os.sep)
            for first in range(len(parts)):
                key = "/".join(parts[first:])
                there = table.get(key)
                # A video nearer to the top, or earlier in order, wins over one of the same name.
                if there is None or path.count(os.sep) < there.count(os.sep):
                    table[key] = path

    def _folders_of_pictures(self) -> Iterator[str]:
        for parent, folders, files in os.walk(self.folder):
            folders.sort()
            if pictures_of(files):
                yield parent


def open_videos(header: Mapping[str, Any]) -> VideoFolder:
    """List the videos of a run, as its run.json says where they lie.

    Args:
        header: "videos" is the folder; "pictures", where the set has such folders, their rate and
            where files made of them go.
    """
    picture_fps, made = header.get("pictures", (0.0, ""))
    return VideoFolder(Path(header["videos"]), picture_fps, Path(made))


def _stem(name: str) -> str:
    """Return a name without an ending that videos have; dots elsewhere belong to it."""
    base, suffix = os.path.splitext(name)
    return base if suffix.lower() in VIDEO_SUFFIXES else name
