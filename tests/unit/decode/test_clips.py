"""Clips cut from a video: upright, of the right shape, with boxes where and when they should be."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.frame import VideoFrame

from longvid.decode.box_drawing import draw_boxes
from longvid.decode.clips import cut_clip
from longvid.decode.pixel_conversion import orientation_of

CLIP = Path(__file__).parents[2] / "data" / "flower_bloom.mp4"
MARK = {
    "text": "flower",
    "color": "#ff0000",
    "boxes": [[1.0, 0.0, 0.2, 0.4, 0.8], [3.0, 0.4, 0.2, 0.8, 0.8]],
}


def red_columns(pixels: np.ndarray) -> list[int]:
    """Return the columns that are red over most of the box's height."""
    red = (pixels[..., 0] > 200) & (pixels[..., 1] < 60) & (pixels[..., 2] < 60)
    return np.flatnonzero(red.mean(axis=0) > 0.5).tolist()


def test_a_box_moves_evenly_between_its_pictures() -> None:
    frame = VideoFrame.from_ndarray(np.zeros((100, 200, 3), np.uint8), format="rgb24")
    drawn = draw_boxes(frame, [MARK], 2.0).to_ndarray(format="rgb24")
    columns = red_columns(drawn)
    assert (min(columns), max(columns)) == (40, 120)  # halfway: 0.2 to 0.6 of 200 pixels
    for seconds in (0.9, 3.1):
        assert draw_boxes(frame, [MARK], seconds) is frame
    assert draw_boxes(frame, [], 2.0) is frame


def test_a_clip_has_its_boxes_at_their_times(tmp_path: Path) -> None:
    whole = {**MARK, "boxes": [[0.5, 0.25, 0.0, 0.75, 1.0], [0.9, 0.25, 0.0, 0.75, 1.0]]}
    marked, plain = tmp_path / "marked.mp4", tmp_path / "plain.mp4"
    facts = cut_clip(str(CLIP), 0.0, 1.5, marked, marks=[whole])
    assert facts == cut_clip(str(CLIP), 0.0, 1.5, plain)
    with av.open(str(marked)) as first, av.open(str(plain)) as second:
        pairs = zip(first.decode(video=0), second.decode(video=0), strict=True)
        seen = []
        for frame, same in pairs:
            pixels = frame.to_ndarray(format="rgb24").astype(int)
            changed = np.abs(pixels - same.to_ndarray(format="rgb24")).mean(axis=(0, 2))
            quarter = pixels.shape[1] // 4
            seen.append((float(frame.time or 0), changed[quarter - 2 : quarter + 4].max()))
    inside = [value for time, value in seen if 0.55 < time < 0.85]
    outside = [value for time, value in seen if not 0.45 < time < 0.95]
    assert inside
    assert outside
    assert min(inside) > 10 * max(1.0, *outside)


def test_boxes_lie_upright_in_a_file_that_is_stored_rotated(tmp_path: Path) -> None:
    rotated = CLIP.parent / "edge" / "nasa_rotated.mp4"
    mark = {**MARK, "boxes": [[0.0, 0.25, 0.1, 0.75, 0.9], [1.0, 0.25, 0.1, 0.75, 0.9]]}
    marked, plain = tmp_path / "marked.mp4", tmp_path / "plain.mp4"
    facts = cut_clip(str(rotated), 0.0, 0.5, marked, marks=[mark])
    assert facts == cut_clip(str(rotated), 0.0, 0.5, plain)
    assert (facts["width"], facts["height"]) == (270, 480)
    with av.open(str(marked)) as first, av.open(str(plain)) as second:
        frame, same = next(first.decode(video=0)), next(second.decode(video=0))
    change = np.abs(frame.to_ndarray(format="rgb24").astype(int) - same.to_ndarray(format="rgb24"))
    columns, rows = change.mean(axis=(0, 2)), change.mean(axis=(1, 2))
    assert abs(int(columns[:135].argmax()) - 67) < 6  # a quarter of 270
    assert abs(int(rows[:240].argmax()) - 48) < 30  # a tenth of 480, the label beside it


@pytest.mark.parametrize("name", ["edge/nasa_rotated.mp4", "text/keyboard_rot180.mov"])
def test_a_clip_of_a_file_that_is_stored_rotated_is_upright(name: str, tmp_path: Path) -> None:
    path, target = str(CLIP.parent / name), tmp_path / "clip.mp4"
    cut_clip(path, 0.0, 0.5, target)
    with av.open(path) as source, av.open(str(target)) as clip:
        stored, cut = next(source.decode(video=0)), next(clip.decode(video=0))
    expected = orientation_of(stored).upright(stored.to_ndarray(format="rgb24"))
    pixels = cut.to_ndarray(format="rgb24")
    assert pixels.shape == expected.shape
    assert np.abs(pixels.astype(int) - expected).mean() < 8.0  # encoded once more
    assert cut.rotation == 0


def test_a_clip_keeps_the_shape_of_its_pixels(tmp_path: Path) -> None:
    path, target = tmp_path / "wide.mp4", tmp_path / "clip.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.sample_aspect_ratio = Fraction(16, 11)
        for _ in range(10):
            frame = VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    cut_clip(str(path), 0.0, 0.2, target)
    with av.open(str(target)) as clip:
        assert clip.streams.video[0].sample_aspect_ratio == Fraction(16, 11)
