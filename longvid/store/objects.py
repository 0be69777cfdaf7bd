"""Reads and writes whole objects by name, on a local disk or an object store.

An object appears complete or not at all. This is the only module that touches fsspec or the
file system, and it maps their errors; it does not know what the objects mean.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import fsspec.core

from longvid.errors import StoreError

__all__ = ["LocalObjects", "ObjectInfo", "Objects", "RemoteObjects", "open_objects"]

TEMPORARY = ".tmp"
_READ_BYTES = 1 << 20
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}
_NO_HARD_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS}
_ABANDONED_SECONDS = 86400.0
_ATTEMPTS = 5


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """One object of a listing. `stamp` changes whenever the object is replaced."""

    name: str
    num_bytes: int
    stamp: str


class Objects(Protocol):
    """Named immutable byte strings below one root. Names use '/'.

    Every method raises StoreError for what the disk or the service refuses; a missing object is
    None, False or nothing, and FileNotFoundError only where noted.
    """

    uri: str

    def read(self, name: str) -> bytes | None:
        """Return an object's bytes, or None if there is none."""

    def read_many(self, names: Sequence[str]) -> list[bytes | None]:
        """Return the bytes of several objects, None for each that is not there."""

    def read_ranges(self, name: str, ranges: Sequence[tuple[int, int]]) -> list[bytearray]:
        """Return the bytes [start, stop) of each range; short only past the object's end.

        Raises:
            FileNotFoundError: There is no such object.
        """

    def blocks(self, name: str) -> Iterator[bytes]:
        """Yield an object's bytes block by block; FileNotFoundError if there is none."""

    def write(self, name: str, data: bytes, *, exclusive: bool = False) -> bool:
        """Write an object in one step; False if `exclusive` and it is there already."""

    def write_file(self, name: str, produce: Callable[[str], None]) -> None:
        """Let `produce` write a local file, then make it an object in one step."""

    def local_file(self, name: str) -> contextlib.AbstractContextManager[str]:
        """Give an object as a local file; FileNotFoundError if there is none."""

    def size(self, name: str) -> int | None:
        """Return an object's size in bytes, or None if there is none."""

    def listing(
        self, folder: str, wanted: Callable[[str], bool] | None = None
    ) -> Iterator[ObjectInfo]:
        """Yield the objects below a folder, at any depth, in no particular order."""

    def remove(self, names: Sequence[str]) -> None:
        """Remove objects in the order given; a missing one is fine."""

    def holds_anything(self) -> bool:
        """Tell whether anything that is not ours or hidden lies at the root."""

    def remove_temporaries(self) -> list[str]:
        """Remove what killed writers left half-written, and say what."""


def open_objects(uri: str | os.PathLike[str]) -> Objects:
    """Choose the implementation for a path or URI.

    Raises:
        StoreError: The protocol is not known, or its package is not installed.
    """
    text = os.fspath(uri)
    if text.startswith("file://") or "://" not in text:
        return LocalObjects(os.path.abspath(os.path.expanduser(text.removeprefix("file://"))))
    try:
        system, root = fsspec.core.url_to_fs(text, use_listings_cache=False)
    except (ImportError, ValueError) as error:
        raise StoreError(
            f"The store {text} cannot be opened: {error}. Use a local folder, or a protocol that "
            "fsspec knows, with its package installed (s3:// needs s3fs)."
        ) from error
    return RemoteObjects(text.rstrip("/"), system, root.rstrip("/"))


def _refusal(error: BaseException, uri: str, what: str) -> StoreError:
    """Say in one sentence what an operating system or a service refused."""
    number = getattr(error, "errno", None)
    if number in _FULL:
        return StoreError(
            f"No space to {what} in the store {uri}; everything stored before is intact. Free "
            "some space and run the same command again."
        )
    if number in _FORBIDDEN or isinstance(error, PermissionError):
        return StoreError(
            f"No permission to {what} in the store {uri}; ask its owner for access, or use "
            "another folder."
        )
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return StoreError(
        f"Could not {what} in the store {uri} ({reason}); check the disk or the connection and "
        "run the same command again."
    )


def _foreign() -> tuple[type[BaseException], ...]:
    """Return the error types of a remote service; botocore's are no OSError."""
    botocore: Any = sys.modules.get("botocore.exceptions")
    if botocore is None:
        return (OSError, ValueError)
    return (OSError, ValueError, botocore.BotoCoreError, botocore.ClientError)


