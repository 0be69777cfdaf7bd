"""The one folder for what longvid can make again."""

from __future__ import annotations

from pathlib import Path

import pytest

from longvid.paths import cache_home


def test_the_home_is_that_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LONGVID_HOME", "~/elsewhere")
    assert cache_home() == Path.home() / "elsewhere"
    for unset in ("", None):
        if unset is None:
            monkeypatch.delenv("LONGVID_HOME")
        else:
            monkeypatch.setenv("LONGVID_HOME", unset)
        assert cache_home() == Path.home() / ".cache" / "longvid"
