"""A picture that stays is encoded once, and stored as if it had been encoded each time."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import longvid
from longvid import load_config
from longvid.indexing.segment_pipeline import SegmentPipeline
from longvid.store import Store, stored_picture_times
from longvid.types import FrameBatch, Segment
from tests.unit.decode.footage import encode

SIZE = 64


def still(index: int, pts: float, *, video: str = "0" * 32, slow: bool = True) -> FrameBatch:
    generator = torch.Generator().manual_seed(int(pts))
    frame = torch.randint(0, 256, (1, 3, SIZE, SIZE), dtype=torch.uint8, generator=generator)
    return FrameBatch(
        video_id=video,
        segment_index=index,
        start_seconds=16.0 * index,
        end_seconds=16.0 * index + 16,
        data=frame,
        pts_seconds=torch.tensor([pts], dtype=torch.float64),
        duration_seconds=torch.tensor([600.0], dtype=torch.float64),
        slow=torch.tensor([slow]),
    )


class Counting(SegmentPipeline):
    count = 0

    def encode(self, batch: FrameBatch) -> Segment:
        self.count += 1
        return super().encode(batch)


def same(ours: Segment, theirs: Segment) -> bool:
    tensors = (ours.tokens.data, ours.frame_embeddings, ours.pts_seconds, ours.tokens.position)
    others = (theirs.tokens.data, theirs.frame_embeddings, theirs.pts_seconds)
    equal = all(map(torch.equal, tensors, (*others, theirs.tokens.position)))
    return equal and ours.key == theirs.key and ours.end_seconds == theirs.end_seconds


def test_each_picture_is_encoded_once() -> None:
    config = load_config("mini")
    pipeline = Counting(config, "cpu")
    batches = [still(index, 0.0) for index in range(3)] + [still(3, 7.0), still(4, 0.0)]
    batches += [still(5, 0.0, video="1" * 32), still(6, 0.0, slow=False)]
    for batch in batches:
        assert same(pipeline(batch), pipeline.encode(batch))
    assert pipeline.count == len(batches) + 4


def test_a_store_is_the_same_as_if_each_segment_were_encoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slides = encode(tmp_path / "slides.mkv", pts=[0, 100, 250_000, 500_000])  # longer than chunks
    config = load_config("mini")
    longvid.index([slides], store=tmp_path / "once", config=config)
    once = Store.open(tmp_path / "once")
    [stored] = once.videos()
    assert stored.num_segments >= 4
    times = stored_picture_times(once, stored.video.video_id)
    assert times == [0.04, 100.0, 200.0]
    assert once.verify() == []
    monkeypatch.setattr(SegmentPipeline, "__call__", SegmentPipeline.encode)
    longvid.index([slides], store=tmp_path / "each", config=config)
    assert once.digest() == Store.open(tmp_path / "each").digest()
