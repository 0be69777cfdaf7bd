"""Weights that cannot fit are refused with both numbers, before any of them is read."""

from __future__ import annotations

from pathlib import Path

import pytest
import safetensors.torch
import torch

from longvid.errors import ModelError
from longvid.models import free_memory, mini
from longvid.models.families import family_of


@pytest.fixture
def left(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Stand in for what the kernel says is left: 2 GB in all, and 0.5 GB in a container."""
    (tmp_path / "meminfo").write_text("MemTotal: 9000000 kB\nMemAvailable:  2000000 kB\n")
    (tmp_path / "membership").write_text("1:cpu,cpuacct:/elsewhere\n0::/box\n")
    bound(tmp_path / "box")
    monkeypatch.setattr(free_memory, "_MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(free_memory, "_MEMBERSHIP", tmp_path / "membership")
    monkeypatch.setattr(free_memory, "_GROUPS", tmp_path)
    monkeypatch.setattr(free_memory, "_process_bytes", lambda: None)
    return tmp_path


def bound(group: Path, limit: str = "1500000000", cached: int = 0) -> None:
    """Write a group of processes that uses 1 GB, `cached` bytes of it twice for files."""
    group.mkdir(parents=True, exist_ok=True)
    (group / "memory.max").write_text(f"{limit}\n")
    (group / "memory.current").write_text("1000000000\n")
    (group / "memory.stat").write_text(
        f"anon 5\ninactive_file {cached}\nactive_file {cached}\nfile 7\n"
    )


def test_the_tighter_limit_counts(left: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert free_memory.free_bytes("cpu") == 500_000_000
    bound(left / "box", cached=100_000_000)
    assert free_memory.free_bytes("cpu") == 700_000_000
    bound(left, limit="1100000000")
    assert free_memory.free_bytes("cpu") == 100_000_000, (
        "a group inside another has no more than it"
    )
    monkeypatch.setattr(free_memory, "_process_bytes", lambda: 50)
    assert free_memory.free_bytes("cpu") == 50


def test_no_limit_is_known(left: Path) -> None:
    bound(left / "box", limit="max")
    assert free_memory.free_bytes("cpu") == 2_000_000 * 1024
    (left / "meminfo").unlink()
    (left / "membership").unlink()
    assert free_memory.free_bytes("cpu") is None


def test_groups_of_the_first_version(left: Path) -> None:
    (left / "membership").write_text("4:cpuset,memory:/docker/4711\n")
    group = left / "memory"  # inside a container its own group is the root
    group.mkdir()
    (group / "memory.limit_in_bytes").write_text("9000\n")
    (group / "memory.usage_in_bytes").write_text("8000\n")
    (group / "memory.stat").write_text("inactive_file 1\ntotal_inactive_file 300\n")
    assert free_memory.free_bytes("cpu") == 1300


def test_a_limit_of_the_process_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    assert free_memory._process_bytes() is None
    monkeypatch.setattr(free_memory.resource, "getrlimit", lambda kind: (1 << 50, 1 << 50))
    left = free_memory._process_bytes()
    assert left is not None
    assert 0 < left < 1 << 50


@pytest.mark.parametrize(
    ("error", "short"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError("CUDA out of memory"), True),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 9 bytes"), True),
        (RuntimeError("unable to mmap 9 bytes: Cannot allocate memory (12)"), True),
        (RuntimeError("shapes cannot be multiplied"), False),
    ],
)
def test_who_says_that_memory_is_short(error: Exception, short: bool) -> None:
    assert free_memory.is_out_of_memory(error) is short


def test_what_does_not_fit_is_one_sentence(left: Path) -> None:
    free_memory.require_room("here", 499_000_000, torch.float32, "cpu")
    with pytest.raises(ModelError, match=r"^here needs 14\.0 GB as float16, and cpu has 0\.5 GB"):
        free_memory.require_room("here", 14_000_000_000, torch.float16, "cpu")


def test_nothing_is_read_of_a_checkpoint_that_does_not_fit(
    left: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mini.save(tmp_path / "pair", seed=1)
    bound(left / "box", limit="1000000001")
    monkeypatch.setattr(safetensors, "safe_open", None)
    folder = tmp_path / "pair" / "vlm"
    with pytest.raises(ModelError, match=r"GB as float32, and cpu has 0\.0 GB left"):
        family_of(folder).load_decoder(folder, torch.float32, "cpu")
    with pytest.raises(ModelError, match=r"GB as float32, and cpu has 0\.0 GB left"):
        family_of(folder).load_tower(folder, "full", torch.float32, "cpu")
