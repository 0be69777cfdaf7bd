"""Turn what a person names (files, folders, globs, lists) into paths of videos, in a fixed order.

Names are decided by their ending only; whether a file is a video is the decoder's to say. What a
video is called matters to people; its identity is its content.
"""

from __future__ import annotations

import glob
import hashlib
import os
from collections.abc import Iterable, Iterator

from longvid.errors import ConfigError

__all__ = ["VIDEO_SUFFIXES", "content_id", "list_videos"]

# fmt: off
VIDEO_SUFFIXES = frozenset({
    ".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".ts", ".m2ts", ".mts", ".mpg", ".mpeg",
    ".flv", ".ogv", ".ogg", ".wmv", ".asf", ".3gp", ".gif",
})
# fmt: on


_HASH_BYTES = 16
_READ_BYTES = 1 << 20


def content_id(path: str) -> str:
    """Hash the content of a file, so that one video under two names is one video.

    Args:
        path: A local file.

    Returns:
        32 hexadecimal digits (BLAKE2b of every byte of the file).

    Raises:
        OSError: The file cannot be read.
    """
    digest = hashlib.blake2b(digest_size=_HASH_BYTES)
    with open(path, "rb") as file:
        while block := file.read(_READ_BYTES):
            digest.update(block)
    return digest.hexdigest()


def list_videos(inputs: Iterable[str]) -> Iterator[str]:
    """Yield the path of every video named, each once, one at a time.

    A folder gives every file below it with a video's ending, in sorted order; a glob its matches;
    `@list.txt` a path a line; anything else is a file and is taken at its word, so that a broken
    name becomes a failure that says so instead of vanishing.

    Args:
        inputs: Files, folders, globs or @lists.

    Raises:
        ConfigError: A list cannot be read.
    """
    seen: set[str] = set()
    for path in _expand(inputs):
        if path not in seen:
            seen.add(path)
            yield path


def _expand(inputs: Iterable[str]) -> Iterator[str]:
    for name in inputs:
        if name.startswith("@"):
            try:
                with open(name[1:], encoding="utf-8") as file:
                    yield from _expand(line.strip() for line in file if line.strip())
            except OSError as error:
                raise ConfigError(
                    f"The list {name[1:]} cannot be read: {error.strerror}."
                ) from error
        elif os.path.isdir(name):
            yield from _walk(name)
        elif glob.has_magic(name) and not os.path.lexists(name):
            for match in sorted(glob.iglob(name, recursive=True)):
                yield from _walk(match) if os.path.isdir(match) else (match,)
        else:
            yield name


def _walk(folder: str) -> Iterator[str]:
    for parent, folders, files in os.walk(folder):
        folders.sort()
        for file in sorted(files):
            if os.path.splitext(file)[1].lower() in VIDEO_SUFFIXES:
                yield os.path.join(parent, file)
