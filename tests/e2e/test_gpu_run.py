"""The run that needs a GPU, rehearsed; and how the compressors are measured."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from benchmarks import gpu
from benchmarks.__main__ import main as benchmarks


def test_every_step_can_be_rehearsed(capsys: pytest.CaptureFixture[str]) -> None:
    assert gpu.main(["--dry-run"]) == 0
    printed = capsys.readouterr().out
    for words in (
        "first token",
        "frames/s",
        "flashvid",
        "FAISS",
        "GB/s",
        "with torchcodec",
        "doctor",
        "llm.attention=eager, loading included",
        "llm.bits",
    ):
        assert words in printed


def test_without_a_gpu_it_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    assert gpu.main([]) == 2
    assert "sees no GPU here" in capsys.readouterr().err


def test_compressors_are_measured_beside_their_authors(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    command = "speed compress --frames 16 --side 5 --width 32 --repeats 1 --json"
    assert benchmarks([*command.split(), str(path)]) == 0
    rows = json.loads(path.read_text())["rows"]
    kept: dict[str, set[float]] = {}
    for row in rows:
        if row["metric"] == "tokens kept" and "float32" in row["task"]:
            kept.setdefault(row["task"], set()).add(row["value"])
    # Both sides run one algorithm: they keep equally many tokens of the same video.
    assert len(kept) == 5
    assert all(len(counts) == 1 for counts in kept.values())
    overlaps = {row["subject"]: row["value"] for row in rows if row["unit"] == "%"}
    assert set(overlaps) == {"evs", "vidcom2", "vcast", "dtd", "flashvid"}
    assert all(0 < value <= 100 for value in overlaps.values())
