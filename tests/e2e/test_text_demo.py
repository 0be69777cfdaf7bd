"""The demo's questions about real clips are answered rightly, with times."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

import pytest

from longvid.config import load_config
from longvid.text_demo import QUESTIONS, show_text


def test_real_clips_are_read_heard_and_asked(data: Path, tmp_path: Path) -> None:
    for name in ("rapidocr", "onnxruntime", "pocketsphinx", "silero_vad"):
        pytest.importorskip(name)
    told: list[str] = []
    answers = show_text(told.append, data, tmp_path, load_config("mini"))
    assert [answer["right"] for answer in answers] == [True] * len(QUESTIONS), "\n".join(told)
    assert told[-1].strip() == "6 of 6 right"


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
