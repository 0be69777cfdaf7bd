"""Uploads: whole files, and files in parts that survive a broken connection.

Both follow OpenAI's `/v1/files` and `/v1/uploads`, so any OpenAI client can send a video. Bytes are
written to a temporary name while they arrive and renamed when they are complete; the client's file
name is a text to show and never part of a path.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import secrets
import shutil
import sqlite3
import time
import unicodedata
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from longvid.inputs import VIDEO_SUFFIXES
from longvid.server.api_errors import ApiError
from longvid.server.settings import Limits

__all__ = ["FileTable", "StoredFile", "display_name"]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS files (
    id TEXT PRIMARY KEY, key TEXT, filename TEXT, num_bytes INTEGER, purpose TEXT, created REAL
);
CREATE TABLE IF NOT EXISTS uploads (
    id TEXT PRIMARY KEY, key TEXT, filename TEXT, num_bytes INTEGER, purpose TEXT, status TEXT,
    created REAL, file_id TEXT
);
CREATE TABLE IF NOT EXISTS parts (
    id TEXT PRIMARY KEY, upload_id TEXT, num_bytes INTEGER, created REAL
);
"""
_MOST_NAME_CHARS = 255
_COPY_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A complete upload.

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
    """Uploads of a data folder; used from the event loop's thread.

    Args:
        folder: Where files, parts and the database are; made when it does not exist.
        limits: Sizes and deadlines.
    """

    def __init__(self, folder: Path, limits: Limits) -> None:
        self._folder = folder
        self._limits = limits
        for name in ("files", "parts"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        self._database = sqlite3.connect(folder / "files.sqlite", isolation_level=None)
        self._database.row_factory = sqlite3.Row
        self._database.execute("PRAGMA journal_mode=WAL")
        self._database.executescript(_SCHEMA)
        self._clean()

    def _clean(self) -> None:
        """Delete what a killed server left half done, and uploads that nobody finished."""
        for path in (self._folder / "files").glob("*.tmp"):
            path.unlink()
        before = time.time() - self._limits.upload_seconds
        query = "SELECT id FROM uploads WHERE status = 'pending' AND created < ?"
        for row in self._database.execute(query, (before,)).fetchall():
            self._drop_parts(row["id"])
            self._database.execute("UPDATE uploads SET status='expired' WHERE id=?", (row["id"],))
        known = {row["id"] for row in self._database.execute("SELECT id FROM parts")}
        for path in (self._folder / "parts").iterdir():
            if path.name not in known:
                path.unlink()

    def path(self, file: StoredFile) -> Path:
        """Return where the bytes of a file are."""
        return self._folder / "files" / f"{file.id}{_suffix(file.filename)}"

    def get(self, file_id: str, key: str | None = None) -> StoredFile:
        """Return a file.

        Args:
            file_id: Its id.
            key: Whose it must be; None for anybody's.

        Raises:
            ApiError: There is no such file, or it is somebody else's.
        """
        row = self._database.execute("SELECT * FROM files WHERE id = ?", (file_id,)).fetchone()
        if row is None or (key is not None and row["key"] != key):
            raise ApiError(404, "file_not_found", f"There is no file {file_id[:80]!r}.")
        return StoredFile(**row)

    def of_path(self, path: str) -> StoredFile | None:
        """Return the file whose bytes are at a path, None for other paths."""
        if PurePath(path).parent != self._folder / "files":
            return None
        with contextlib.suppress(ApiError):
            return self.get(PurePath(path).stem)
        return None

    def of_key(self, key: str) -> list[StoredFile]:
        """Return the files of a key, newest first."""
        query = "SELECT * FROM files WHERE key = ? ORDER BY created DESC, id"
        return [StoredFile(**row) for row in self._database.execute(query, (key,))]

    def delete(self, file: StoredFile) -> None:
        """Delete a file."""
        self._database.execute("DELETE FROM files WHERE id = ?", (file.id,))
        self.path(file).unlink(missing_ok=True)

    async def write(
        self, key: str, filename: str, purpose: str, chunks: AsyncIterator[bytes]
    ) -> StoredFile:
        """Take in a whole file as it arrives.

        Args:
            key: Who sends it.
            filename, purpose: As the client says.
            chunks: Its bytes.

        Raises:
            ApiError: It is too large, the disk is full, or its name is none of a video.
        """
        name = display_name(filename)
        _check_suffix(name)
        file_id = f"file-{secrets.token_hex(12)}"
        partial = self._folder / "files" / f"{file_id}.tmp"
        try:
            size = await self._receive(partial, chunks, self._limits.file_bytes)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
        return self._finish(file_id, key, name, size, purpose, partial)

    def create_upload(
        self, key: str, filename: str, num_bytes: int, purpose: str
    ) -> dict[str, Any]:
        """Begin an upload in parts; room is checked now, not at its end.

        Raises:
            ApiError: It is too large, or does not fit on the disk.
        """
        name = display_name(filename)
        _check_suffix(name)
        if not 0 < num_bytes <= self._limits.file_bytes:
            raise ApiError(
                413,
                "file_too_large",
                f"A file may have 1 to {self._limits.file_bytes} bytes, got {num_bytes}.",
                "bytes",
            )
        self._check_disk(num_bytes)
        upload_id = f"upload_{secrets.token_hex(12)}"
        self._database.execute(
            "INSERT INTO uploads VALUES (?, ?, ?, ?, ?, 'pending', ?, NULL)",
            (upload_id, key, name, num_bytes, purpose, time.time()),
        )
        return self.upload(upload_id, key)

    def upload(self, upload_id: str, key: str) -> dict[str, Any]:
        """Return OpenAI's upload object, with the parts that have arrived.

        Raises:
            ApiError: There is no such upload.
        """
        row = self._upload_row(upload_id, key)
        query = "SELECT id, num_bytes FROM parts WHERE upload_id = ? ORDER BY created, id"
        parts = [dict(part) for part in self._database.execute(query, (upload_id,))]
        file = self.get(row["file_id"]).public() if row["file_id"] else None
        return {
            "id": upload_id,
            "object": "upload",
            "bytes": row["num_bytes"],
            "created_at": int(row["created"]),
            "expires_at": int(row["created"] + self._limits.upload_seconds),
            "filename": row["filename"],
            "purpose": row["purpose"],
            "status": row["status"],
            "file": file,
            "parts": parts,
        }

    async def add_part(
        self, upload_id: str, key: str, chunks: AsyncIterator[bytes]
    ) -> dict[str, Any]:
        """Take in one part.

        Raises:
            ApiError: There is no such upload, it is not pending, or the part is too large.
        """
        row = self._upload_row(upload_id, key, pending=True)
        query = "SELECT count(*), coalesce(sum(num_bytes), 0) FROM parts WHERE upload_id = ?"
        count, total = self._database.execute(query, (upload_id,)).fetchone()
        if count >= self._limits.num_parts:
            raise ApiError(
                413, "file_too_large", f"An upload has at most {self._limits.num_parts} parts."
            )
        most = min(self._limits.part_bytes, row["num_bytes"] - total)
        part_id = f"part_{secrets.token_hex(12)}"
        path = self._folder / "parts" / part_id
        try:
            size = await self._receive(path, chunks, most)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        created = time.time()
        self._database.execute(
            "INSERT INTO parts VALUES (?, ?, ?, ?)", (part_id, upload_id, size, created)
        )
        return {
            "id": part_id,
            "object": "upload.part",
            "created_at": int(created),
            "upload_id": upload_id,
        }

    async def complete(
        self, upload_id: str, key: str, part_ids: list[str], md5: str | None
    ) -> dict[str, Any]:
        """Join the parts, in the order given.

        Raises:
            ApiError: A part is missing, or the size or checksum differs.
        """
        row = self._upload_row(upload_id, key, pending=True)
        query = "SELECT id FROM parts WHERE upload_id = ?"
        known = {part["id"] for part in self._database.execute(query, (upload_id,))}
        if not part_ids or set(part_ids) != known or len(part_ids) != len(known):
            raise ApiError(
                400,
                "upload_parts_differ",
                "Name every part of the upload once, in the order of its bytes.",
                "part_ids",
            )
        file_id = f"file-{secrets.token_hex(12)}"
        partial = self._folder / "files" / f"{file_id}.tmp"
        paths = [self._folder / "parts" / part_id for part_id in part_ids]
        try:
            size, digest = await asyncio.to_thread(_join, paths, partial)
            if size != row["num_bytes"]:
                raise ApiError(
                    400,
                    "upload_size_differs",
                    f"The parts have {size} bytes, the upload was announced with "
                    f"{row['num_bytes']}.",
                )
            if md5 is not None and md5.lower() != digest:
                raise ApiError(400, "upload_checksum_differs", "The parts have another MD5.", "md5")
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
        file = self._finish(file_id, key, row["filename"], size, row["purpose"], partial)
        self._database.execute(
            "UPDATE uploads SET status = 'completed', file_id = ? WHERE id = ?",
            (file.id, upload_id),
        )
        self._drop_parts(upload_id)
        return self.upload(upload_id, key)

    def cancel(self, upload_id: str, key: str) -> dict[str, Any]:
        """Give an upload up and delete its parts.

        Raises:
            ApiError: There is no such upload, or it is not pending.
        """
        self._upload_row(upload_id, key, pending=True)
        self._drop_parts(upload_id)
        self._database.execute("UPDATE uploads SET status='cancelled' WHERE id=?", (upload_id,))
        return self.upload(upload_id, key)

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    async def _receive(self, path: Path, chunks: AsyncIterator[bytes], most: int) -> int:
        size = 0
        with open(path, "xb") as file:
            async for chunk in chunks:
                size += len(chunk)
                if size > most:
                    raise ApiError(413, "file_too_large", f"More than {most} bytes were sent.")
                self._check_disk(len(chunk))
                try:
                    await asyncio.to_thread(file.write, chunk)
                except OSError as error:
                    raise ApiError(507, "disk_full", "The upload could not be written.") from error
            file.flush()
            os.fsync(file.fileno())
        if not size:
            raise ApiError(400, "file_empty", "The file is empty.", "file")
        return size

    def _finish(
        self, file_id: str, key: str, filename: str, size: int, purpose: str, partial: Path
    ) -> StoredFile:
        file = StoredFile(file_id, key, filename, size, purpose, time.time())
        partial.rename(self.path(file))
        self._database.execute(
            "INSERT INTO files VALUES (?, ?, ?, ?, ?, ?)",
            (file.id, key, filename, size, purpose, file.created),
        )
        return file

    def _upload_row(self, upload_id: str, key: str, pending: bool = False) -> sqlite3.Row:
        query = "SELECT * FROM uploads WHERE id = ? AND key = ?"
        row: sqlite3.Row | None = self._database.execute(query, (upload_id, key)).fetchone()
        if row is None:
            raise ApiError(404, "upload_not_found", "There is no such upload.")
        if pending and row["status"] != "pending":
            raise ApiError(409, "upload_not_pending", f"The upload is {row['status']}.")
        return row

    def _drop_parts(self, upload_id: str) -> None:
        query = "SELECT id FROM parts WHERE upload_id = ?"
        for part in self._database.execute(query, (upload_id,)).fetchall():
            (self._folder / "parts" / part["id"]).unlink(missing_ok=True)
        self._database.execute("DELETE FROM parts WHERE upload_id = ?", (upload_id,))

    def _check_disk(self, num_bytes: int) -> None:
        usage = shutil.disk_usage(self._folder)
        if usage.free - num_bytes < self._limits.free_disk_share * usage.total:
            raise ApiError(507, "disk_full", "The disk of the server has no room for this.")


def display_name(filename: str) -> str:
    """Return a client's file name as people may see it: one line, no folders, 255 characters.

    >>> display_name("../a\\nb.mp4")
    'ab.mp4'
    """
    name = unicodedata.normalize("NFC", filename.replace("\\", "/").rpartition("/")[2])
    kept = "".join(char for char in name if unicodedata.category(char)[0] != "C")
    return kept[-_MOST_NAME_CHARS:] or "video"


def _suffix(filename: str) -> str:
    return PurePath(filename).suffix.lower()


def _check_suffix(filename: str) -> None:
    if _suffix(filename) not in VIDEO_SUFFIXES:
        raise ApiError(
            415,
            "container_not_allowed",
            f"{filename!r} has no video ending; allowed are {', '.join(sorted(VIDEO_SUFFIXES))}.",
            "filename",
        )


def _join(parts: list[Path], target: Path) -> tuple[int, str]:
    digest = hashlib.md5(usedforsecurity=False)
    size = 0
    with open(target, "xb") as joined:
        for path in parts:
            with open(path, "rb") as part:
                while chunk := part.read(_COPY_BYTES):
                    digest.update(chunk)
                    size += len(chunk)
                    joined.write(chunk)
        joined.flush()
        os.fsync(joined.fileno())
    return size, digest.hexdigest()
