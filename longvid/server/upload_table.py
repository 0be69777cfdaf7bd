"""Uploads in parts that survive a broken connection, and a killed server: OpenAI's `/v1/uploads`.

A part counts once its bytes are on disk and its row is in the database, in this order; what has no
row is deleted at the next start.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import secrets
import sqlite3
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from longvid.server.api_errors import ApiError
from longvid.server.files import FileTable, check_suffix, display_name
from longvid.server.settings import Limits

_SCHEMA = """
CREATE TABLE IF NOT EXISTS uploads (
    id TEXT PRIMARY KEY, key TEXT, filename TEXT, num_bytes INTEGER, purpose TEXT, status TEXT,
    created REAL, file_id TEXT
);
CREATE TABLE IF NOT EXISTS parts (
    id TEXT PRIMARY KEY, upload_id TEXT, num_bytes INTEGER, created REAL
);
"""
_COPY_BYTES = 1 << 20


class UploadTable:
    """Uploads that are being put together; used from the event loop's thread.

    Args:
        files: What a complete upload becomes part of.
        limits: Sizes and deadlines.
    """

    def __init__(self, files: FileTable, limits: Limits) -> None:
        self._files = files
        self._limits = limits
        self._database = files.database
        self._folder = files.folder / "parts"
        self._folder.mkdir(parents=True, exist_ok=True)
        self._database.executescript(_SCHEMA)
        self._clean()

    def _clean(self) -> None:
        """Delete parts without a row, and uploads that nobody finished."""
        before = time.time() - self._limits.upload_seconds
        query = "SELECT id FROM uploads WHERE status = 'pending' AND created < ?"
        for row in self._database.execute(query, (before,)).fetchall():
            self._database.execute("UPDATE uploads SET status='expired' WHERE id=?", (row["id"],))
        ended = "SELECT id FROM uploads WHERE status != 'pending'"
        self._database.execute(f"DELETE FROM parts WHERE upload_id IN ({ended})")
        known = {row["id"] for row in self._database.execute("SELECT id FROM parts")}
        for path in self._folder.iterdir():
            if path.name not in known:
                path.unlink()

    def create(self, key: str, filename: str, num_bytes: int, purpose: str) -> dict[str, Any]:
        """Begin an upload; room is checked now, not at its end.

        Raises:
            ApiError: It is too large, does not fit on the disk, or is no video by its name.
        """
        name = display_name(filename, self._limits.name_chars)
        check_suffix(name)
        if not 0 < num_bytes <= self._limits.file_bytes:
            raise ApiError(
                413,
                "file_too_large",
                f"A file may have 1 to {self._limits.file_bytes} bytes, got {num_bytes}."
                if num_bytes
                else f"{name} is empty.",
                "bytes",
            )
        self._files.require_room(num_bytes)
        upload_id = f"upload_{secrets.token_hex(12)}"
        self._database.execute(
            "INSERT INTO uploads VALUES (?, ?, ?, ?, ?, 'pending', ?, NULL)",
            (upload_id, key, name, num_bytes, purpose, time.time()),
        )
        return self.get(upload_id, key)

    def get(self, upload_id: str, key: str) -> dict[str, Any]:
        """Return OpenAI's upload object, with the parts that have arrived.

        Raises:
            ApiError: There is no such upload.
        """
        row = self._row(upload_id, key)
        query = "SELECT id, num_bytes FROM parts WHERE upload_id = ? ORDER BY created, id"
        parts = [dict(part) for part in self._database.execute(query, (upload_id,))]
        return {
            "id": upload_id,
            "object": "upload",
            "bytes": row["num_bytes"],
            "created_at": int(row["created"]),
            "expires_at": int(row["created"] + self._limits.upload_seconds),
            "filename": row["filename"],
            "purpose": row["purpose"],
            "status": row["status"],
            "file": self._file(row["file_id"]),
            "parts": parts,
        }

    def _file(self, file_id: str | None) -> dict[str, Any] | None:
        found = self._database.execute("SELECT 1 FROM files WHERE id = ?", (file_id,)).fetchone()
        return self._files.get(file_id).public() if file_id and found else None

    async def add_part(
        self, upload_id: str, key: str, chunks: AsyncIterator[bytes]
    ) -> dict[str, Any]:
        """Take in one part.

        Raises:
            ApiError: There is no such upload, it is not pending, or the part is too large.
        """
        most = min(self._limits.part_bytes, self._left(upload_id, key))
        part_id = f"part_{secrets.token_hex(12)}"
        path = self._folder / part_id
        try:
            size = await self._files.receive(path, chunks, most)
            if size > self._left(upload_id, key):  # another part has arrived meanwhile
                raise ApiError(413, "file_too_large", "The upload has more bytes than announced.")
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

    def _left(self, upload_id: str, key: str) -> int:
        """Return how many bytes an upload still misses."""
        row = self._row(upload_id, key, pending=True)
        query = "SELECT count(*), coalesce(sum(num_bytes), 0) FROM parts WHERE upload_id = ?"
        count, total = self._database.execute(query, (upload_id,)).fetchone()
        if count >= self._limits.num_parts:
            raise ApiError(
                413, "file_too_large", f"An upload has at most {self._limits.num_parts} parts."
            )
        return int(row["num_bytes"] - total)

    async def complete(
        self, upload_id: str, key: str, part_ids: list[str], md5: str | None
    ) -> dict[str, Any]:
        """Join the parts, in the order given.

        Raises:
            ApiError: A part is missing, or the size or checksum differs.
        """
        row = self._row(upload_id, key, pending=True)
        query = "SELECT id FROM parts WHERE upload_id = ?"
        known = {part["id"] for part in self._database.execute(query, (upload_id,))}
        if not part_ids or set(part_ids) != known or len(part_ids) != len(known):
            raise ApiError(
                400,
                "upload_parts_differ",
                "Name every part of the upload once, in the order of its bytes.",
                "part_ids",
            )
        partial = self._files.new_path()
        try:
            paths = [self._folder / part_id for part_id in part_ids]
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
            self._row(upload_id, key, pending=True)  # nobody has completed it meanwhile
            with self._files.transaction():
                file = self._files.adopt(key, row["filename"], row["purpose"], partial)
                self._end(upload_id, "completed", file.id)
        finally:
            partial.unlink(missing_ok=True)
        self._drop(part_ids)
        return self.get(upload_id, key)

    def cancel(self, upload_id: str, key: str) -> dict[str, Any]:
        """Give an upload up and delete its parts.

        Raises:
            ApiError: There is no such upload, or it is not pending.
        """
        self._row(upload_id, key, pending=True)
        query = "SELECT id FROM parts WHERE upload_id = ?"
        part_ids = [part["id"] for part in self._database.execute(query, (upload_id,))]
        with self._files.transaction():
            self._end(upload_id, "cancelled", None)
        self._drop(part_ids)
        return self.get(upload_id, key)

    def _end(self, upload_id: str, status: str, file_id: str | None) -> None:
        update = "UPDATE uploads SET status = ?, file_id = ? WHERE id = ?"
        self._database.execute(update, (status, file_id, upload_id))
        self._database.execute("DELETE FROM parts WHERE upload_id = ?", (upload_id,))

    def _drop(self, part_ids: list[str]) -> None:
        for part_id in part_ids:
            (self._folder / part_id).unlink(missing_ok=True)

    def _row(self, upload_id: str, key: str, pending: bool = False) -> sqlite3.Row:
        query = "SELECT * FROM uploads WHERE id = ? AND key = ?"
        row: sqlite3.Row | None = self._database.execute(query, (upload_id, key)).fetchone()
        if row is None:
            raise ApiError(404, "upload_not_found", "There is no such upload.")
        if pending and row["status"] != "pending":
            raise ApiError(409, "upload_not_pending", f"The upload is {row['status']}.")
        return row


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
