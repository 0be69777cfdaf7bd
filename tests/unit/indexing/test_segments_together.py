"""Compressors that see several segments together while a video is indexed."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.speed.stand_ins import stand_in_config
from longvid.compress.ranking import EfficientVideoSampling, VCast
from longvid.compress.token_merging import TokenMerging
from longvid.compress.whole_video import compress_video, groups_of
from longvid.config import Config
from longvid.decode.pyav import PyAVDecoder
from longvid.errors import ConfigError, OpError
from longvid.indexing.local_runner import run_local
from longvid.indexing.segment_pipeline import SegmentPipeline
from longvid.store import Store
from longvid.testing.synthetic import make_segment
from longvid.types import Segment, Video


def config(compressors: tuple[Any, ...], *changes: str) -> Config:
    settings = ("sample.fps=1", "sample.segment_frames=4", "store.tokens=float32", *changes)
    made = stand_in_config(*settings, decoder=PyAVDecoder())
    return dataclasses.replace(made, compressors=compressors)


def indexed(data: Path, store: Path, made: Config) -> list[Segment]:
    report = run_local([str(data / "bottles_40s.mp4")], str(store), made)
    assert not report.failures
    opened = Store.open(store)
    (stored,) = opened.videos()
    return opened.load([(stored.video.video_id, i) for i in range(stored.num_segments)])


@pytest.mark.parametrize("chunk_segments", [3, 6])
def test_groups_are_compressed_as_one_whatever_the_chunks(
    chunk_segments: int, data: Path, tmp_path: Path
) -> None:
    part = EfficientVideoSampling(ratio=0.5, num_segments=3)
    behind = TokenMerging(unit="ratio", amount=0.5)  # sees what they leave, one by one
    chunks = f"sample.chunk_segments={chunk_segments}"
    found = indexed(data, tmp_path / "together", config((part, behind), chunks))
    whole = indexed(data, tmp_path / "whole", config((), chunks))
    assert len(whole) > 6
    want = [
        behind.setup()(one) for group in groups_of(whole, 3) for one in compress_video(part, group)
    ]
    assert [len(one.tokens) for one in found] == [len(one.tokens) for one in want]
    for one, other in zip(found, want, strict=True):
        # Merged before they are written, and here behind what was written.
        torch.testing.assert_close(one.tokens.data, other.tokens.data, atol=0.1, rtol=0)
        assert torch.equal(one.tokens.frame, other.tokens.frame)
    # A segment alone keeps its first frame whole; in a group only the first of them does.
    alone = sum(len(part.setup()(one).tokens) for one in whole[:3])
    assert {len(one.tokens) for one in compress_video(part, whole[:3])} != {alone // 3}


def test_a_chunk_holds_whole_groups() -> None:
    with pytest.raises(ConfigError, match=r"sees 3 segments together.*chunk_segments = 4"):
        config((VCast(num_segments=3),), "sample.chunk_segments=4")
    with pytest.raises(ConfigError, match=r"vcast\.num_segments must be at least 1, got 0"):
        VCast(num_segments=0)


def test_a_group_changes_the_fingerprint_and_one_segment_does_not() -> None:
    settings = "sample.chunk_segments=4"
    plain, single, pairs = (
        config((part,), settings)
        for part in (VCast(), VCast(num_segments=1), VCast(num_segments=2))
    )
    assert plain.fingerprint() == single.fingerprint() != pairs.fingerprint()


def test_a_group_that_is_refused_is_a_gap() -> None:
    pipeline = SegmentPipeline(config((VCast(num_segments=2),), "sample.chunk_segments=4"), "cpu")
    segments = [make_segment(2, 3, 3, segment_index=i) for i in range(4)]
    data = segments[1].tokens.data.clone()
    data[0] = float("nan")
    tokens = dataclasses.replace(segments[1].tokens, data=data)
    segments[1] = segments[1].with_tokens(tokens)
    video = Video("/clip.mp4", segments[0].video_id, 0.0, 3.0, 1.0, 3, 8, 8)
    kept, gaps = pipeline.finish_chunk(video, segments)
    assert [one.segment_index for one in kept] == [2, 3]
    assert len(gaps) == 2
    assert all("vcast" in gap.error and gap.stage == "encode" for gap in gaps)
    with pytest.raises(OpError):
        compress_video(VCast(), segments[:2])
