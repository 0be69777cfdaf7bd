"""Pixels reach a tower as its checkpoint's own processor would bring them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from longvid.errors import ModelError
from longvid.models.families import family_of
from longvid.models.preprocessing import PixelFormat
from tests.parity.shuffled_cases import SMOLVLM

MEAN, STD = [0.48, 0.45, 0.41], [0.27, 0.26, 0.28]
TABLE = {"image_mean": MEAN, "image_std": STD, "size": {"height": 20, "width": 30}}


def read(folder: Path, name: str = "preprocessor_config.json", **table: Any) -> PixelFormat:
    (folder / name).write_text(json.dumps({**TABLE, **table}))
    return PixelFormat.read(folder)


@pytest.mark.parametrize(
    ("table", "wanted"),
    [
        ({}, (20, 30, "squash")),
        ({"size": {"shortest_edge": 16}}, (16, 16, "squash")),
        ({"size": 12}, (12, 12, "squash")),
        (
            {"do_center_crop": True, "crop_size": {"height": 8, "width": 8}},
            (8, 8, "crop"),
        ),
        (
            {"do_center_crop": False, "crop_size": {"height": 8, "width": 8}},
            (20, 30, "squash"),
        ),
    ],
)
def test_size_and_fit(tmp_path: Path, table: dict[str, Any], wanted: tuple[int, int, str]) -> None:
    found = read(tmp_path, **table)
    assert (found.height, found.width, found.fit) == wanted


def test_a_video_has_numbers_of_its_own(tmp_path: Path) -> None:
    read(tmp_path)
    found = read(tmp_path, "video_preprocessor_config.json", size={"height": 6, "width": 6})
    assert found.height == 6


def test_numbers_of_a_processor_file(tmp_path: Path) -> None:
    (tmp_path / "processor_config.json").write_text(json.dumps({"image_processor": TABLE}))
    assert PixelFormat.read(tmp_path).width == 30


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ({"size": {"max_num_patches": 256}}, "states no fixed size"),
        ({"image_mean": [0.5]}, "image_mean"),
    ],
)
def test_what_cannot_be_used_is_named(tmp_path: Path, table: dict[str, Any], says: str) -> None:
    with pytest.raises(ModelError, match=says):
        read(tmp_path, **table)


def test_no_file_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no preprocessor_config\.json"):
        PixelFormat.read(tmp_path)


def test_normalize_is_the_formula(tmp_path: Path) -> None:
    frames = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16).expand(2, 3, 16, 16)
    got = read(tmp_path).normalize(frames)
    want = (frames.numpy().astype(np.float64) / 255 - np.array(MEAN)[:, None, None]) / np.array(
        STD
    )[:, None, None]
    torch.testing.assert_close(got, torch.from_numpy(want).float(), atol=1e-6, rtol=0)


def test_steps_that_a_checkpoint_leaves_out(tmp_path: Path) -> None:
    frames = torch.full((1, 3, 4, 4), 200, dtype=torch.uint8)
    scaled = read(tmp_path, do_normalize=False).normalize(frames)
    assert scaled.unique().item() == pytest.approx(200 / 255)
    bare = read(tmp_path, do_normalize=False, do_rescale=False).normalize(frames)
    assert bare.unique().item() == 200


@pytest.mark.parametrize(
    ("resample", "name", "most"), [(1, "LANCZOS", 12), (2, "BILINEAR", 4), (3, "BICUBIC", 4)]
)
@pytest.mark.parametrize("size", [(64, 48), (13, 17)])
def test_resize_is_that_of_an_image_library(
    tmp_path: Path, resample: int, name: str, most: int, size: tuple[int, int]
) -> None:
    generator = torch.Generator().manual_seed(0)
    frames = torch.randint(0, 256, (2, 3, *size), generator=generator).to(torch.uint8)
    got = read(tmp_path, resample=resample).resize(frames)
    for frame, ours in zip(frames, got, strict=True):
        picture = Image.fromarray(frame.permute(1, 2, 0).numpy())
        theirs = np.asarray(picture.resize((30, 20), Image.Resampling[name]))
        difference = np.abs(theirs.astype(int) - ours.permute(1, 2, 0).numpy().astype(int))
        # Noise is the worst case: both round between the two passes, at different precision.
        assert difference.max() <= most
        assert difference.mean() < 0.5


@pytest.mark.parametrize(("size", "between"), [((36, 64), (10, 16)), ((64, 30), (16, 8))])
def test_smolvlm_scales_the_longer_side_first_and_then_to_its_square(
    tmp_path: Path, size: tuple[int, int], between: tuple[int, int]
) -> None:
    SMOLVLM.save(tmp_path)
    edges = {"size": {"longest_edge": 16}, "max_image_size": {"longest_edge": 12}}
    table = json.dumps({**TABLE, **edges, "resample": 1})
    (tmp_path / "preprocessor_config.json").write_text(table)
    wanted = family_of(tmp_path).pixel_format(tmp_path)
    assert (wanted.height, wanted.width, wanted.fit) == (12, 12, "native")
    generator = torch.Generator().manual_seed(0)
    frame = torch.randint(0, 256, (1, 3, *size), generator=generator).to(torch.uint8)
    picture = Image.fromarray(frame[0].permute(1, 2, 0).numpy())
    for height, width in (between, (12, 12)):
        picture = picture.resize((width, height), Image.Resampling.LANCZOS)
    ours = wanted.resize(frame)[0].permute(1, 2, 0).numpy().astype(int)
    assert np.abs(np.asarray(picture).astype(int) - ours).mean() < 0.5


def test_a_frame_of_the_right_size_is_not_touched(tmp_path: Path) -> None:
    frames = torch.zeros(1, 3, 20, 30, dtype=torch.uint8)
    assert read(tmp_path).resize(frames) is frames
