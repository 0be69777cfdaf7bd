"""Objects of an fsspec file system whose plain put is atomic, as on S3."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from longvid.errors import StoreError
from longvid.store.objects import MAX_OBJECT_BYTES, DamagedObjectError, ObjectInfo, refusal

#: Fetched of an object before its size is known; manifests of a day of video are smaller.
_START_BYTES = 4 << 20


def _foreign() -> tuple[type[BaseException], ...]:
    """Return the error types of a remote service; botocore's are no OSError."""
    botocore: Any = sys.modules.get("botocore.exceptions")
    if botocore is None:
        return (OSError, ValueError)
    return (OSError, ValueError, botocore.BotoCoreError, botocore.ClientError)


class RemoteObjects:
    """Objects below a URI."""

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
            raise refusal(error, self.uri, what) from error

    def read(self, name: str, *, max_bytes: int = MAX_OBJECT_BYTES) -> bytes | None:
        [start] = self._starts([name])
        return self._whole(name, start, max_bytes)

    def read_many(self, names: Sequence[str]) -> list[bytes | StoreError | None]:
        found: list[bytes | StoreError | None] = []
        for name, start in zip(names, self._starts(names), strict=True):
            try:
                found.append(self._whole(name, start, MAX_OBJECT_BYTES))
            except StoreError as error:
                found.append(error)
        return found

    def _starts(self, names: Sequence[str]) -> list[bytes | Exception]:
        """Fetch the start of each object, which is all of most: one request an object."""
        paths = [self._path(name) for name in names]
        if not paths:
            return []
        with self._mapped(f"read {names[0]}"):
            found: list[bytes | Exception] = self._system.cat_ranges(
                paths, [0] * len(paths), [_START_BYTES] * len(paths), on_error="return"
            )
        return found

    def _whole(self, name: str, start: bytes | Exception, max_bytes: int) -> bytes | None:
        """Return an object of which the start was fetched; the rest only if its size is allowed."""
        if isinstance(start, FileNotFoundError):
            return None
        if isinstance(start, bytes) and len(start) < _START_BYTES:
            num_bytes: int | None = len(start)
        else:
            num_bytes = self.size(name)
        if num_bytes is None:
            return None
        if num_bytes > max_bytes:
            raise DamagedObjectError(
                f"{name} of the store {self.uri} has {num_bytes} bytes and at most {max_bytes} are "
                "allowed, so it is damaged; remove that object."
            )
        if num_bytes == 0:  # a service refuses a range of an empty object
            return b""
        if isinstance(start, Exception):
            raise refusal(start, self.uri, f"read {name}") from start
        if num_bytes <= len(start):
            return start
        [rest] = self.read_ranges(name, [(len(start), num_bytes)])
        return start + rest

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
                raise refusal(error, self.uri, f"write {name}") from error
        return True

    def locked(self, folder: str) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

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
