"""Fitting, turning and compositing, against pictures worked out pixel by pixel."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.video.frame import VideoFrame
from PIL import Image

from longvid.decode.pixel_conversion import Painter, Placement, orientation_of, place
from longvid.types import FrameSize
from tests.unit.decode.footage import as_rgb, encode, picture


@pytest.mark.parametrize(
    ("source", "size", "aspect", "expected"),
    [
        ((720, 1280), FrameSize(224, 224, "squash"), 1.0, Placement(224, 224)),
        ((720, 1280), FrameSize(720, 1280, "native"), 1.0, Placement(720, 1280)),
        ((720, 1280), FrameSize(224, 224, "pad"), 1.0, Placement(126, 224, to_row=49)),
        (
            (1280, 720),
            FrameSize(224, 224, "pad", (0, 0, 0)),
            1.0,
            Placement(224, 126, to_column=49),
        ),
        (
            (720, 1280),
            FrameSize(224, 224, "crop", (0, 0, 0)),
            1.0,
            Placement(224, 398, from_column=87),
        ),
        ((576, 720), FrameSize(90, 160, "pad", (0, 0, 0)), 64 / 45, Placement(90, 160)),
        ((1, 4000), FrameSize(10, 10, "pad"), 1.0, Placement(1, 10, to_row=4)),
    ],
)
def test_placement(
    source: tuple[int, int], size: FrameSize, aspect: float, expected: Placement
) -> None:
    assert place(*source, aspect, size) == expected


def painted(frame: VideoFrame, size: FrameSize) -> np.ndarray[Any, Any]:
    out = np.full((3, size.height, size.width), 99, np.uint8)
    Painter(size, 1.0).paint(frame, out)
    return out.transpose(1, 2, 0)


def test_pad_centres_the_picture_on_the_fill() -> None:
    frame = VideoFrame.from_ndarray(picture(0, 40, 80), format="rgb24")
    out = painted(frame, FrameSize(50, 50, "pad", (1, 2, 3)))
    assert (out[:12] == (1, 2, 3)).all()
    assert (out[37:] == (1, 2, 3)).all()
    assert (out[12:37] == as_rgb(frame, 25, 50)).all()


def test_crop_keeps_the_centre() -> None:
    frame = VideoFrame.from_ndarray(picture(0, 40, 80), format="rgb24")
    out = painted(frame, FrameSize(20, 20, "crop", (0, 0, 0)))
    assert (out == as_rgb(frame, 20, 40)[:, 10:30]).all()


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuvj420p", "yuv444p", "yuv420p10le", "gray"])
@pytest.mark.parametrize("size", [(33, 47), (96, 128), (100, 31)])
def test_one_pass_equals_a_plain_reformat(pix_fmt: str, size: tuple[int, int]) -> None:
    drawn = VideoFrame.from_ndarray(picture(3), format="rgb24").reformat(format=pix_fmt)
    for colorspace, color_range in itertools.product((1, 2, 5), (0, 1, 2)):
        drawn.colorspace, drawn.color_range = colorspace, color_range
        out = painted(drawn, FrameSize(*size, "squash", (0, 0, 0)))
        assert (out == as_rgb(drawn, *size)).all()


def by_matrix(stored: np.ndarray[Any, Any], matrix: list[int]) -> np.ndarray[Any, Any]:
    """Send every stored pixel (x, y) to (a x + c y, b x + d y), shifted into view."""
    a, b, c, d = (round(value / 65536) for value in (matrix[0], matrix[1], matrix[3], matrix[4]))
    rows, columns = np.mgrid[: stored.shape[0], : stored.shape[1]]
    x, y = a * columns + c * rows, b * columns + d * rows
    x, y = x - x.min(), y - y.min()
    turned = np.zeros((y.max() + 1, x.max() + 1, 3), np.uint8)
    turned[y, x] = stored
    return turned


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
@pytest.mark.parametrize("horizontal", [False, True])
@pytest.mark.parametrize("vertical", [False, True])
def test_every_turn_and_mirror(
    tmp_path: Path, degrees: int, horizontal: bool, vertical: bool
) -> None:
    path = encode(tmp_path / "turned.mp4", 2, rotation=(degrees, horizontal, vertical))
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
    side_data: Any = frame.side_data
    matrix = [0x10000, 0, 0, 0, 0x10000]
    if "DISPLAYMATRIX" in [item.type.name for item in side_data]:
        matrix = np.frombuffer(bytes(side_data["DISPLAYMATRIX"]), np.int32)[:5].tolist()
    height, width = orientation_of(frame).shape(frame.height, frame.width)
    stored = frame.reformat(format="rgb24", interpolation="BICUBIC").to_ndarray()
    out = painted(frame, FrameSize(height, width, "native", (0, 0, 0)))
    assert (out == by_matrix(stored, matrix)).all()
    if (degrees, horizontal, vertical) not in ((0, False, False), (180, True, True)):
        assert out.shape != stored.shape or (out != stored).any()


def first_frame(path: Path) -> VideoFrame:
    with av.open(str(path)) as container:
        return next(container.decode(video=0))


def test_a_mirror_that_comes_later_without_a_turn(tmp_path: Path) -> None:
    """The angle of a picture that is upside down, but not turned, is 0 as well."""
    plain = first_frame(encode(tmp_path / "plain.mp4", 1))
    flipped = first_frame(encode(tmp_path / "flipped.mp4", 1, rotation=(0, False, True)))
    assert plain.rotation == flipped.rotation == 0
    painter = Painter(FrameSize(96, 128), 1.0)
    found = np.empty((3, 3, 96, 128), np.uint8)
    for frame, out in zip((plain, flipped, plain), found, strict=True):
        painter.paint(frame, out)
    assert (found[0] == found[2]).all()
    assert (found[1] == found[0][:, ::-1]).all()


def test_a_picture_with_transparency_is_turned_too(tmp_path: Path) -> None:
    path = encode(
        tmp_path / "turned.mov", 1, codec="png", pix_fmt="rgba", rotation=(90, False, False)
    )
    out = painted(first_frame(path), FrameSize(128, 96))
    assert (out == np.rot90(picture(0))).all()


class _SideDataUnknown:
    """A frame whose side data PyAV refuses as a whole."""

    def __init__(self, frame: VideoFrame) -> None:
        self.rotation = frame.rotation

    @property
    def side_data(self) -> None:
        raise ValueError("29 is not a valid Type")


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_a_turn_is_known_without_side_data(tmp_path: Path, degrees: int) -> None:
    path = encode(tmp_path / "turned.mp4", 1, rotation=(degrees, False, False))
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
    unknown: Any = _SideDataUnknown(frame)
    assert orientation_of(unknown) == orientation_of(frame)


def test_transparency_shows_black(tmp_path: Path) -> None:
    # Left half red, right half transparent, in two frames.
    pixels = np.zeros((20, 40), np.uint8)
    pixels[:, :20] = 1
    images = []
    for _ in range(2):
        image = Image.fromarray(pixels, "P")
        image.putpalette([10, 200, 30, 250, 0, 0])
        images.append(image)
    path = tmp_path / "clear.gif"
    images[0].save(path, save_all=True, append_images=images[1:], transparency=0, duration=100)
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
    assert any(component.is_alpha for component in frame.format.components)
    out = painted(frame, FrameSize(20, 40, "native", (0, 0, 0)))
    assert (out[:, :20] == (250, 0, 0)).all()
    assert (out[:, 20:] == 0).all()


def test_half_transparency_is_halved() -> None:
    rgba = np.zeros((8, 8, 4), np.uint8)
    rgba[..., 0], rgba[..., 3] = 200, 128
    out = painted(
        VideoFrame.from_ndarray(rgba, format="rgba"), FrameSize(8, 8, "native", (9, 9, 9))
    )
    assert (out == (100, 0, 0)).all()
