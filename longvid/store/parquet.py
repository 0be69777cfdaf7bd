"""Parquet tables that lie in memory as bytes."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq

__all__ = ["parse_table"]


def parse_table(data: bytes) -> pa.Table:
    """Read a Parquet object with the calling thread alone.

    `pyarrow.parquet.read_table` scans with threads of Arrow's own, told otherwise too. They free
    the bytes late: in a process that ends meanwhile they ask a stopped interpreter for its lock,
    and the process aborts after its work is done.

    Raises:
        pyarrow.ArrowException: The bytes are not a whole Parquet object.
    """
    with pq.ParquetFile(pa.BufferReader(data), pre_buffer=False) as file:
        return file.read(use_threads=False)
