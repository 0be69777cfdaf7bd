"""Files that once gave wrong, lost or no pictures, each with its right values."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from longvid.decode import PyAVDecoder
from longvid.store.manifest import Manifest, parse_manifest
from longvid.types import Failure, FrameBatch, FrameSize, Video
from tests.unit.decode.footage import all_frames, as_rgb, decoded, encode, failures, one_segment

SIZE = FrameSize(48, 64)
EXACT = PyAVDecoder(size=SIZE, isolate=False)


@pytest.fixture(scope="module")
def cases(data: Path) -> Path:
    return data / "cases"


def pictures(path: Path) -> list[np.ndarray[Any, Any]]:
    """Decode everything from the start, in the decoder's order of display."""
    with av.open(str(path), metadata_errors="ignore") as container:
        return [
            as_rgb(frame, SIZE.height, SIZE.width)
            for frame in container.decode(video=0)
            if not frame.is_corrupt
        ]


def at_rate(path: Path, fps: float) -> tuple[Video, dict[float, np.ndarray[Any, Any]]]:
    """Probe a file and decode it at a rate, in several segments."""
    decoder = EXACT.setup()
    video = decoder.probe(str(path))
    count = round(video.duration_seconds * fps)
    times = [video.start_seconds + index / fps for index in range(count)]
    items = list(decoder.decode(one_segment(video, times, parts=min(3, count))))
    decoder.close()
    assert not failures(items)
    return video, decoded(items)


def test_packed_pictures_are_decoded_in_sequence(cases: Path) -> None:
    every = pictures(cases / "xvid_packed_small.avi")
    assert len(every) == 148
    video, found = at_rate(cases / "xvid_packed_small.avi", 1.0)
    assert (video.num_frames, len(found)) == (148, 6)
    for pts, data in found.items():
        rank = round((pts - video.start_seconds) * 25)
        assert (data == every[rank]).all(), pts


def test_a_palette_in_the_first_packet_reaches_every_picture(cases: Path) -> None:
    video, found = at_rate(cases / "imagej_gray8.avi", 25.0)
    assert video.num_frames == 30
    means = [found[pts].mean() for pts in found if round(pts * 25) in (0, 7, 15, 22)]
    assert means == pytest.approx([135.2, 147.2, 130.5, 114.2], abs=0.1)


@pytest.mark.parametrize("name", ["ts_concat_restart.ts", "ts_jump_20h.ts"])
def test_a_clock_that_starts_again_or_jumps_is_carried_on(cases: Path, name: str) -> None:
    every = pictures(cases / name)
    video, found = at_rate(cases / name, 25.0)
    assert video.num_frames == len(every) == len(found) == 150
    ((at, jump),) = video.clock_jumps
    assert (at, jump) == (
        pytest.approx(video.start_seconds + 3.0),
        pytest.approx(-3.0 if "restart" in name else 20 * 3600.0 - 3.08, abs=0.2),
    )
    manifest = Manifest(video=video, chunks=(), gaps=(), source_bytes=1)
    assert parse_manifest(manifest.to_json(), video.video_id).video == replace(video, path="")
    assert video.duration_seconds == pytest.approx(6.0)
    for data, picture in zip(found.values(), every, strict=True):
        assert (data == picture).all()
    _, sparse = at_rate(cases / name, 2.0)
    assert all((sparse[pts] == found[pts]).all() for pts in sparse)


def test_times_of_days_are_no_footage(cases: Path) -> None:
    for name in ("days11.mkv", "days12.mkv"):
        video, found = at_rate(cases / name, 1.0)
        assert (video.num_frames, video.duration_seconds) == (3, pytest.approx(2.1))
        assert list(found) == [0.0, 1.0]
    decoder = EXACT.setup()
    path = cases / "one_bit_two_million_seconds.flv"
    video = decoder.probe(str(path))
    assert (video.num_frames, video.duration_seconds) == (40, pytest.approx(4.0))
    items = list(decoder.decode(one_segment(video, [index / 10 for index in range(40)], parts=4)))
    found = decoded(items)
    assert failures(items)
    assert {1.6, 3.2} <= {round(pts, 3) for pts in found}  # those whose times are wrong
    reference = {round(pts, 3): frame for pts, frame in all_frames(path)}
    for pts, data in found.items():
        if round(pts, 3) not in (1.6, 3.2):
            frame = reference.get(round(pts, 3))
            assert frame is None or (data == as_rgb(frame, SIZE.height, SIZE.width)).all()


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
