"""Turn what a person names (files, folders, globs, lists) into paths of videos, in a fixed order.

In folders the ending of a name decides; whether a file is a video is for the decoder to find out.
What is left out is counted. What a video is called matters to people; its identity is its content.
"""

from __future__ import annotations

import codecs
import glob
import hashlib
import io
import os
import stat
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, BinaryIO

from longvid.errors import ConfigError, counted, shown
from longvid.fetch_guard import filesystem_options
from longvid.remote_files import foreign_errors, is_remote, reason, remote_file
from longvid.timed_text.subtitle_formats import SUFFIXES as SUBTITLE_SUFFIXES

# fmt: off
VIDEO_SUFFIXES = frozenset({
    ".mp4", ".m4v", ".mov", ".qt", ".f4v", ".mp4v", ".3gp", ".3g2", ".mkv", ".mk3d", ".webm",
    ".avi", ".divx", ".ts", ".m2ts", ".m2t", ".mts", ".mpg", ".mpeg", ".mpe", ".m1v", ".m2v",
    ".vob", ".mod", ".tod", ".flv", ".ogv", ".ogg", ".ogm", ".wmv", ".asf", ".gif",
    ".mxf", ".dv", ".dif", ".ivf", ".apng", ".y4m", ".mjpeg", ".mjpg",
    ".h264", ".264", ".avc", ".h265", ".265", ".hevc",
})
# fmt: on
#: Endings that files of text have too (TypeScript, Go): there the first bytes decide.
_TEXT_SUFFIXES = frozenset({".ts", ".mts", ".mod"})
_SNIFFED_BYTES = 512

_MOST_LISTS = 8
_MOST_LINE_BYTES = 32_768
_HASH_BYTES = 16
_READ_BYTES = 1 << 20


def content_id(path: str) -> str:
    """Hash the content of a file, so that one video under two names is one video.

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


def holds_video(path: str, video_id: str) -> bool:
    """Return whether a file is still the one that was indexed: there, readable, byte for byte."""
    try:
        status = os.stat(path)
        state = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
        return stat.S_ISREG(status.st_mode) and _content_id_at(path, state) == video_id
    except OSError:
        return False


@lru_cache(maxsize=4096)
def _content_id_at(path: str, state: tuple[int, ...]) -> str:
    """Hash a file once for each state that it has on its disk: a player asks again and again."""
    return content_id(path)


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
        f"Videos are named by strings or Paths, one or a list of them; got {shown(given)}."
    )


def _with_home(name: str) -> str:
    """Replace ~ at the start of a path, or of a list's path, by the home folder."""
    if name.startswith("@"):
        return "@" + os.path.expanduser(name[1:])
    return os.path.expanduser(name)


def list_videos(inputs: Iterable[str]) -> Iterator[str]:
    """Yield the path of every video named, each once; see `Listing`."""
    return iter(Listing(inputs))


