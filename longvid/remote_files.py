"""Give a remote video as a local file, kept in a folder of bounded size.

The decoding process opens nothing but regular files: that is its first line of defence, and it
holds for buckets too because what they hold is copied beside it first. Chunks of one film that are
decoded by several processes of a machine share one copy. This module does not know what a video is.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from longvid.fetch_guard import filesystem_options
from longvid.paths import cache_home

#: What a service says of an error is cut after so many characters.
_MOST_CHARACTERS = 300


def is_remote(path: str) -> bool:
    """Tell whether a path is a URI of something other than this machine's files."""
    return "://" in path and not path.startswith("file://")


def foreign_errors() -> tuple[type[Exception], ...]:
    """Return what fsspec and the services behind it raise; botocore's errors are no OSError."""
    botocore: Any = sys.modules.get("botocore.exceptions")
    known = (OSError, ValueError, ImportError)
    return known if botocore is None else (*known, botocore.BotoCoreError, botocore.ClientError)


def remote_file(uri: str) -> tuple[Any, str]:
    """Return fsspec's file system of a URI and the path in it.

    Raises:
        OSError: The protocol is not allowed, or its package is not installed.
    """
    import fsspec.core

    options = filesystem_options(uri)
    try:
        system, path = fsspec.core.url_to_fs(uri, use_listings_cache=False, **options)
    except (ImportError, ValueError) as error:
        raise OSError(f"{error} (s3:// needs the package s3fs: install longvid[s3])") from error
    return system, path


@dataclass(frozen=True, slots=True)
class FileState:
    """What tells one content of a file from the next, without reading it.

    Args:
        num_bytes: Its size.
        version: Its time of modification, or what the service says of the object's state.
    """

    num_bytes: int
    version: str


def file_state(path: str) -> FileState:
    """Return the present state of a local or remote file.

    Raises:
        OSError: It cannot be had.
    """
    if not is_remote(path):
        try:
            status = os.stat(path.removeprefix("file://"))
        except ValueError as error:  # a name that no system call takes, with a zero byte in it
            raise OSError(str(error)) from error
        return FileState(status.st_size, str(status.st_mtime_ns))
    try:
        system, inner = remote_file(path)
        return _remote_state(system.info(inner))
    except foreign_errors() as error:
        raise _as_os_error(error) from error


def _remote_state(info: dict[str, Any]) -> FileState:
    version = info.get("ETag") or info.get("LastModified") or info.get("created")
    return FileState(int(info["size"] or 0), str(version))


def file_bytes(path: str) -> int:
    """Return a file's size, 0 for unknown when it is gone by now."""
    try:
        return file_state(path).num_bytes
    except OSError:
        return 0


@dataclass(frozen=True, slots=True)
class LocalCopies:
    """Copies of remote files on this machine, shared by its processes.

    Args:
        limit_bytes: Copies that nobody reads are removed, the longest unused first, when there
            are more bytes than this. A file in use stays, whatever its size.
    """

    limit_bytes: int

    @contextlib.contextmanager
    def open(self, path: str) -> Iterator[str]:
        """Give a local path for a file until the block ends; a local file is its own.

        Raises:
            OSError: The file cannot be fetched.
        """
        if not is_remote(path):
            yield path.removeprefix("file://")
            return
        source = _source_of(path)
        with os.fdopen(self._hold(source)):
            yield str(source.copy)

    def _hold(self, source: _Source) -> int:
        """Fetch a file unless it is there; return a descriptor whose lock keeps it there."""
        while True:
            with FileLock(source.copy.with_suffix(".lock"), mode=0o600):
                if not source.copy.exists():
                    self._make_room(source.copy.parent, source.num_bytes)
                    source.fetch().rename(source.copy)
            descriptor = _held(source.copy)
            if descriptor is not None:
                return descriptor

    def _make_room(self, folder: Path, num_bytes: int) -> None:
        """Remove copies that nobody reads, longest unused first, until a file fits."""
        kept = []
        for copy in folder.iterdir():
            with contextlib.suppress(FileNotFoundError):
                status = copy.stat()
                kept.append((status.st_mtime, status.st_size, copy))
        total = num_bytes + sum(size for _, size, _ in kept)
        for _, size, copy in sorted(kept):
            if total <= self.limit_bytes:
                return
            if copy.suffix not in (".lock", ".partial") and _remove_unused(copy):
                total -= size


@dataclass(frozen=True, slots=True)
class _Source:
    """A remote file, and the place of its local copy."""

    system: Any
    inner: str
    num_bytes: int
    copy: Path

    def fetch(self) -> Path:
        """Write a file beside the copy's place, under its lock; return its path."""
        partial = self.copy.with_suffix(".partial")
        try:
            self.system.get_file(self.inner, str(partial))
        except foreign_errors() as error:
            partial.unlink(missing_ok=True)
            raise _as_os_error(error) from error
        return partial


def _source_of(path: str) -> _Source:
    try:
        system, inner = remote_file(path)
        info = system.info(inner)
    except foreign_errors() as error:
        raise _as_os_error(error) from error
    folder = cache_home() / "videos"
    folder.mkdir(parents=True, exist_ok=True)
    # What the service says of the object's state is part of the name: a changed object under
    # the same URI is another file.
    state = _remote_state(info)
    key = hashlib.blake2b(f"{path}\n{state.version}\n{state.num_bytes}".encode(), digest_size=16)
    copy = folder / (key.hexdigest() + os.path.splitext(inner)[1].lower())
    return _Source(system, inner, state.num_bytes, copy)


def _held(copy: Path) -> int | None:
    """Return a descriptor whose lock keeps a copy, None when it is not there."""
    with contextlib.suppress(FileNotFoundError):
        descriptor = os.open(copy, os.O_RDONLY | os.O_CLOEXEC)
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        # It may have been removed between the two lines above.
        if os.fstat(descriptor).st_nlink:
            os.utime(copy)
            return descriptor
        os.close(descriptor)
    return None


def _remove_unused(copy: Path) -> bool:
    try:
        descriptor = os.open(copy, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        copy.unlink()
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True


def reason(error: Exception) -> str:
    """Return in one line what the system or a service says of an error, without its full stop."""
    text = str(getattr(error, "strerror", None) or error) or type(error).__name__
    return " ".join(text.split())[:_MOST_CHARACTERS].rstrip(".")


def _as_os_error(error: Exception) -> OSError:
    """Return an OSError that says in words what the service refused."""
    if isinstance(error, FileNotFoundError):
        return FileNotFoundError(error.errno or 2, "no such object")
    if isinstance(error, PermissionError):
        return PermissionError(error.errno or 13, "permission denied")
    return OSError(reason(error))