class LocalObjects:
    """Objects as files. A write goes to a temporary file, then takes its name in one step.

    A temporary file is locked while its writer lives, so that any later process can tell an
    abandoned one, on whatever machine of a shared disk its writer died.
    """

    def __init__(self, root: str) -> None:
        self.uri = root

    def _path(self, name: str) -> str:
        return os.path.join(self.uri, *name.split("/"))

    @contextlib.contextmanager
    def _mapped(self, what: str) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise
        except OSError as error:
            raise _refusal(error, self.uri, what) from error

    def read(self, name: str) -> bytes | None:
        # Not by pathlib, which interns every name that it is given.
        with (
            contextlib.suppress(FileNotFoundError),
            self._mapped(f"read {name}"),
            open(self._path(name), "rb") as file,
        ):
            return file.read()
        return None

    def read_many(self, names: Sequence[str]) -> list[bytes | None]:
        return [self.read(name) for name in names]

    def read_ranges(self, name: str, ranges: Sequence[tuple[int, int]]) -> list[bytearray]:
        found = []
        with self._mapped(f"read {name}"), open(self._path(name), "rb", buffering=0) as file:
            for start, stop in ranges:
                buffer = bytearray(stop - start)
                view, filled = memoryview(buffer), 0
                while count := os.preadv(file.fileno(), [view[filled:]], start + filled):
                    filled += count
                view.release()
                del buffer[filled:]
                found.append(buffer)
        return found

    def blocks(self, name: str) -> Iterator[bytes]:
        with self._mapped(f"read {name}"), open(self._path(name), "rb") as file:
            while block := file.read(_READ_BYTES):
                yield block

    def write(self, name: str, data: bytes, *, exclusive: bool = False) -> bool:
        def fill(descriptor: int, _: str) -> None:
            view = memoryview(data)
            while view:
                view = view[os.write(descriptor, view) :]

        return self._publish(name, fill, exclusive)

    def write_file(self, name: str, produce: Callable[[str], None]) -> None:
        self._publish(name, lambda _, path: produce(path), exclusive=False)

    def _publish(self, name: str, fill: Callable[[int, str], None], exclusive: bool) -> bool:
        for _ in range(_ATTEMPTS):
            # A folder or file is missing when someone removed the emptied folder, or took our
            # file for abandoned in the moment before it was locked.
            with contextlib.suppress(FileNotFoundError), self._mapped(f"write {name}"):
                return self._publish_once(self._path(name), fill, exclusive)
        raise StoreError(
            f"{name} was removed {_ATTEMPTS} times while it was written to the store {self.uri}; "
            "stop what removes it and run the same command again."
        )

    def _publish_once(self, target: str, fill: Callable[[int, str], None], exclusive: bool) -> bool:
        folder = os.path.join(self.uri, TEMPORARY)
        os.makedirs(folder, exist_ok=True)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        temporary = os.path.join(folder, secrets.token_hex(8))
        descriptor = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o666)
        try:
            # A file system without locks only keeps abandoned files for a day.
            with contextlib.suppress(OSError):
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            fill(descriptor, temporary)
            os.fsync(descriptor)
            return self._name(temporary, target, exclusive)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)
            os.close(descriptor)

    @staticmethod
    def _name(temporary: str, target: str, exclusive: bool) -> bool:
        if not exclusive:
            os.replace(temporary, target)
            return True
        try:
            os.link(temporary, target)
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno not in _NO_HARD_LINKS:
                raise
            if os.path.exists(target):
                return False
            os.replace(temporary, target)
        return True

    @contextlib.contextmanager
    def local_file(self, name: str) -> Iterator[str]:
        path = self._path(name)
        os.stat(path)
        yield path

    def size(self, name: str) -> int | None:
        with contextlib.suppress(FileNotFoundError), self._mapped(f"look at {name}"):
            return os.stat(self._path(name)).st_size
        return None

    def listing(
        self, folder: str, wanted: Callable[[str], bool] | None = None
    ) -> Iterator[ObjectInfo]:
        folders = [folder]
        while folders:
            inside = folders.pop()
            with self._mapped(f"list {inside}"):
                try:
                    with os.scandir(self._path(inside)) as entries:
                        found = self._look(inside, entries, folders, wanted)
                except (FileNotFoundError, NotADirectoryError):
                    continue
            yield from found

    @staticmethod
    def _look(
        folder: str,
        entries: Iterable[os.DirEntry[str]],
        folders: list[str],
        wanted: Callable[[str], bool] | None,
    ) -> list[ObjectInfo]:
        """Return the wanted files of one folder, and add its folders to `folders`."""
        found = []
        for entry in entries:
            name = f"{folder}/{entry.name}"
            if entry.is_dir(follow_symlinks=False):
                folders.append(name)
            elif wanted is None or wanted(name):
                try:
                    info = entry.stat()
                except FileNotFoundError:
                    continue
                stamp = f"{info.st_mtime_ns:x}-{info.st_ino:x}-{info.st_size:x}"
                found.append(ObjectInfo(name, info.st_size, stamp))
        return found

    def remove(self, names: Sequence[str]) -> None:
        folders = set()
        for name in names:
            folders.add(os.path.dirname(name))
            with contextlib.suppress(FileNotFoundError), self._mapped(f"remove {name}"):
                os.unlink(self._path(name))
        for folder in sorted(folders, key=len, reverse=True):
            # Folders are no objects: an emptied one goes, one that is in use stays.
            while "/" in folder:
                try:
                    os.rmdir(self._path(folder))
                except OSError:
                    break
                folder = os.path.dirname(folder)

    def holds_anything(self) -> bool:
        with contextlib.suppress(FileNotFoundError), self._mapped("look"):
            return any(
                not name.startswith(".") and name != "lost+found" for name in os.listdir(self.uri)
            )
        return False

    def remove_temporaries(self) -> list[str]:
        removed = []
        with contextlib.suppress(FileNotFoundError), self._mapped("tidy up"):
            for entry in os.scandir(os.path.join(self.uri, TEMPORARY)):
                if _abandoned(entry.path):
                    os.unlink(entry.path)
                    removed.append(f"{TEMPORARY}/{entry.name}")
        return removed


