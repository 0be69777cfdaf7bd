"""Files that once gave wrong, lost or no pictures, each with its right values."""

from __future__ import annotations

from pathlib import Path

import pytest

from longvid.decode import PyAVDecoder
from longvid.types import Failure, FrameBatch, FrameSize
from tests.unit.decode.footage import all_frames, as_rgb, decoded, encode, failures, one_segment

SIZE = FrameSize(48, 64)
EXACT = PyAVDecoder(size=SIZE, isolate=False)


@pytest.fixture(scope="module")
def cases(data: Path) -> Path:
    return data / "cases"


def test_side_data_that_pyav_does_not_know_are_no_error(cases: Path) -> None:
    path = cases / "stereo_spatial_mvhevc.mp4"
    reference = list(all_frames(path))
    decoder = EXACT.setup()
    video = decoder.probe(str(path))
    assert (video.num_frames, video.width, video.height) == (10, 160, 120)
    found = decoded(decoder.decode(one_segment(video, [pts for pts, _ in reference])))
    assert len(found) == 10
    for pts, frame in reference:
        assert (found[pts] == as_rgb(frame, SIZE.height, SIZE.width)).all()


def test_a_strip_that_would_be_scaled_to_millions_of_columns_is_too_large(tmp_path: Path) -> None:
    path = encode(tmp_path / "wide.mkv", 2, codec="ffv1", size=(2, 65_000))
    for fit in ("squash", "pad", "native"):
        decoder = PyAVDecoder(size=FrameSize(48, 64, fit), isolate=False).setup()
        video = decoder.probe(str(path))
        (batch,) = decoder.decode(one_segment(video, [0.0]))
        assert isinstance(batch, FrameBatch)
    with PyAVDecoder(size=FrameSize(48, 64, "crop")).setup() as decoder:
        (failure,) = decoder.decode(one_segment(decoder.probe(str(path)), [0.0]))
    assert isinstance(failure, Failure)
    assert failure.kind == "too-large"
    assert failure.error.startswith(f"{path}: frames of 65000x2 would be scaled to 1560000x48")
    assert failures([failure]) == [failure]
