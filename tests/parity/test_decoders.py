"""Every decoder gives the frames of a plain decode of everything: same times, same pixels.

PyAV's default decoder must equal it in every pixel. Other libraries make RGB before they scale, so
they are compared at the stored size, where most clips are equal in every pixel too.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from av.video.frame import VideoFrame

from longvid.decode import DecordDecoder, PyAVDecoder, TorchcodecDecoder, available_decoders
from longvid.decode.pixel_conversion import Painter
from longvid.errors import VideoError
from longvid.types import FrameBatch, FrameSize, Video
from tests.conftest import DATA, require
from tests.unit.decode.footage import (
    all_frames,
    as_rgb,
    decoded,
    encode,
    failures,
    one_segment,
)

CLIPS = sorted(
    str(path.relative_to(DATA))
    for path in DATA.rglob("*")
    if path.suffix in (".mp4", ".mkv", ".webm", ".mov", ".avi") and path.parent.name != "cases"
)
WHOLE = [clip for clip in CLIPS if "corrupted" not in clip]
SHORT = [clip for clip in WHOLE if (DATA / clip).stat().st_size < 700_000]


def wanted_times(video: Video, count: int, seed: int) -> list[float]:
    """Draw times of the whole video, a little before and after it too."""
    drawn = np.random.default_rng(seed).uniform(-0.1, video.duration_seconds + 0.1, count)
    return sorted((video.start_seconds + drawn).tolist())


def reference(path: Path, times: list[float], height: int, width: int) -> dict[float, Any]:
    """Keep of all frames those on display at the wanted times: pts_seconds -> (H, W, 3)."""
    found: dict[float, Any] = {}
    waiting = list(times)
    before = None
    for pts, frame in all_frames(path):
        while waiting and before is not None and waiting[0] + 1e-6 < pts:
            found[before[0]] = before[1]
            waiting.pop(0)
        before = (pts, frame)
    if waiting and before is not None:
        found[before[0]] = before[1]
    return {pts: as_rgb(frame, height, width) for pts, frame in found.items()}


@pytest.fixture(scope="module")
def pyav() -> Any:
    """The default decoder at a size that no clip has."""
    with PyAVDecoder(size=FrameSize(54, 96)).setup() as decoder:
        yield decoder


@pytest.mark.parametrize("clip", WHOLE)
def test_pyav_equals_decoding_everything(clip: str, pyav: Any) -> None:
    video = pyav.probe(str(DATA / clip))
    times = wanted_times(video, 14, seed=5)
    items = list(pyav.decode(one_segment(video, times, parts=3)))
    assert not failures(items)
    expected = reference(DATA / clip, times, 54, 96)
    found = decoded(items)
    assert list(found) == list(expected)
    for pts, pixels in expected.items():
        assert (found[pts] == pixels).all(), f"{clip} at {pts}"


@pytest.mark.parametrize("clip", SHORT)
def test_probing_counts_what_decoding_gives(clip: str, pyav: Any) -> None:
    video = pyav.probe(str(DATA / clip))
    frames = list(all_frames(DATA / clip))
    assert video.num_frames == len(frames)
    assert video.start_seconds == frames[0][0]
    assert 0 < video.end_seconds - frames[-1][0] < 1.0
    upright = frames[0][1].rotation % 180 == 0
    size = (frames[0][1].height, frames[0][1].width)
    assert (video.height, video.width) == (size if upright else size[::-1])


@pytest.mark.parametrize("clip", SHORT)
def test_the_plan_equals_its_slow_twin(clip: str) -> None:
    results = []
    for plan in (True, False):
        decoder = PyAVDecoder(size=FrameSize(20, 30, "pad"), plan=plan, isolate=False).setup()
        video = decoder.probe(str(DATA / clip))
        results.append(decoded(decoder.decode(one_segment(video, wanted_times(video, 9, seed=2)))))
        decoder.close()
    assert list(results[0]) == list(results[1])
    assert all((results[0][pts] == results[1][pts]).all() for pts in results[0])


def test_the_child_equals_this_process(pyav: Any) -> None:
    inside = PyAVDecoder(size=FrameSize(54, 96), isolate=False).setup()
    path = str(DATA / "bbb_rabbit_5s.mp4")
    video = pyav.probe(path)
    assert inside.probe(path) == video
    chunk = one_segment(video, wanted_times(video, 10, seed=1), parts=2)
    for ours, theirs in zip(pyav.decode(chunk), inside.decode(chunk), strict=True):
        assert isinstance(ours, FrameBatch)
        assert isinstance(theirs, FrameBatch)
        for name in ("data", "pts_seconds", "duration_seconds", "slow"):
            assert (getattr(ours, name) == getattr(theirs, name)).all(), name
    inside.close()


# decord cannot read these: it counts other frames than there are, or knows no AV1.
NOT_FOR_DECORD = ("stream_title", "av1")


@pytest.fixture(scope="module", params=[DecordDecoder, TorchcodecDecoder])
def other(request: pytest.FixtureRequest) -> Any:
    """A decoder of another library, at the stored size, in one child for all clips."""
    name = request.param.__name__.removesuffix("Decoder").lower()
    reason = available_decoders()[name]
    if reason:
        require(name, reason)
    with request.param(size=FrameSize(fit="native")).setup() as decoder:
        yield name, decoder


@pytest.mark.parametrize("clip", SHORT)
def test_other_libraries_agree(clip: str, other: Any) -> None:
    name, decoder = other
    if name == "decord" and any(word in clip for word in NOT_FOR_DECORD):
        pytest.skip("decord cannot read it")
    video = decoder.probe(str(DATA / clip))
    times = wanted_times(video, 4, seed=3)
    items = list(decoder.decode(one_segment(video, times)))
    assert not failures(items)
    expected = reference(DATA / clip, times, video.height, video.width)
    found = decoded(items)
    assert list(found) == list(expected)
    for pts, pixels in expected.items():
        difference = np.abs(found[pts].astype(int) - pixels)
        # Odd sizes and 10 bits depend on the library's FFmpeg; all else is exact.
        exact = not any(word in clip for word in ("vp9_odd", "hdr10"))
        assert difference.mean() < (1e-9 if exact else 1.5), f"{clip} at {pts}"


OPEN_GROUPS = {
    "libx264": {"x264-params": "keyint=10:open-gop=1:bframes=3"},
    "libx265": {"x265-params": "keyint=10:min-keyint=10:open-gop=1:bframes=3:log-level=none"},
    "mpeg4": {"g": "10", "bf": "2"},
}


@pytest.mark.parametrize("codec", OPEN_GROUPS)
def test_other_libraries_find_a_frame_in_open_groups(
    codec: str, other: Any, tmp_path: Path
) -> None:
    path = encode(tmp_path / "open.mp4", 40, codec=codec, options=OPEN_GROUPS[codec])
    frames = {pts: as_rgb(frame, 96, 128) for pts, frame in all_frames(path)}
    _, decoder = other
    video = decoder.probe(str(path))
    for ranks in (range(0, 40, 3), [31], [9, 17]):  # each begins anew, the last two go back
        times = [list(frames)[rank] for rank in ranks]
        found = decoded(decoder.decode(one_segment(video, times)))
        assert list(found) == times
        for pts in times:
            assert (found[pts] == frames[pts]).all(), pts


@pytest.mark.parametrize("ending", ["mpg", "ts"])
def test_other_libraries_find_a_frame_in_streams_without_an_index(
    ending: str, other: Any, tmp_path: Path
) -> None:
    codec = "mpeg2video" if ending == "mpg" else "libx264"
    path = encode(tmp_path / f"clip.{ending}", 60, codec=codec, options={"g": "12", "bf": "2"})
    frames = {pts: as_rgb(frame, 96, 128) for pts, frame in all_frames(path)}
    name, decoder = other
    if ending == "ts" or name == "torchcodec":
        with pytest.raises(VideoError, match=f"cannot be read by {name}") as caught:
            decoder.probe(str(path))
        assert caught.value.kind == "unsupported"
        return
    video = decoder.probe(str(path))
    for ranks in (range(0, 60, 7), [40], [9, 26]):
        times = [list(frames)[rank] for rank in ranks]
        found = decoded(decoder.decode(one_segment(video, times)))
        assert list(found) == times
        for pts in times:
            assert (found[pts] == frames[pts]).all(), pts


def test_other_libraries_make_rgb_at_full_size_and_scale_it(other: Any, pyav: Any) -> None:
    name, _ = other
    path = str(DATA / "edge" / "h264_nonzero_start.mp4")
    video = pyav.probe(path)
    chunk = one_segment(video, wanted_times(video, 3, seed=3))
    make = DecordDecoder if name == "decord" else TorchcodecDecoder
    with make(size=FrameSize(54, 96)).setup() as decoder:
        found = decoded(decoder.decode(chunk))
    default = decoded(pyav.decode(chunk))
    expected = np.empty((3, 54, 96), np.uint8)
    for pts, frame in all_frames(path):
        if pts not in found:
            continue
        pixels = as_rgb(frame, frame.height, frame.width)
        painter = Painter(FrameSize(54, 96), 1.0)
        painter.paint(VideoFrame.from_ndarray(pixels, format="rgb24"), expected)
        assert (found[pts] == expected.transpose(1, 2, 0)).all()
        # The default interpolates colour instead of repeating it: more than rounding.
        difference = np.abs(found[pts].astype(int) - default[pts])
        assert 1.5 < difference.mean() < 4
    assert list(found) == list(default)


def test_what_is_damaged_is_a_gap_and_the_rest_is_exact(pyav: Any) -> None:
    path = DATA / "edge" / "h264_corrupted_mid.mp4"
    video = pyav.probe(str(path))
    times = [index * 0.1 for index in range(50)]
    items = list(pyav.decode(one_segment(video, times, parts=5)))
    # Two frames are lost; those after them, which refer to them, are kept and may show it.
    gaps = failures(items)
    assert {gap.kind for gap in gaps} == {"corrupt"}
    assert gaps[0].start_seconds == pytest.approx(3.0, abs=0.31)  # those before are decoded later
    assert gaps[-1].end_seconds == pytest.approx(video.end_seconds)
    for lost in (3.0, 3.2):
        assert any((gap.start_seconds or 0) <= lost + 1e-6 < (gap.end_seconds or 0) for gap in gaps)
    expected = reference(path, times, 54, 96)
    found = decoded(items)
    assert len(found) == 48
    for pts, pixels in found.items():
        assert (pixels == expected[pts]).all(), pts


def test_what_decord_cannot_read_is_unsupported(tmp_path: Path) -> None:
    reason = available_decoders()["decord"]
    if reason:
        require("decord", reason)
    raw = encode(tmp_path / "clip.m2v", 10, codec="mpeg2video")
    for path in (DATA / "edge" / "av1_640x360.mkv", raw):
        with DecordDecoder().setup() as decoder, pytest.raises(VideoError) as caught:
            decoder.probe(str(path))
        assert caught.value.kind == "unsupported"
        assert "cannot be opened by decord" in str(caught.value)


def test_torchcodec_refuses_what_it_cannot_seek_in(tmp_path: Path) -> None:
    reason = available_decoders()["torchcodec"]
    if reason:
        require("torchcodec", reason)
    reordered = encode(tmp_path / "reordered.ts", 30)
    plain = encode(tmp_path / "plain.ts", 30, options={"bf": "0"})
    with TorchcodecDecoder().setup() as decoder:
        with pytest.raises(VideoError, match="cannot be read by torchcodec") as caught:
            decoder.probe(str(reordered))
        assert caught.value.kind == "unsupported"
        video = decoder.probe(str(plain))
        assert not failures(decoder.decode(one_segment(video, [0.0, 0.5, 1.1])))


def test_other_libraries_refuse_a_palette_that_comes_once(other: Any) -> None:
    _, decoder = other
    with pytest.raises(VideoError, match="such as a palette"):
        decoder.probe(str(DATA / "cases" / "imagej_gray8.avi"))


def test_a_gradual_refresh_is_read_in_order_or_refused(other: Any, tmp_path: Path) -> None:
    options = {"g": "10", "bf": "0", "x264-params": "intra-refresh=1"}
    path = encode(tmp_path / "clip.mkv", 40, options=options)
    name, decoder = other
    if name == "torchcodec":
        with pytest.raises(VideoError, match="decoded in order from the first"):
            decoder.probe(str(path))
        return
    frames = {pts: as_rgb(frame, 96, 128) for pts, frame in all_frames(path)}
    times = [list(frames)[rank] for rank in (3, 17, 36)]
    found = decoded(decoder.decode(one_segment(decoder.probe(str(path)), times)))
    assert all((found[pts] == frames[pts]).all() for pts in times)
