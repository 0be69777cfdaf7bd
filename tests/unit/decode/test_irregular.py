"""Streams that change, restart or lie about their keyframes: each frame as by decoding all."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from longvid.decode import PyAVDecoder
from longvid.types import FrameSize
from tests.unit.decode.footage import as_rgb, encode, failures, one_segment

SIZE = FrameSize(48, 64)
CLOSED = {"g": "10", "bf": "2", "x264-params": "scenecut=0"}
BASELINE = {"g": "10", "bf": "0", "profile": "baseline"}
NUM_FRAMES, RATE = 30, 25


def require_every_frame(path: Path, num_frames: int, *, is_joined: bool = False) -> None:
    """Compare frames through the child with those of decoding everything, in their order."""
    with av.open(str(path)) as container:
        container.streams.video[0].codec_context.thread_count = 1
        expected = [as_rgb(frame, SIZE.height, SIZE.width) for frame in container.decode(video=0)]
    assert len(expected) == num_frames
    with PyAVDecoder(size=SIZE).setup() as decoder:
        video = decoder.probe(str(path), "irregular")
        assert video.num_frames == num_frames
        assert video.duration_seconds == pytest.approx(num_frames / RATE, abs=0.002)
        assert len(video.clock_jumps) == int(is_joined)
        for step in (7, 1):
            places = range(0, num_frames, step)
            times = [video.start_seconds + (place + 0.5) / RATE for place in places]
            items = list(decoder.decode(one_segment(video, times)))
            assert not failures(items)
            [batch] = items
            for place, data in zip(places, batch.data, strict=True):  # type: ignore[union-attr]
                assert np.array_equal(data.permute(1, 2, 0).numpy(), expected[place]), place


def test_packets_that_are_all_called_keyframes(tmp_path: Path) -> None:
    """H.263 in AVI: its decoder prints errors for a picture whose reference was not decoded."""
    clip = encode(tmp_path / "clip.avi", NUM_FRAMES, codec="h263", options={"g": "12"})
    require_every_frame(clip, NUM_FRAMES)


@pytest.mark.parametrize(
    ("suffix", "codec", "options"),
    [
        ("ts", "mpeg2video", {"g": "12", "bf": "2", "flags": "+ildct+ilme"}),
        ("mkv", "mpeg4", {"g": "12", "bf": "2", "flags": "+ildct+ilme"}),
        ("asf", "msmpeg4", {"g": "12"}),
        ("mp4", "libvpx-vp9", {"lag-in-frames": "16", "g": "20", "cpu-used": "8"}),
    ],
)
def test_other_makes(tmp_path: Path, suffix: str, codec: str, options: dict[str, str]) -> None:
    clip = encode(tmp_path / f"clip.{suffix}", NUM_FRAMES, codec=codec, options=options)
    require_every_frame(clip, NUM_FRAMES)


@pytest.mark.parametrize(
    ("size", "pix_fmt", "options", "offsets"),
    [
        ((96, 128), "yuv422p", CLOSED, (0, 0)),
        ((48, 64), "yuv420p", CLOSED, (0, 0)),
        ((96, 128), "yuv420p", BASELINE, (0, 0)),
        ((96, 128), "yuv420p", CLOSED, (0, 100)),
        ((96, 128), "yuv420p", CLOSED, (100, 0)),
    ],
    ids=["pixel format", "size", "profile", "clock forward", "clock back"],
)
def test_streams_that_change_in_the_middle(
    tmp_path: Path,
    size: tuple[int, int],
    pix_fmt: str,
    options: dict[str, str],
    offsets: tuple[int, int],
) -> None:
    makes = (((96, 128), "yuv420p", CLOSED), (size, pix_fmt, options))
    content = b""
    for place, ((some_size, some_pix_fmt, some), offset) in enumerate(
        zip(makes, offsets, strict=True)
    ):
        part = encode(
            tmp_path / f"{place}.ts",
            NUM_FRAMES,
            size=some_size,
            pix_fmt=some_pix_fmt,
            options=some,
            container_options={"output_ts_offset": str(offset)},
        )
        content += part.read_bytes()
    both = tmp_path / "both.ts"
    both.write_bytes(content)
    require_every_frame(both, 2 * NUM_FRAMES, is_joined=True)


def test_a_clock_that_wraps(tmp_path: Path) -> None:
    wraps = {"output_ts_offset": str(2**33 / 90_000 - 2)}
    clip = encode(tmp_path / "clip.ts", 60, options=CLOSED, container_options=wraps)
    require_every_frame(clip, 60)
