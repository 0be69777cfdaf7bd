"""Group paths into calls to probing actors: hashing a small file takes less time than a call."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from itertools import islice

from longvid.remote_files import file_bytes, is_remote

_MAX_PATHS, _MAX_BYTES = 64, 256 << 20


class PathBatches:
    """Paths to probe, some at a time."""

    def __init__(self, paths: Iterable[str] = ()) -> None:
        self._paths = iter(paths)
        self._next: deque[str] = deque()
        self._alone: deque[str] = deque()

    def any_left(self) -> bool:
        if not self._next:
            self._next.extend(islice(self._paths, 1))
        return bool(self._next or self._alone)

    def take(self) -> tuple[str, ...]:
        """Return the paths of the next call, at least one of `any_left`."""
        if self._alone:
            return (self._alone.popleft(),)
        taken = [self._next.popleft()]
        room = _MAX_BYTES - _bytes_to_hash(taken[0])
        while room > 0 and len(taken) < _MAX_PATHS and self.any_left():
            room -= _bytes_to_hash(self._next[0])
            if room > 0:
                taken.append(self._next.popleft())
        return tuple(taken)

    def add_alone(self, paths: Iterable[str]) -> None:
        """Add paths that get a call each: their actor died, or their file has changed."""
        self._alone.extend(paths)


def _bytes_to_hash(path: str) -> int:
    """Return a file's size; a remote file is fetched first, and so has a call of its own."""
    return _MAX_BYTES if is_remote(path) else file_bytes(path)
