"""Tables: sealed, readable by others, and read from memory without leaving anything running."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from longvid.store.parquet import is_sealed, parse_table, write_table

TABLE = pa.table({"path": ["a", "b"], "attempts": [1, 2]})


def test_a_table_is_read_as_it_was_written_by_us_and_by_others(tmp_path: Path) -> None:
    data = write_table([TABLE, TABLE], TABLE.schema, {"note": "longvid-seal:"})
    assert is_sealed(data) is True
    whole = pa.concat_tables([TABLE, TABLE])
    assert parse_table(data, must_be_sealed=True).equals(whole)
    (tmp_path / "t.parquet").write_bytes(data)
    other = pq.read_table(tmp_path / "t.parquet")
    assert other.equals(whole)
    assert other.schema.metadata[b"note"] == b"longvid-seal:"


def test_every_changed_byte_is_noticed() -> None:
    data = write_table([TABLE], TABLE.schema)
    for position in range(0, len(data), 3):
        changed = bytearray(data)
        changed[position] ^= 16
        with pytest.raises(ValueError, match=r"checksum|no whole"):
            parse_table(bytes(changed), must_be_sealed=True)
    for stop in (0, 1, len(data) // 2, len(data) - 1):
        with pytest.raises(ValueError, match=r"checksum|no whole"):
            parse_table(data[:stop], must_be_sealed=True)


def test_a_table_without_a_seal_is_read_only_where_it_may_be(tmp_path: Path) -> None:
    pq.write_table(TABLE, tmp_path / "t.parquet")
    data = (tmp_path / "t.parquet").read_bytes()
    assert is_sealed(data) is None
    assert parse_table(data, must_be_sealed=False).equals(TABLE)
    with pytest.raises(ValueError, match="its checksum is missing"):
        parse_table(data, must_be_sealed=True)


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="counts threads as Linux does")
def test_reading_starts_no_thread(tmp_path: Path) -> None:
    # A thread of Arrow's that frees the bytes while the interpreter ends aborts the process.
    table = pa.table({"path": ["a"] * 100})
    (tmp_path / "t.parquet").write_bytes(write_table([table], table.schema))
    code = (
        "import os, pathlib, sys\n"
        "from longvid.store.parquet import parse_table\n"
        "data = pathlib.Path(sys.argv[1]).read_bytes()\n"
        "before = len(os.listdir('/proc/self/task'))\n"
        "parse_table(data, must_be_sealed=True)\n"
        "print(len(os.listdir('/proc/self/task')) - before)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "t.parquet")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "0"
