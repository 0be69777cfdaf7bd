"""Objects as files of a local or mounted disk.

A write goes to a temporary file, then takes its name in one step. A temporary file is locked
while its writer lives, so that any later process can tell an abandoned one, on whatever machine
of a shared disk its writer died.

Nothing is followed out of the store: the root may be a link, but folders below it are opened one
by one and a link in place of a folder or a file is refused, as are pipes and devices.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import secrets
import stat
import time
from collections.abc import Callable, Iterator, Sequence

from longvid.errors import StoreError
from longvid.store.layout import MANIFEST, VIDEOS
from longvid.store.objects import MAX_OBJECT_BYTES, DamagedObjectError, ObjectInfo, refusal

TEMPORARY = ".tmp"
_TEMPORARY_NAME = re.compile(r"[0-9a-f]{16}")
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
# A pipe without a writer would block the open; a regular file ignores the flag.
_FILE = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_NO_HARD_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS}
#: What the system says of a link where a file or a folder is opened, and of a file as a folder.
_FOLLOWED = {errno.ELOOP, errno.ENOTDIR, errno.EMLINK}
_ABANDONED_SECONDS = 86400.0
_ATTEMPTS = 5
#: Objects have at most six names in their path; a listing descends no further than this.
_DEEPEST = 16


class LocalObjects:
    """Objects below a folder."""

    def __init__(self, root: str) -> None:
        self.uri = root

    def read(self, name: str, *, max_bytes: int = MAX_OBJECT_BYTES) -> bytes | None:
        with (
            contextlib.suppress(FileNotFoundError),
            self._mapped("read", name),
            self._opened(name) as descriptor,
        ):
            num_bytes = os.fstat(descriptor).st_size
            if num_bytes > max_bytes:
                raise DamagedObjectError(
                    f"{name} of the store {self.uri} has {num_bytes} bytes and at most {max_bytes} "
                    "are allowed, so it is damaged; remove that file."
                )
            with open(descriptor, "rb", closefd=False) as file:
                return file.read(max_bytes)
        return None

    def read_many(self, names: Sequence[str]) -> list[bytes | StoreError | None]:
        found: list[bytes | StoreError | None] = []
        for name in names:
            try:
                found.append(self.read(name))
            except StoreError as error:
                found.append(error)
        return found

    def read_ranges(self, name: str, ranges: Sequence[tuple[int, int]]) -> list[bytearray]:
        found = []
        with self._mapped("read", name), self._opened(name) as descriptor:
            num_bytes = os.fstat(descriptor).st_size
            for start, stop in ranges:
                # No more memory than there are bytes, whatever a damaged head asks for.
                buffer = bytearray(max(0, min(stop, num_bytes) - start))
                view, filled = memoryview(buffer), 0
                while filled < len(buffer) and (
                    count := os.preadv(descriptor, [view[filled:]], start + filled)
                ):
                    filled += count
                view.release()
                del buffer[filled:]
                found.append(buffer)
        return found

    def write(self, name: str, data: bytes, *, exclusive: bool = False) -> bool:
        def fill(descriptor: int) -> None:
            view = memoryview(data)
            while view:
                view = view[os.write(descriptor, view) :]

        return self._publish(name, fill, exclusive)

    @contextlib.contextmanager
    def locked(self, folder: str) -> Iterator[None]:
        with self._opened_folder(folder, make=True) as descriptor:
            with contextlib.suppress(OSError):
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield

    def write_file(self, name: str, produce: Callable[[str], None]) -> None:
        self._publish(name, lambda descriptor: produce(_path_of(descriptor)), exclusive=False)

    @contextlib.contextmanager
    def local_file(self, name: str) -> Iterator[str]:
        with self._mapped("read", name), self._opened(name) as descriptor:
            yield _path_of(descriptor)

    def size(self, name: str) -> int | None:
        with (
            contextlib.suppress(FileNotFoundError),
            self._mapped("look at", name),
            self._opened_folder(name.rpartition("/")[0]) as folder,
        ):
            return os.stat(_file(name), dir_fd=folder, follow_symlinks=False).st_size
        return None

    def listing(
        self, folder: str, wanted: Callable[[str], bool] | None = None
    ) -> Iterator[ObjectInfo]:
        with (
            contextlib.suppress(FileNotFoundError),
            self._mapped("list", folder or "everything"),
            self._opened_folder(folder) as descriptor,
        ):
            yield from _walk(f"{folder}/" if folder else "", descriptor, wanted, _DEEPEST)

    def remove(self, names: Sequence[str]) -> None:
        folders = set()
        for name in names:
            folder = name.rpartition("/")[0]
            folders.add(folder)
            with (
                contextlib.suppress(FileNotFoundError),
                self._mapped("remove", name),
                self._opened_folder(folder) as descriptor,
            ):
                os.unlink(_file(name), dir_fd=descriptor)
        for folder in sorted(folders, key=len, reverse=True):
            # Folders are no objects: an emptied one goes, one that is in use stays.
            while "/" in folder:
                try:
                    with self._opened_folder(folder.rpartition("/")[0]) as parent:
                        os.rmdir(_file(folder), dir_fd=parent)
                except OSError:
                    break
                folder = folder.rpartition("/")[0]

    def holds_anything(self) -> bool:
        with contextlib.suppress(FileNotFoundError), self._mapped("look at", "its folder"):
            return any(
                not name.startswith(".") and name != "lost+found" for name in os.listdir(self.uri)
            )
        return False

    def remove_temporaries(self) -> list[str]:
        removed = []
        with (
            contextlib.suppress(FileNotFoundError),
            self._mapped("tidy up", TEMPORARY),
            self._opened_folder(TEMPORARY) as folder,
        ):
            for name in sorted(os.listdir(folder)):
                # Only what a writer of ours would have made: see `_publish_once`.
                if _TEMPORARY_NAME.fullmatch(name) and _abandoned(name, folder):
                    os.unlink(name, dir_fd=folder)
                    removed.append(f"{TEMPORARY}/{name}")
        return removed

    @contextlib.contextmanager
    def _mapped(self, what: str, name: str) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise
        except OSError as error:
            if error.errno in _FOLLOWED:
                raise DamagedObjectError(
                    f"{name} of the store {self.uri} is reached through a link or a file in place "
                    "of a folder, and a store follows none; put the file or folder itself there, "
                    "or remove the link."
                ) from error
            raise refusal(error, self.uri, f"{what} {name}") from error

    def _open_root(self) -> int:
        try:
            return os.open(self.uri, _FOLDER)
        except NotADirectoryError as error:
            raise StoreError(
                f"{self.uri} is a file and a store is a folder; name the folder of a store."
            ) from error

    @contextlib.contextmanager
    def _opened_folder(self, folder: str, *, make: bool = False) -> Iterator[int]:
        """Open a folder step by step, so that no link below the root is followed."""
        if make and not os.path.isdir(self.uri):
            os.makedirs(self.uri, exist_ok=True)
        descriptor = self._open_root()
        try:
            for step in folder.split("/") if folder else ():
                if make:
                    with contextlib.suppress(FileExistsError):
                        os.mkdir(_step(step), dir_fd=descriptor)
                inner = os.open(_step(step), _FOLDER | os.O_NOFOLLOW, dir_fd=descriptor)
                os.close(descriptor)
                descriptor = inner
            yield descriptor
        finally:
            os.close(descriptor)

    @contextlib.contextmanager
    def _opened(self, name: str) -> Iterator[int]:
        """Open a regular file for reading."""
        with self._opened_folder(name.rpartition("/")[0]) as folder:
            descriptor = os.open(_file(name), os.O_RDONLY | _FILE, dir_fd=folder)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise DamagedObjectError(
                    f"{name} of the store {self.uri} is no regular file; remove it, and index the "
                    "video again if it belongs to one."
                )
            yield descriptor
        finally:
            os.close(descriptor)

    def _publish(self, name: str, fill: Callable[[int], None], exclusive: bool) -> bool:
        for _ in range(_ATTEMPTS):
            # A folder or file is missing when someone removed the emptied folder, or took our
            # file for abandoned in the moment before it was locked.
            with contextlib.suppress(FileNotFoundError), self._mapped("write", name):
                return self._publish_once(name, fill, exclusive)
        raise StoreError(
            f"{name} was removed {_ATTEMPTS} times while it was written to the store {self.uri}; "
            "stop what removes it and run the same command again."
        )

    def _publish_once(self, name: str, fill: Callable[[int], None], exclusive: bool) -> bool:
        with (
            self._opened_folder(TEMPORARY, make=True) as temporaries,
            self._opened_folder(name.rpartition("/")[0], make=True) as folder,
        ):
            temporary = secrets.token_hex(8)
            flags = os.O_CREAT | os.O_EXCL | os.O_RDWR | _FILE
            descriptor = os.open(temporary, flags, 0o666, dir_fd=temporaries)
            try:
                # A file system without locks only keeps abandoned files for a day.
                with contextlib.suppress(OSError):
                    fcntl.flock(descriptor, fcntl.LOCK_EX)
                fill(descriptor)
                os.fsync(descriptor)
                return _name(temporary, temporaries, _file(name), folder, exclusive)
            finally:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(temporary, dir_fd=temporaries)
                os.close(descriptor)


def _step(step: str) -> str:
    """Return one name of a path, if it can only mean what lies in its folder."""
    if step in ("", ".", "..") or "/" in step or "\0" in step:
        raise StoreError(f"{step!r} cannot be part of an object's name.")
    return step


def _file(name: str) -> str:
    return _step(name.rpartition("/")[2])


def _path_of(descriptor: int) -> str:
    """Return a path that means an open file and no other, for libraries that want a path."""
    return f"/dev/fd/{descriptor}"


def _name(temporary: str, temporaries: int, file: str, folder: int, exclusive: bool) -> bool:
    """Give a temporary file its name; False if `exclusive` and the name is taken."""
    if not exclusive:
        os.replace(temporary, file, src_dir_fd=temporaries, dst_dir_fd=folder)
        return True
    try:
        os.link(temporary, file, src_dir_fd=temporaries, dst_dir_fd=folder, follow_symlinks=False)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in _NO_HARD_LINKS:
            raise
        with contextlib.suppress(FileNotFoundError):
            os.stat(file, dir_fd=folder, follow_symlinks=False)
            return False
        os.replace(temporary, file, src_dir_fd=temporaries, dst_dir_fd=folder)
    return True


def _walk(
    prefix: str, folder: int, wanted: Callable[[str], bool] | None, deepest: int
) -> Iterator[ObjectInfo]:
    """Yield the wanted files of an open folder and those in it; links are listed, not followed."""
    folders = []
    found = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                folders.append(entry.name)
            elif wanted is None or wanted(prefix + entry.name):
                with contextlib.suppress(FileNotFoundError):
                    info = entry.stat(follow_symlinks=False)
                    stamp = f"{info.st_mtime_ns:x}-{info.st_ino:x}-{info.st_size:x}"
                    found.append(ObjectInfo(prefix + entry.name, info.st_size, stamp))
    yield from found
    if not deepest:
        return
    for name in folders:
        try:
            inner = os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=folder)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except PermissionError:
            if prefix != f"{VIDEOS}/":
                raise
            # What is in a video's folder cannot be told. Whoever reads its manifest learns why, and
            # the other videos are listed.
            hidden = f"{prefix}{name}/{MANIFEST}"
            if wanted is None or wanted(hidden):
                yield ObjectInfo(hidden, 0, "")
            continue
        try:
            yield from _walk(f"{prefix}{name}/", inner, wanted, deepest - 1)
        finally:
            os.close(inner)


def _abandoned(name: str, folder: int) -> bool:
    """Tell whether a temporary file's writer is gone: its lock is free, or a day has passed."""
    try:
        descriptor = os.open(name, os.O_RDWR | _FILE, dir_fd=folder)
    except OSError:  # gone, a link, or another user's
        return False
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return False
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return time.time() - os.fstat(descriptor).st_mtime > _ABANDONED_SECONDS
    finally:
        os.close(descriptor)
    return True
