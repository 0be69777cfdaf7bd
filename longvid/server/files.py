"""Files of clients: uploaded whole, sent inside a request, or fetched for one.

They are what `/v1/files` lists, so any OpenAI client can send a video. Bytes are written to a
temporary name while they arrive and renamed when they are complete; the client's file name is a
text to show and never part of a path.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import shutil
import sqlite3
import time
import unicodedata
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from longvid.inputs import VIDEO_SUFFIXES
from longvid.server.api_errors import ApiError
from longvid.server.settings import Limits

_SCHEMA = """
CREATE TABLE IF NOT EXISTS files (
    id TEXT PRIMARY KEY, key TEXT, filename TEXT, num_bytes INTEGER, purpose TEXT, created REAL
);
CREATE TABLE IF NOT EXISTS origins (
    key TEXT, origin TEXT, file_id TEXT, created REAL, PRIMARY KEY (key, origin)
);
"""


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A complete file.

    Args:
        id: "file-…".
        key: Who sent it.
        filename: The client's name, for people.
        num_bytes: Its size.
        purpose: As the client said.
        created: Seconds since 1970.
    """

    id: str
    key: str
    filename: str
    num_bytes: int
    purpose: str
    created: float

    def public(self) -> dict[str, Any]:
        """Return OpenAI's file object."""
        return {
            "id": self.id,
            "object": "file",
            "bytes": self.num_bytes,
            "created_at": int(self.created),
            "filename": self.filename,
            "purpose": self.purpose,
            "status": "processed",
        }


