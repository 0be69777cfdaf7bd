"""The local runner with short real clips: what ends a run, and what is one failure."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import longvid
from longvid.config import load_config
from longvid.errors import ConfigError
from longvid.indexing.local_runner import run_local
from longvid.sample import Sampling, try_plan_chunks
from longvid.store import Store
from longvid.types import Failure, Video


def test_a_decoder_that_cannot_be_used_is_one_sentence_and_leaves_no_store(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("longvid.decode.torchcodec.why_no_torchcodec", lambda: "No torchcodec.")
    config = load_config("mini", ["decoder.name=torchcodec"])
    with pytest.raises(ConfigError, match=r"^No torchcodec\.$"):
        longvid.index(data / "flower_bloom.mp4", store=tmp_path / "store", config=config)
    assert not (tmp_path / "store").exists()


def test_one_name_or_path_is_one_video(data: Path, tmp_path: Path) -> None:
    clip = data / "flower_bloom.mp4"
    assert longvid.index(str(clip), store=tmp_path / "store").videos_indexed == 1
    assert longvid.index(clip, store=tmp_path / "store").videos_skipped == 1


def test_a_video_that_cannot_be_planned_is_one_failure(data: Path, tmp_path: Path) -> None:
    config = load_config("mini", ["sample.max_frames=20"])
    clips = [str(data / "bottles_40s.mp4"), str(data / "flower_bloom.mp4")]
    report = run_local(clips, str(tmp_path / "store"), config)
    assert (report.videos_indexed, report.videos_failed) == (1, 1)
    (failure,) = Store.open(tmp_path / "store").failures()
    assert (failure.path, failure.stage, failure.kind) == (clips[0], "probe", "too-large")
    assert "max_frames = 20" in failure.error


@pytest.mark.parametrize("grid", ["fps", "midpoints", "step"])
@pytest.mark.parametrize(
    "changes",
    [
        {"duration_seconds": 1e300},
        {"start_seconds": 1e300},
        {"average_fps": 1e308},
        {"duration_seconds": -5.0},
    ],
    ids=str,
)
def test_planning_never_raises(grid: str, changes: dict[str, float]) -> None:
    sound = Video("clip.mp4", "a" * 32, 0.0, 10.0, 25.0, 250, 8, 8)
    chunks = try_plan_chunks(replace(sound, **changes), Sampling(grid=grid))  # type: ignore[arg-type]  # names of fields
    assert chunks if not isinstance(chunks, Failure) else "clip.mp4" in chunks.error
