"""Streams that change, restart or lie about their keyframes: each frame as by decoding all."""

from __future__ import annotations

import re
import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.bitstream import BitStreamFilterContext

from longvid.decode import PyAVDecoder
from longvid.decode.sequential_source import _in_order_of_display
from longvid.types import FrameSize
from tests.unit.decode.fields import write_fields
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


def test_a_gradual_refresh_whose_end_is_told_too_early(tmp_path: Path) -> None:
    """Encoders say after how many pictures all blocks were renewed, and may be wrong."""
    options = {"g": "10", "bf": "0", "x264-params": "intra-refresh=1"}
    clip = encode(tmp_path / "clip.mkv", NUM_FRAMES, options=options)
    # A recovery point of so many pictures becomes one of none (H.264 §D.1.8).
    content, count = re.subn(rb"\x06\x06\x02..\x80", b"\x06\x06\x02\xc4\x00\x80", clip.read_bytes())
    assert count == 2
    clip.write_bytes(content)
    require_every_frame(clip, NUM_FRAMES)


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts"])
def test_fields_with_a_packet_of_their_own(tmp_path: Path, suffix: str) -> None:
    bare = write_fields(tmp_path / "fields.h264", NUM_FRAMES, group=10)
    clip = tmp_path / f"clip.{suffix}"
    with av.open(str(bare)) as source, av.open(str(clip), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0], opaque=True)
        for index, packet in enumerate(p for p in source.demux(video=0) if p.size):
            packet.stream, packet.time_base = stream, Fraction(1, 2 * RATE)
            packet.pts = packet.dts = index
            target.mux(packet)
    require_every_frame(clip, NUM_FRAMES)


def test_hidden_pictures_of_av1_with_a_packet_of_their_own(tmp_path: Path) -> None:
    options = {"g": "20", "preset": "10", "svtav1-params": "lp=1"}
    whole = encode(tmp_path / "clip.mp4", NUM_FRAMES, codec="libsvtav1", options=options)
    split = tmp_path / "split.mp4"
    num_packets = 0
    with av.open(str(whole)) as source, av.open(str(split), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0], opaque=True)
        cut = BitStreamFilterContext("av1_frame_split", source.streams.video[0])
        for packet in source.demux(video=0):
            for part in cut.filter(packet if packet.size else None):
                part.stream, part.dts = stream, num_packets
                num_packets += 1
                target.mux(part)
    assert num_packets > NUM_FRAMES
    require_every_frame(split, NUM_FRAMES)


@pytest.mark.parametrize("codec", ["libx264", "libx265"])
def test_every_block_of_matroska_is_called_a_keyframe(tmp_path: Path, codec: str) -> None:
    options = {"g": "10", "bf": "2", "x265-params": "log-level=none:keyint=10"}
    clip = encode(tmp_path / "clip.mkv", NUM_FRAMES, codec=codec, options=options)
    flagged = tmp_path / "flagged.mkv"
    with av.open(str(clip)) as source, av.open(str(flagged), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0], opaque=True)
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream, packet.is_keyframe = stream, True
                target.mux(packet)
    require_every_frame(flagged, NUM_FRAMES)


def with_edits(content: bytes, edits: list[tuple[float, float]]) -> bytes:
    """Put an edit list of (start, duration) into an MP4 file whose `moov` is its last box."""
    scale = int.from_bytes(content[(at := content.rindex(b"mdhd") + 16) : at + 4], "big")
    entries = b"".join(
        struct.pack(">IiI", round(1000 * duration), round(scale * start), 1 << 16)
        for start, duration in edits
    )
    old = content.rindex(b"edts") - 4
    length = int.from_bytes(content[old : old + 4], "big")
    new = struct.pack(">I4sI4sII", 24 + len(entries), b"edts", 16 + len(entries), b"elst", 0, 2)
    new += entries
    result = bytearray(content[:old] + new + content[old + length :])
    for box in (b"moov", b"trak"):
        place = content.rindex(box) - 4
        size = int.from_bytes(content[place : place + 4], "big") + len(new) - length
        result[place : place + 4] = size.to_bytes(4, "big")
    return bytes(result)


@pytest.mark.parametrize("second_start", [2.0, 0.2])
def test_two_edits_whose_second_begins_inside_a_group(tmp_path: Path, second_start: float) -> None:
    """A decoder is given packets from the keyframe on, with times that go back."""
    options = {"g": "25", "bf": "3", "x264-params": "b-adapt=0"}
    clip = encode(tmp_path / "clip.mp4", 75, options=options)
    clip.write_bytes(with_edits(clip.read_bytes(), [(0.44, 0.8), (second_start, 0.8)]))
    with PyAVDecoder(size=SIZE).setup() as decoder:
        video = decoder.probe(str(clip), "edits")
    assert video.clock_jumps == ()
    assert video.duration_seconds == pytest.approx(1.6, abs=0.09)


def test_pictures_with_one_time_cost_no_others() -> None:
    """Times in decoding order: 3 comes before 2, and the second 1 is shown for no time."""
    ticks = [0, 1, 3, 1, 2, 5, 7, 4, 6]
    places, times = _in_order_of_display(ticks, 1000, 1, 1, 25)
    assert places == [0, 1, 2, 4, 5, 6, 7, 8]
    assert times.pts.tolist() == list(range(8))
