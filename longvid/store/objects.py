"""What a store asks of the place where it is kept: whole objects by name.

An object appears complete or not at all. `LocalObjects` and `RemoteObjects` are the only classes
that touch the file system or fsspec; they map their errors and do not know what objects mean.
"""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from longvid.errors import StoreError

#: No JSON object of a store is larger: a manifest of a week of video has 60 MB. A sparse file can
#: claim any size, so sizes are compared before anything is read.
MAX_OBJECT_BYTES = 256 << 20

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}


class DamagedObjectError(StoreError):
    """One object is not what it should be; the rest of the store is not affected."""


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

    def read(self, name: str, *, max_bytes: int = MAX_OBJECT_BYTES) -> bytes | None:
        """Return an object's bytes, or None if there is none.

        Raises:
            StoreError: The object is larger than `max_bytes`.
        """

    def read_many(self, names: Sequence[str]) -> list[bytes | StoreError | None]:
        """Return the bytes of several objects, None for each that is not there.

        An object that cannot be read is returned as the error that `read` would raise.
        """

    def read_ranges(self, name: str, ranges: Sequence[tuple[int, int]]) -> list[bytearray]:
        """Return the bytes [start, stop) of each range; short only past the object's end.

        Raises:
            FileNotFoundError: There is no such object.
        """

    def write(self, name: str, data: bytes, *, exclusive: bool = False) -> bool:
        """Write an object in one step; False if `exclusive` and it is there already."""

    def locked(self, folder: str) -> contextlib.AbstractContextManager[None]:
        """Keep other processes out of a block that is locked by the same folder.

        Where there are no locks, in a bucket and on some shared disks, nobody is kept out.
        """

    def write_file(self, name: str, produce: Callable[[str], None]) -> None:
        """Let `produce` write a local file, then make it an object in one step."""

    def local_file(self, name: str) -> contextlib.AbstractContextManager[str]:
        """Give an object as a local file; FileNotFoundError if there is none."""

    def size(self, name: str) -> int | None:
        """Return an object's size in bytes, or None if there is none."""

    def listing(
        self, folder: str, wanted: Callable[[str], bool] | None = None
    ) -> Iterator[ObjectInfo]:
        """Yield the objects below a folder ("" is the root), in no particular order."""

    def remove(self, names: Sequence[str]) -> None:
        """Remove objects in the order given; a missing one is fine."""

    def holds_anything(self) -> bool:
        """Tell whether the root has anything that is neither ours nor hidden."""

    def remove_temporaries(self) -> list[str]:
        """Remove what killed writers left half-written, and return the names."""


def write_once(objects: Objects, name: str, data: bytes) -> bool:
    """Write an object unless it is there already, byte for byte; return whether it was written.

    A damaged object of that name is replaced.
    """
    try:
        there = objects.read(name, max_bytes=len(data))
    except DamagedObjectError:
        there = None
    if there == data:
        return False
    objects.write(name, data)
    return True


def refusal(error: BaseException, uri: str, what: str) -> StoreError:
    """Return the sentence for what an operating system or a service refused."""
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
