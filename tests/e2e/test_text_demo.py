"""The demo without real clips or what reads them; its answers are in test_readme.py."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

import pytest

from longvid.config import load_config
from longvid.text_demo import show_text


def test_without_the_clips_it_is_said(tmp_path: Path) -> None:
    told: list[str] = []
    assert show_text(told.append, tmp_path, tmp_path, load_config("mini")) == []
    assert "source tree" in told[0]


def test_without_a_package_it_is_said(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    told: list[str] = []
    assert show_text(told.append, data, tmp_path, load_config("mini")) == []
    assert told[0].startswith("   left out: ")
