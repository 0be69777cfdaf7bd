"""Parquet tables as sealed bytes.

The seal is in the footer's metadata, so a table is one object and any Parquet reader can read it:
16 digits that are taken as zeros when the seal of the whole object is computed.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Iterator, Mapping

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from longvid.store.seal import seal

#: No table of a store is larger: a catalog of ten million videos has 4 GB.
MAX_TABLE_BYTES = 8 << 30
#: A small file can hold very much that is equal: bytes after unpacking, for each byte of a file.
#: Tables of a store shrink to a tenth at best.
_MOST_UNPACKED = 100
_ALWAYS_UNPACKED_BYTES = 16 << 20
#: The same for values: those of a column that are equal are stored once, and unpacked once a row.
_ALWAYS_REPEATED_BYTES = 256 << 20
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
            _require_sane_values(file, data)
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


_WIDTHS = {"BOOLEAN": 1, "INT32": 4, "FLOAT": 4, "INT64": 8, "DOUBLE": 8, "INT96": 12}
_CODE_BYTES = 4


def _require_sane_values(file: pq.ParquetFile, data: bytes) -> None:
    """Refuse a table whose equal values take far more memory than its file.

    A bound is enough for most tables: no value of a column is longer than the longest of its
    dictionary. Beyond it the lengths of the values are added up, which takes their codes alone.
    """
    metadata = file.metadata
    most = _ALWAYS_REPEATED_BYTES + _MOST_UNPACKED * len(data)
    fixed_bytes, text_bytes = 0, 0.0
    coded = set()
    for group in range(metadata.num_row_groups):
        for place in range(metadata.num_columns):
            column = metadata.row_group(group).column(place)
            is_text = column.physical_type == "BYTE_ARRAY"
            width = _WIDTHS.get(column.physical_type) or file.schema.column(place).length
            fixed_bytes += column.num_values * (_CODE_BYTES if is_text else width)
            if is_text:
                text_bytes += column.total_uncompressed_size
                if column.has_dictionary_page:
                    coded.add(column.path_in_schema)
    if coded and fixed_bytes <= most:
        with pq.ParquetFile(
            pa.BufferReader(data), pre_buffer=False, read_dictionary=sorted(coded)
        ) as codes:
            text_bytes += _most_coded_bytes(codes, coded)
            if fixed_bytes + text_bytes > most:
                text_bytes = _unpacked_text_bytes(codes.read(use_threads=False))
    if fixed_bytes + text_bytes > most:
        raise ValueError(
            f"its {metadata.num_rows} rows would take {fixed_bytes + text_bytes:.0f} bytes, more "
            "than any such table"
        )


def _most_coded_bytes(codes: pq.ParquetFile, coded: set[str]) -> float:
    """Return how long the coded values can be in all, from dictionaries alone; infinite if unknown.

    Args:
        codes: Opened so that these columns come as codes.
        coded: Paths of columns.
    """
    total = 0.0
    for group in range(codes.metadata.num_row_groups):
        row_group = codes.metadata.row_group(group)
        columns = [row_group.column(place) for place in range(row_group.num_columns)]
        counts = [each.num_values for each in columns if each.path_in_schema in coded]
        first = next(codes.iter_batches(1, row_groups=[group], use_threads=False), None)
        parts = [part for each in first.columns for part in _coded_parts(each)] if first else []
        if len(parts) != len(counts) or not all(len(part.dictionary) for part in parts):
            return math.inf
        for count, part in zip(counts, parts, strict=True):
            total += count * (pc.max(pc.binary_length(part.dictionary)).as_py() or 0)
    return total


def _unpacked_text_bytes(table: pa.Table) -> int:
    """Return how many bytes the texts of a table have, whose columns may be codes."""
    total: int = table.nbytes
    for column in table.columns:
        for part in (part for chunk in column.chunks for part in _coded_parts(chunk)):
            lengths = pc.binary_length(part.dictionary).take(part.indices)
            total += pc.sum(lengths).as_py() or 0
    return total


def _coded_parts(array: pa.Array) -> Iterator[pa.DictionaryArray]:
    """Yield the coded parts of a column, which may lie inside lists and structures."""
    if pa.types.is_dictionary(array.type):
        yield array
    elif pa.types.is_struct(array.type):
        for part in array.flatten():
            yield from _coded_parts(part)
    elif pa.types.is_list(array.type) or pa.types.is_large_list(array.type):
        yield from _coded_parts(array.flatten())
