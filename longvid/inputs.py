"""Turn what a person names (files, folders, globs, lists) into paths of videos, in a fixed order.

Names are decided by their ending only; whether a file is a video is the decoder's to say. What a
video is called matters to people; its identity is its content.
"""

from __future__ import annotations

import glob
import hashlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from longvid.errors import ConfigError
from longvid.remote_files import foreign_errors, is_remote, remote_file

__all__ = ["VIDEO_SUFFIXES", "content_id", "input_names", "list_videos"]

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


def input_names(videos: str | Path | Iterable[str | Path]) -> list[str]:
    """Return the names that a caller gave; one name or Path by itself is one video.

    >>> input_names("film.mp4")
    ['film.mp4']

    Raises:
        ConfigError: One of them is not a name, or is empty.
    """
    given: Iterable[object] = [videos] if isinstance(videos, (str, Path)) else videos
    if not isinstance(given, Iterable):
        raise _no_name(given)
    names = []
    for name in given:
        if not isinstance(name, (str, Path)) or not str(name):
            raise _no_name(name)
        names.append(str(name))
    return names


def _no_name(given: object) -> ConfigError:
    return ConfigError(
        f"Videos are named by strings or Paths, one or a list of them; got {given!r}."
    )


def list_videos(inputs: Iterable[str]) -> Iterator[str]:
    """Yield the absolute path or URI of every video named, each once, one at a time.

    A folder gives every file below it with a video's ending, in sorted order; a glob its matches;
    `@list.txt` a path a line; anything else is a file and is taken at its word, so that a broken
    name becomes a failure that says so instead of vanishing. Each may be a URI that fsspec knows.

    Args:
        inputs: Files, folders, globs or @lists.

    Raises:
        ConfigError: A list or a bucket cannot be read.
    """
    seen: set[str] = set()
    for name in _expand(inputs):
        path = name if is_remote(name) else os.path.abspath(name)
        if path not in seen:
            seen.add(path)
            yield path


def _expand(inputs: Iterable[str]) -> Iterator[str]:
    for given in inputs:
        name = given.removeprefix("file://")
        if name.startswith("~") and not os.path.lexists(name):
            name = os.path.expanduser(name)
        if name.startswith("@"):
            yield from _expand(_lines(os.path.expanduser(name[1:])))
        elif is_remote(name):
            yield from _remote(name)
        elif os.path.isdir(name):
            yield from _walk(name)
        elif glob.has_magic(name) and not os.path.lexists(name):
            for match in sorted(glob.iglob(name, recursive=True)):
                yield from _walk(match) if os.path.isdir(match) else (match,)
        else:
            yield name


def _lines(name: str) -> Iterator[str]:
    try:
        if is_remote(name):
            system, path = remote_file(name)
            lines = system.cat_file(path).decode().splitlines()
            yield from (line.strip() for line in lines if line.strip())
        else:
            with open(name, encoding="utf-8") as file:
                yield from (line.strip() for line in file if line.strip())
    except foreign_errors() as error:
        raise ConfigError(f"The list {name} cannot be read: {_reason(error)}.") from error


def _remote(name: str) -> Iterator[str]:
    """Yield the videos of a bucket's folder, a glob's matches, or an object taken at its word."""
    try:
        system, path = remote_file(name)
        if glob.has_magic(path) and not system.exists(path):
            found = sorted(system.glob(path))
        elif _has_video_suffix(path):
            found = None
        else:
            found = sorted(filter(_has_video_suffix, _below(system, path)))
    except foreign_errors() as error:
        raise ConfigError(
            f"{name} cannot be listed: {_reason(error)}; check the name, the credentials and the "
            "permission to list it."
        ) from error
    if found is None:
        yield name
    else:
        yield from (system.unstrip_protocol(match) for match in found)


def _below(system: Any, path: str) -> list[str]:
    """Return every object below a folder. Unlike `find`, a refusal is not an empty folder."""
    system.ls(path, detail=False)
    found: list[str] = system.find(path)
    return found


def _reason(error: Exception) -> str:
    if isinstance(error, PermissionError):
        return "permission denied"
    if isinstance(error, FileNotFoundError):
        return "no such file, folder or bucket"
    return str(getattr(error, "strerror", None) or error).rstrip(".")


def _has_video_suffix(path: str) -> bool:
    return os.path.splitext(path)[1].lower() in VIDEO_SUFFIXES


def _walk(folder: str) -> Iterator[str]:
    for parent, folders, files in os.walk(folder):
        folders.sort()
        for file in sorted(files):
            if _has_video_suffix(file):
                yield os.path.join(parent, file)
