"""Weights that cannot fit are refused with both numbers, before any of them is read."""

from __future__ import annotations

from pathlib import Path

import pytest
import safetensors.torch
import torch

from longvid.errors import ModelError
from longvid.models import memory, mini
from longvid.models.families import family_of


@pytest.fixture
def left(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Stand in for what the kernel says is left: 2 GB in all, and 0.5 GB in a container."""
    (tmp_path / "meminfo").write_text("MemTotal: 9000000 kB\nMemAvailable:  2000000 kB\n")
    (tmp_path / "max").write_text("1500000000\n")
    (tmp_path / "current").write_text("1000000000\n")
    monkeypatch.setattr(memory, "_MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "_GROUP", (tmp_path / "max", tmp_path / "current"))
    return tmp_path


def test_the_tighter_limit_counts(left: Path) -> None:
    assert memory.free_bytes("cpu") == 500_000_000
    (left / "max").write_text("max\n")
    assert memory.free_bytes("cpu") == 2_000_000 * 1024
    (left / "meminfo").unlink()
    (left / "max").unlink()
    assert memory.free_bytes("cpu") is None


def test_what_does_not_fit_is_one_sentence(left: Path) -> None:
    memory.require_room("here", 499_000_000, torch.float32, "cpu")
    with pytest.raises(ModelError, match=r"^here needs 14\.0 GB as float16, and cpu has 0\.5 GB"):
        memory.require_room("here", 14_000_000_000, torch.float16, "cpu")


def test_nothing_is_read_of_a_checkpoint_that_does_not_fit(
    left: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mini.save(tmp_path / "pair", seed=1)
    (left / "max").write_text("1000000001\n")
    monkeypatch.setattr(safetensors, "safe_open", None)
    folder = tmp_path / "pair" / "vlm"
    with pytest.raises(ModelError, match=r"GB as float32, and cpu has 0\.0 GB left"):
        family_of(folder).load_decoder(folder, torch.float32, "cpu")
    with pytest.raises(ModelError, match=r"GB as float32, and cpu has 0\.0 GB left"):
        family_of(folder).load_tower(folder, "full", torch.float32, "cpu")