class FileTable:
    """Files of a data folder; used from the event loop's thread.

    Args:
        folder: Where files and the database are; made when it does not exist.
        limits: Sizes.
    """

    def __init__(self, folder: Path, limits: Limits) -> None:
        self.folder = folder
        self._limits = limits
        (folder / "files").mkdir(parents=True, exist_ok=True)
        #: Shared with the table of uploads, so that both change together.
        self.database = sqlite3.connect(folder / "files.sqlite", isolation_level=None)
        self.database.row_factory = sqlite3.Row
        self.database.execute("PRAGMA journal_mode=WAL")
        self.database.executescript(_SCHEMA)
        self._clean()

    def _clean(self) -> None:
        """Delete what a killed server left half done: files without a row."""
        known = {row["id"] for row in self.database.execute("SELECT id FROM files")}
        for path in (self.folder / "files").iterdir():
            if path.stem not in known or path.suffix == ".tmp":
                path.unlink()

    def path(self, file: StoredFile) -> Path:
        return self.folder / "files" / f"{file.id}{_suffix(file.filename)}"

    def new_path(self) -> Path:
        """Return a temporary name, of which `adopt` makes a file."""
        return self.folder / "files" / f"file-{secrets.token_hex(12)}.tmp"

    def get(self, file_id: str, key: str | None = None) -> StoredFile:
        """Return a file.

        Args:
            file_id: Its id.
            key: Whose it must be; None for anybody's.

        Raises:
            ApiError: There is no such file, or it is somebody else's.
        """
        row = self.database.execute("SELECT * FROM files WHERE id = ?", (file_id,)).fetchone()
        if row is None or (key is not None and row["key"] != key):
            raise ApiError(404, "file_not_found", f"There is no file {file_id[:80]!r}.")
        return StoredFile(**row)

    def of_path(self, path: str) -> StoredFile | None:
        """Return the file whose bytes are at a path, None for other paths."""
        if PurePath(path).parent != self.folder / "files":
            return None
        with contextlib.suppress(ApiError):
            return self.get(PurePath(path).stem)
        return None

    def of_key(self, key: str) -> list[StoredFile]:
        """Return the files of a key, newest first."""
        query = "SELECT * FROM files WHERE key = ? ORDER BY created DESC, id"
        return [StoredFile(**row) for row in self.database.execute(query, (key,))]

    def of_origin(self, key: str, origin: str, most_seconds: float) -> StoredFile | None:
        """Return the file that was made of an origin lately, None where there is none.

        Args:
            key: Whose.
            origin: A URL, or the digest of what was sent in a request.
            most_seconds: Older ones are made anew.
        """
        query = "SELECT file_id FROM origins WHERE key = ? AND origin = ? AND created > ?"
        values = (key, origin, time.time() - most_seconds)
        row = self.database.execute(query, values).fetchone()
        if row is not None:
            with contextlib.suppress(ApiError):
                return self.get(row["file_id"])
        return None

    def delete(self, file: StoredFile) -> None:
        self.database.execute("DELETE FROM files WHERE id = ?", (file.id,))
        self.path(file).unlink(missing_ok=True)

    async def write(
        self, key: str, filename: str, purpose: str, chunks: AsyncIterator[bytes], origin: str = ""
    ) -> StoredFile:
        """Take in a whole file as it arrives.

        Args:
            key: Who sends it.
            filename, purpose: As the client says.
            chunks: Its bytes.
            origin: As for `adopt`.

        Raises:
            ApiError: It is too large, the disk is full, or its name is none of a video.
        """
        check_suffix(display_name(filename, self._limits.name_chars))
        partial = self.new_path()
        try:
            await self.receive(partial, chunks, self._limits.file_bytes)
            return self.adopt(key, filename, purpose, partial, origin)
        finally:
            partial.unlink(missing_ok=True)

    def adopt(
        self, key: str, filename: str, purpose: str, partial: Path, origin: str = ""
    ) -> StoredFile:
        """Make a complete file of one with a temporary name.

        Args:
            key: Whose it becomes.
            filename, purpose: As the client said.
            partial: On the same disk; from `new_path`.
            origin: What it was made of, so that `of_origin` finds it; "" for an upload.

        Raises:
            ApiError: Its name is none of a video.
        """
        name = display_name(filename, self._limits.name_chars)
        check_suffix(name)
        size, now = partial.stat().st_size, time.time()
        file = StoredFile(f"file-{secrets.token_hex(12)}", key, name, size, purpose, now)
        partial.rename(self.path(file))
        self.database.execute(
            "INSERT INTO files VALUES (?, ?, ?, ?, ?, ?)", (file.id, key, name, size, purpose, now)
        )
        if origin:
            row = (key, origin, file.id, now)
            self.database.execute("INSERT OR REPLACE INTO origins VALUES (?, ?, ?, ?)", row)
        return file

    async def receive(self, path: Path, chunks: AsyncIterator[bytes], most: int) -> int:
        """Write bytes as they arrive, to disk; returns how many.

        Raises:
            ApiError: There are none, too many, or the disk is full.
        """
        size = 0
        with open(path, "xb") as file:
            async for chunk in chunks:
                size += len(chunk)
                if size > most:
                    raise ApiError(413, "file_too_large", f"More than {most} bytes were sent.")
                self.require_room(len(chunk))
                try:
                    await asyncio.to_thread(file.write, chunk)
                except OSError as error:
                    raise ApiError(507, "disk_full", "The upload could not be written.") from error
            file.flush()
            os.fsync(file.fileno())
        if not size:
            raise ApiError(400, "file_empty", "The file is empty.", "file")
        return size

    def room(self) -> int:
        """Return how many bytes may still be written; below 0 when too many have been."""
        usage = shutil.disk_usage(self.folder)
        return usage.free - int(self._limits.free_disk_share * usage.total)

    def require_room(self, num_bytes: int) -> None:
        """Refuse bytes that do not fit.

        Raises:
            ApiError: 507.
        """
        if num_bytes > self.room():
            raise ApiError(507, "disk_full", "The disk of the server has no room for this.")

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """Change several rows together, or none."""
        self.database.execute("BEGIN")
        try:
            yield
        except BaseException:
            self.database.execute("ROLLBACK")
            raise
        self.database.execute("COMMIT")

    def close(self) -> None:
        self.database.close()


def display_name(filename: str, most_chars: int = 255) -> str:
    """Return a client's file name as people may see it: one line, no folders, bounded.

    >>> display_name("../a\\nb.mp4")
    'ab.mp4'
    """
    name = unicodedata.normalize("NFC", filename.replace("\\", "/").rpartition("/")[2])
    kept = "".join(char for char in name if unicodedata.category(char)[0] != "C")
    return kept[-most_chars:] or "video"


def check_suffix(filename: str) -> None:
    """Refuse a name without a video's ending.

    Raises:
        ApiError: 415.
    """
    if _suffix(filename) not in VIDEO_SUFFIXES:
        raise ApiError(
            415,
            "container_not_allowed",
            f"{filename!r} has no video ending; allowed are {', '.join(sorted(VIDEO_SUFFIXES))}.",
            "filename",
        )


def _suffix(filename: str) -> str:
    return PurePath(filename).suffix.lower()
