"""A small share of `python -m tests.fuzz.server_kills`, for the suite."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="install longvid[server]")
pytest.importorskip("httpx2", reason="install httpx2")

from tests.fuzz.server_kills import run

pytestmark = pytest.mark.server


def test_nothing_confirmed_is_lost_when_a_server_is_killed(tmp_path: Path) -> None:
    counts, found = run(2, 20261129, tmp_path)
    assert found == []
    assert counts["kills"] == 2