def _abandoned(path: str) -> bool:
    """Tell whether a temporary file's writer is gone: its lock is free, or a day has passed."""
    try:
        descriptor = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return time.time() - os.fstat(descriptor).st_mtime > _ABANDONED_SECONDS
    finally:
        os.close(descriptor)
    return True


class RemoteObjects:
    """Objects of an fsspec file system whose plain put is atomic, as on S3."""

    def __init__(self, uri: str, system: Any, root: str) -> None:
        self.uri = uri
        self._system = system
        self._root = root

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"

    @contextlib.contextmanager
    def _mapped(self, what: str) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise
        except _foreign() as error:
            raise _refusal(error, self.uri, what) from error

    def read(self, name: str) -> bytes | None:
        with contextlib.suppress(FileNotFoundError), self._mapped(f"read {name}"):
            data: bytes = self._system.cat_file(self._path(name))
            return data
        return None

    def read_many(self, names: Sequence[str]) -> list[bytes | None]:
        if not names:
            return []
        paths = [self._path(name) for name in names]
        with self._mapped(f"read {names[0]}"):
            found = self._system.cat_ranges(
                paths, [None] * len(paths), [None] * len(paths), on_error="return"
            )
        for name, data in zip(names, found, strict=True):
            if isinstance(data, Exception) and not isinstance(data, FileNotFoundError):
                raise _refusal(data, self.uri, f"read {name}") from data
        return [None if isinstance(data, Exception) else data for data in found]

    def read_ranges(self, name: str, ranges: Sequence[tuple[int, int]]) -> list[bytearray]:
        wanted = [(start, stop) for start, stop in ranges if stop > start]
        with self._mapped(f"read {name}"):
            data = self._system.cat_ranges(
                [self._path(name)] * len(wanted),
                [start for start, _ in wanted],
                [stop for _, stop in wanted],
                on_error="raise",
            )
        found = iter(data)
        return [bytearray(next(found)) if stop > start else bytearray() for start, stop in ranges]

    def blocks(self, name: str) -> Iterator[bytes]:
        with self._mapped(f"read {name}"), self._system.open(self._path(name), "rb") as file:
            while block := file.read(_READ_BYTES):
                yield block

    def write(self, name: str, data: bytes, *, exclusive: bool = False) -> bool:
        with self._mapped(f"write {name}"):
            try:
                if exclusive:
                    self._system.pipe_file(self._path(name), data, mode="create")
                else:
                    self._system.pipe_file(self._path(name), data)
            except FileExistsError:
                return False
            except FileNotFoundError as error:  # the bucket itself
                raise _refusal(error, self.uri, f"write {name}") from error
        return True

    def write_file(self, name: str, produce: Callable[[str], None]) -> None:
        with tempfile.TemporaryDirectory(prefix="longvid-") as folder:
            path = os.path.join(folder, "object")
            produce(path)
            with self._mapped(f"write {name}"):
                self._system.put_file(path, self._path(name))

    @contextlib.contextmanager
    def local_file(self, name: str) -> Iterator[str]:
        folder = tempfile.mkdtemp(prefix="longvid-")
        try:
            path = os.path.join(folder, "object")
            with self._mapped(f"read {name}"):
                self._system.get_file(self._path(name), path)
            yield path
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def size(self, name: str) -> int | None:
        with contextlib.suppress(FileNotFoundError), self._mapped(f"look at {name}"):
            return int(self._system.size(self._path(name)))
        return None

    def listing(
        self, folder: str, wanted: Callable[[str], bool] | None = None
    ) -> Iterator[ObjectInfo]:
        with self._mapped(f"list {folder}"):
            self._system.invalidate_cache()
            found: dict[str, dict[str, Any]] = self._system.find(self._path(folder), detail=True)
        for path, info in found.items():
            name = path.removeprefix("/").removeprefix(self._root.removeprefix("/") + "/")
            if wanted is None or wanted(name):
                made = info.get("ETag") or info.get("LastModified") or info.get("created")
                yield ObjectInfo(name, int(info["size"]), f"{made}-{info['size']}")

    def remove(self, names: Sequence[str]) -> None:
        for name in names:
            with contextlib.suppress(FileNotFoundError), self._mapped(f"remove {name}"):
                self._system.rm_file(self._path(name))

    def holds_anything(self) -> bool:
        with contextlib.suppress(FileNotFoundError), self._mapped("look"):
            return bool(self._system.ls(self._root, detail=False))
        return False

    def remove_temporaries(self) -> list[str]:
        return []
