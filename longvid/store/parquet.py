"""Parquet tables as sealed bytes.

The seal is in the footer's metadata, so a table is one object and any Parquet reader can read it:
16 digits that are taken as zeros when the seal of the whole object is computed.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping

import pyarrow as pa
import pyarrow.parquet as pq

from longvid.store.seal import seal

__all__ = ["MAX_TABLE_BYTES", "is_sealed", "parse_table", "write_table"]

#: No table of a store is larger: a catalog of ten million videos has 4 GB.
MAX_TABLE_BYTES = 8 << 30
#: A small file can hold very much that is equal: bytes after unpacking, for each byte of a file.
#: Tables of a store shrink to a tenth at best.
_MOST_UNPACKED = 100
_ALWAYS_UNPACKED_BYTES = 16 << 20
#: Of tables without a seal, which anybody may have made.
_MOST_UNSEALED_ROWS = 10_000_000

_KEY = "seal"
_MARK = b"longvid-seal:"
_BLANK = b"0" * 16


def write_table(
    batches: Iterable[pa.Table], schema: pa.Schema, metadata: Mapping[str, str] | None = None
) -> bytes:
    """Serialise tables of one schema, end to end, and seal the bytes.

    Args:
        batches: Tables of the schema.
        schema: Columns and their types.
        metadata: Texts to keep beside the columns.
    """
    kept = {**(metadata or {}), _KEY: (_MARK + _BLANK).decode()}
    sealed_schema = schema.with_metadata(kept)
    buffer = io.BytesIO()
    with pq.ParquetWriter(buffer, sealed_schema) as writer:
        for batch in batches:
            writer.write_table(batch.cast(sealed_schema))
    data = bytearray(buffer.getbuffer())
    start, _ = _find_seal(data) or (0, b"")
    data[start : start + len(_BLANK)] = seal(data).encode()
    return bytes(data)


def is_sealed(data: bytes) -> bool | None:
    """Compare a table with its seal: True if it fits, False if it does not, None without one."""
    found = _find_seal(data)
    if found is None:
        return None
    start, expected = found
    view = memoryview(data)
    return seal(view[:start], _BLANK, view[start + len(_BLANK) :]).encode() == expected


def parse_table(data: bytes, *, must_be_sealed: bool) -> pa.Table:
    """Read a table with the calling thread alone.

    `pyarrow.parquet.read_table` scans with threads of Arrow's own even when it is asked not to.
    They free the bytes late: in a process that ends meanwhile they ask a stopped interpreter for
    its lock, and the process aborts after its work is done.

    Raises:
        ValueError: The bytes are not a whole table, do not fit their seal, or have none although
            they must.
    """
    sealed = is_sealed(data)
    if sealed is False:
        raise ValueError("it does not fit its checksum")
    if sealed is None and must_be_sealed:
        raise ValueError("its checksum is missing")
    try:
        with pq.ParquetFile(pa.BufferReader(data), pre_buffer=False) as file:
            _require_sane_size(file.metadata, len(data), sealed=bool(sealed))
            return file.read(use_threads=False)
    # Arrow reports damage as an OSError, too.
    except (pa.ArrowException, OSError, KeyError, TypeError, OverflowError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"it is no whole Parquet table ({reason[:200]})") from error


def _find_seal(data: bytes | bytearray) -> tuple[int, bytes] | None:
    """Return where the digits of the seal start, and the digits."""
    start = data.rfind(_MARK)
    if start < 0:
        return None
    start += len(_MARK)
    return start, bytes(data[start : start + len(_BLANK)])


def _require_sane_size(metadata: pq.FileMetaData, packed_bytes: int, *, sealed: bool) -> None:
    num_bytes = sum(metadata.row_group(i).total_byte_size for i in range(metadata.num_row_groups))
    too_large = num_bytes > _ALWAYS_UNPACKED_BYTES + _MOST_UNPACKED * packed_bytes
    if too_large or (not sealed and metadata.num_rows > _MOST_UNSEALED_ROWS):
        raise ValueError(
            f"it claims {metadata.num_rows} rows of {num_bytes} bytes, more than any such table"
        )
