"""A video indexed in chunks, side by side, is the video indexed from start to end, bit for bit."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
import torch

from benchmarks.speed.stand_ins import stand_in_config
from longvid.decode.pyav import PyAVDecoder
from longvid.indexing.local_runner import run_local
from longvid.store import Store
from longvid.types import Segment

_WHOLE = 1_000_000


@pytest.fixture(scope="module")
def half_an_hour(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A film of 30 minutes, no two frames alike, whose key frames lie elsewhere than its chunks."""
    path = tmp_path_factory.mktemp("film") / "half_an_hour.mp4"
    random = np.random.default_rng(20_261_121)
    picture = random.integers(0, 255, (8, 12, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=2, options={"preset": "ultrafast", "bf": "2"})
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = 96, 64, "yuv420p", 27
        for shift in range(2 * 1800):
            moved = np.roll(picture, (shift // 96, shift), (0, 1))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(moved, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def index(video: Path, store: Path, chunk_segments: int, workers: int, fps: float) -> Store:
    """Decode really, and encode by what depends on every pixel."""
    config = stand_in_config(
        f"sample.fps={fps}",
        f"sample.chunk_segments={chunk_segments}",
        f"run.decode_workers={workers}",
        decoder=PyAVDecoder(),
    )
    report = run_local([str(video)], str(store), config)
    assert not report.failures
    return Store.open(store)


def segments(store: Store) -> list[Segment]:
    (stored,) = store.videos()
    return store.load([(stored.video.video_id, i) for i in range(stored.num_segments)])


def assert_chunks_change_nothing(video: Path, folder: Path, chunk_segments: int, fps: float) -> int:
    """Compare three ways of indexing; return how many chunks there were."""
    side_by_side = index(video, folder / "many", chunk_segments, 2, fps)
    in_turn = index(video, folder / "one", chunk_segments, 1, fps)
    assert side_by_side.digest() == in_turn.digest()
    whole = segments(index(video, folder / "whole", _WHOLE, 1, fps))
    cut = segments(side_by_side)
    assert len(cut) == len(whole)
    for ours, theirs in zip(cut, whole, strict=True):
        assert ours.segment_index == theirs.segment_index
        assert (ours.start_seconds, ours.end_seconds) == (theirs.start_seconds, theirs.end_seconds)
        for name in ("pts_seconds", "slow", "frame_embeddings"):
            assert torch.equal(getattr(ours, name), getattr(theirs, name)), name
        for name in ("data", "frame", "position", "size"):
            assert torch.equal(getattr(ours.tokens, name), getattr(theirs.tokens, name)), name
    return -(-len(cut) // chunk_segments)


def test_a_film_of_half_an_hour(half_an_hour: Path, tmp_path: Path) -> None:
    assert assert_chunks_change_nothing(half_an_hour, tmp_path, 4, 1.0) >= 28


# Irregular times, and VP8 with frames that are never shown.
@pytest.mark.parametrize("clip", ["bbb_bird_vfr.mp4", "stream_title_vfr_vp8.webm"])
def test_real_clips(clip: str, data: Path, tmp_path: Path) -> None:
    assert assert_chunks_change_nothing(data / clip, tmp_path, 1, 4.0) >= 2
