"""Tables read from memory leave nothing running behind them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from longvid.store.parquet import parse_table


def test_parse_table_gives_back_what_was_written(tmp_path: Path) -> None:
    table = pa.table({"path": ["a", "b"], "attempts": [1, 2]})
    pq.write_table(table, tmp_path / "t.parquet")
    assert parse_table((tmp_path / "t.parquet").read_bytes()).equals(table)


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="counts threads as Linux does")
def test_reading_starts_no_thread(tmp_path: Path) -> None:
    # A thread of Arrow's that frees the bytes while the interpreter ends aborts the process.
    pq.write_table(pa.table({"path": ["a"] * 100}), tmp_path / "t.parquet")
    code = (
        "import os, pathlib, sys\n"
        "from longvid.store.parquet import parse_table\n"
        "data = pathlib.Path(sys.argv[1]).read_bytes()\n"
        "before = len(os.listdir('/proc/self/task'))\n"
        "parse_table(data)\n"
        "print(len(os.listdir('/proc/self/task')) - before)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "t.parquet")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "0"