class Listing:
    """The absolute paths and URIs of the videos that are named, each once, one at a time.

    A folder gives every file below it with a video's ending, in sorted order, and links to folders
    are followed, after all else; a glob gives its matches; `@list.txt` a path a line; anything else
    is a file and is taken at its word, so that a broken name becomes a failure instead of
    vanishing. Each may be a URI.

    Args:
        inputs: Files, folders, globs or @lists.

    Attributes:
        skipped: Number of files in folders that are no videos, by their ending.
        unreadable: A sentence for every folder that cannot be read.
    """

    def __init__(self, inputs: Iterable[str]) -> None:
        self.skipped: Counter[str] = Counter()
        self.unreadable: list[str] = []
        self._inputs = inputs

    def __iter__(self) -> Iterator[str]:
        """Yield the paths.

        Raises:
            ConfigError: A list or a bucket cannot be read.
        """
        seen: set[str] = set()
        for name in self._expand(self._inputs):
            path = name if is_remote(name) else os.path.abspath(name)
            if path not in seen:
                seen.add(path)
                yield path

    def notes(self) -> tuple[str, ...]:
        """Return sentences about what was left out so far."""
        notes = list(self.unreadable)
        if self.skipped:
            ordered = sorted(self.skipped.items(), key=lambda item: (-item[1], item[0]))
            endings = ", ".join(f"{count} {ending}" for ending, count in ordered)
            notes.append(
                f"{counted(self.skipped.total(), 'file')} left out, no video by name: {endings}."
            )
        return tuple(notes)

    def _expand(self, inputs: Iterable[str], lists: tuple[str, ...] = ()) -> Iterator[str]:
        """Yield what is named; `lists` are those being read, each named by the one before."""
        for name in inputs:
            name = _with_home(name.removeprefix("file://"))
            if "\0" in name:  # no system call takes such a name; a video becomes a failure
                if name.startswith("@"):
                    raise ConfigError(f"The list {shown(name[1:])} cannot be read: no such name.")
                yield name
            elif name.startswith("@"):
                place = name[1:] if is_remote(name[1:]) else os.path.realpath(name[1:])
                if place in lists or len(lists) >= _MOST_LISTS:
                    raise ConfigError(
                        f"The list {shown(name[1:])} is named by itself, or by lists more than "
                        f"{_MOST_LISTS} deep; take the line out."
                    )
                yield from self._expand(_lines(name[1:]), (*lists, place))
            elif is_remote(name):
                is_file = _suffix(name) in VIDEO_SUFFIXES and not glob.has_magic(name)
                # What may not be fetched is one failure, and the others are read.
                yield from (name,) if is_file or _is_refused(name) else self._remote(name)
            elif os.path.isdir(name):
                yield from self._walk(name)
            elif glob.has_magic(name) and not os.path.lexists(name):
                for match in sorted(glob.iglob(name, recursive=True)):
                    yield from self._walk(match) if os.path.isdir(match) else (match,)
            else:
                yield name

    def _remote(self, name: str) -> Iterator[str]:
        """Yield the videos of a bucket's folder, a glob's matches, or an object as it is named."""
        try:
            system, path = remote_file(name)
            if glob.has_magic(path) and not system.exists(path):
                found = sorted(system.glob(path))
            elif _suffix(path) in VIDEO_SUFFIXES:
                found = None
            else:
                found = [
                    match
                    for match in sorted(_below(system, path))
                    if self._is_video(match, partial(system.cat_file, match, end=_SNIFFED_BYTES))
                ]
        except foreign_errors() as error:
            raise ConfigError(
                f"{name} cannot be listed: {_reason(error)}; check the name, the credentials and "
                "the permission to list it."
            ) from error
        if found is None:
            yield name
        else:
            yield from (system.unstrip_protocol(match) for match in found)

    def _walk(self, folder: str) -> Iterator[str]:
        """Yield the videos below a folder; links to folders last, and no folder twice."""
        seen: set[tuple[int, int]] = set()
        folders = deque([folder])
        while folders:
            for parent, inner, files in os.walk(folders.popleft(), onerror=self._note_unreadable):
                identity = _identity(parent)
                if identity in seen:
                    inner.clear()
                    continue
                if "store.json" in files and "videos" in inner:  # a store: its files are no videos
                    inner.clear()
                    continue
                seen.add(identity)
                links = [name for name in sorted(inner) if os.path.islink(f"{parent}/{name}")]
                folders.extend(os.path.join(parent, name) for name in links)
                inner[:] = sorted(set(inner) - set(links))
                for file in sorted(files):
                    path = os.path.join(parent, file)
                    if self._is_video(path, partial(_first_bytes, path)):
                        yield path

    def _is_video(self, path: str, first_bytes: Callable[[], bytes]) -> bool:
        """Tell a video by its name and, where that says too little, by its first bytes."""
        suffix = _suffix(path)
        if suffix in VIDEO_SUFFIXES and not (suffix in _TEXT_SUFFIXES and _is_text(first_bytes())):
            return True
        if suffix not in SUBTITLE_SUFFIXES:
            self.skipped[suffix or "without ending"] += 1
        return False

    def _note_unreadable(self, error: OSError) -> None:
        self.unreadable.append(f"The folder {error.filename} cannot be read: {_reason(error)}.")


def _suffix(path: str) -> str:
    return os.path.splitext(path)[1].lower()


def _is_refused(uri: str) -> bool:
    try:
        filesystem_options(uri)
    except OSError:
        return True
    return False


def _identity(folder: str) -> tuple[int, int]:
    """Return what makes two names one folder."""
    try:
        status = os.stat(folder)
    except OSError:  # it is gone by now
        return (-1, -1)
    return status.st_dev, status.st_ino


def _first_bytes(path: str) -> bytes:
    """Return the start of a regular file, a zero byte for what the decoder will fail to read."""
    try:
        if stat.S_ISREG(os.stat(path).st_mode):
            with open(path, "rb") as file:
                return file.read(_SNIFFED_BYTES)
    except OSError:
        pass
    return b"\0"


def _is_text(head: bytes) -> bool:
    """Whether the start of a file is text: UTF-8 without control characters."""
    try:
        # The cut may go through a character.
        text = codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return False
    return all(character >= " " or character in "\t\n\f\r" for character in text)


def _lines(name: str) -> Iterator[str]:
    try:
        if is_remote(name):
            system, path = remote_file(name)
            file: BinaryIO = io.BytesIO(system.cat_file(path))
        else:
            if not os.path.isfile(name) and os.path.exists(name):
                raise ConfigError(f"The list {name} is not a regular file; name a text file.")
            file = open(name, "rb")  # noqa: SIM115  # closed below
        with file:
            mark = file.read(len(codecs.BOM_UTF8))
            if mark.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
                raise ConfigError(f"The list {name} is UTF-16; save it as UTF-8.")
            file.seek(len(mark) if mark == codecs.BOM_UTF8 else 0)
            while line := file.readline(_MOST_LINE_BYTES):
                if len(line) == _MOST_LINE_BYTES:
                    raise ConfigError(
                        f"The list {name} has a line of more than {_MOST_LINE_BYTES:,} bytes; "
                        "write a path a line."
                    )
                if path := os.fsdecode(line).strip():
                    yield path
    except foreign_errors() as error:
        raise ConfigError(f"The list {name} cannot be read: {_reason(error)}.") from error


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
    return reason(error)
