"""Reducers: LongVU's rule on frames, with and without a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from longvid.errors import ConfigError, ModelError
from longvid.methods.longvu_config import LongVUConfig
from longvid.methods.temporal_reduction import select_frames
from longvid.reduce import KeepAll, TemporalReduction, pixel_features
from longvid.testing.synthetic import make_frames
from longvid.types import FrameBatch


def shots(*lengths: int) -> FrameBatch:
    """Make frames that stand still within each shot and differ between shots."""
    batch = make_frames(sum(lengths), seed=3)
    shot = torch.arange(len(lengths)).repeat_interleave(torch.tensor(lengths))
    data = batch.data[shot]
    return FrameBatch(
        video_id=batch.video_id,
        segment_index=0,
        start_seconds=0.0,
        end_seconds=batch.end_seconds,
        data=data,
        pts_seconds=batch.pts_seconds,
        duration_seconds=batch.duration_seconds,
        slow=batch.slow,
    )


def test_keep_all_returns_the_batch() -> None:
    batch = make_frames(5)
    assert KeepAll().setup()(batch) is batch


def test_still_video_keeps_the_middle_of_every_window() -> None:
    reduced = TemporalReduction(features="pixels").setup()(shots(40))
    assert reduced.pts_seconds.tolist() == [8.0, 24.0, 36.0]


def test_frames_that_differ_from_their_window_survive() -> None:
    reduced = TemporalReduction(features="pixels").setup()(shots(14, 1, 1))
    assert reduced.pts_seconds.tolist() == [8.0, 14.0, 15.0]


def test_is_the_published_rule() -> None:
    batch = make_frames(37, seed=1)
    part = TemporalReduction(features="pixels", window=8, threshold=0.2)
    config = LongVUConfig(window=8, dino_threshold=0.2, always_reduce=True, max_frames=0)
    kept = select_frames(pixel_features(batch.data), 0, config)
    assert 5 <= len(kept) < 37
    assert torch.equal(part.setup()(batch).pts_seconds, batch.pts_seconds[kept])


def test_paper_variant_keeps_one_frame_where_all_are_alike() -> None:
    part = TemporalReduction(features="pixels", window=8, include_self=False, force_middle=False)
    assert part.setup()(shots(16)).pts_seconds.tolist() == [4.0, 12.0]


def test_pixel_features_shrink_around_grey() -> None:
    frames = torch.stack([torch.zeros(3, 32, 48), torch.full((3, 32, 48), 255)]).to(torch.uint8)
    features = pixel_features(frames)
    assert features.shape == (2, 256, 3)
    assert features[0].unique().tolist() == [-1.0]
    assert features[1].unique().tolist() == [1.0]


def test_features_of_a_checkpoint_decide(tmp_path: Path) -> None:
    from transformers import Dinov2Config, Dinov2Model

    torch.manual_seed(0)
    config = Dinov2Config(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=28, patch_size=14
    )
    Dinov2Model(config).save_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text(
        '{"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5],'
        ' "crop_size": {"height": 28, "width": 28}}'
    )
    batch = shots(5, 3)
    part = TemporalReduction(features=str(tmp_path), side=28, window=8, threshold=0.5)
    reducer = part.setup()
    features = reducer.features(batch.data)
    assert features.shape == (8, 4, 16)
    kept = select_frames(features, 0, part.rule())
    assert torch.equal(reducer(batch).pts_seconds, batch.pts_seconds[kept])


def test_missing_checkpoint_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ModelError):
        TemporalReduction(features=str(tmp_path / "nowhere")).setup()


@pytest.mark.parametrize(
    "fields",
    [{"features": ""}, {"window": 0}, {"threshold": 0.0}, {"threshold": 3.0}, {"side": -1}],
)
def test_bad_settings_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="longvu_temporal"):
        TemporalReduction(**fields)
