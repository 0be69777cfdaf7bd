"""Frames resized by Pillow: equal to what the authors' image processors make of real frames."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image

from longvid.config import load_config
from longvid.decode.pyav import PyAVDecoder
from longvid.encode.huggingface import HuggingFaceEncoder
from longvid.errors import ConfigError
from longvid.models.preprocessing import PixelFormat
from longvid.types import Chunk, FrameBatch, FrameSize, SegmentPlan

CLIPS = ("bottles_40s.mp4", "sign_book_640x480.mkv", "stream_title_vfr_vp8.webm")
WANTED = PixelFormat(224, 224, "squash", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


def authors_frame(path: Path, fit: str) -> np.ndarray:
    """Return the first frame as RGB, resized by Pillow with the authors' arithmetic."""
    with av.open(str(path)) as container:
        picture = next(container.decode(video=0)).to_image()
    if fit == "squash":
        return np.asarray(picture.resize((224, 224), Image.Resampling.BICUBIC))
    width, height = picture.size
    short = min(width, height)
    picture = picture.resize(
        (int(224 * width / short), int(224 * height / short)), Image.Resampling.BICUBIC
    )
    left, top = (picture.width - 224) // 2, (picture.height - 224) // 2
    return np.asarray(picture.crop((left, top, left + 224, top + 224)))


@pytest.mark.parametrize("fit", ["squash", "crop"])
@pytest.mark.parametrize("name", CLIPS)
def test_pixels_of_real_clips_equal_pillow(data: Path, name: str, fit: str) -> None:
    decoder = PyAVDecoder(size=FrameSize(fit="native")).setup()
    try:
        video = decoder.probe(str(data / name))
        start = video.start_seconds
        plan = SegmentPlan(0, start, video.end_seconds, (start,), (True,))
        (batch,) = [b for b in decoder.decode(Chunk(video, (plan,))) if isinstance(b, FrameBatch)]
    finally:
        decoder.close()
    ours = WANTED.resize_with_pillow(batch.data[:1], fit)[0].permute(1, 2, 0).numpy()
    theirs = authors_frame(data / name, fit)
    assert np.abs(ours.astype(int) - theirs.astype(int)).mean() == 0


def test_a_new_setting_at_its_default_changes_no_fingerprint() -> None:
    config = load_config("mini")
    assert isinstance(config.encoder, HuggingFaceEncoder)
    changed = dataclasses.replace(config.encoder, resize="pillow")
    assert config.fingerprint() != dataclasses.replace(config, encoder=changed).fingerprint()
    assert changed.frame_size().fit == "native"
    with pytest.raises(ConfigError, match="use swscale or pillow"):
        dataclasses.replace(config.encoder, resize="opencv")
    with pytest.raises(ConfigError, match=r"encoder\.fit"):
        dataclasses.replace(config.encoder, resize="pillow", fit="pad")


def test_frames_of_one_size_keep_their_order() -> None:
    frames = torch.arange(4, dtype=torch.uint8).view(4, 1, 1, 1).expand(4, 3, 10, 20).contiguous()
    resized = WANTED.resize_with_pillow(frames, "crop")
    assert resized.shape == (4, 3, 224, 224)
    assert [int(frame.max()) for frame in resized] == [0, 1, 2, 3]
