"""The PyAV decoder on videos of every make, against decoding everything."""

from __future__ import annotations

import dataclasses
import struct
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.video.frame import VideoFrame
from PIL import Image

from longvid.decode import PyAVDecoder, available_decoders, ffmpeg_version
from longvid.errors import ConfigError, VideoError
from longvid.types import Chunk, FrameBatch, FrameSize, SegmentPlan
from tests.unit.decode.footage import (
    all_frames,
    as_rgb,
    decoded,
    encode,
    failures,
    one_segment,
    picture,
)

SIZE = FrameSize(48, 64)
EXACT = PyAVDecoder(size=SIZE, isolate=False)


def every_frame(part: PyAVDecoder, path: Path, step: int = 1) -> None:
    """Assert that every step-th frame comes out as if all were decoded."""
    reference = list(all_frames(path))
    decoder = part.setup()
    video = decoder.probe(str(path))
    assert video.num_frames == len(reference)
    assert video.start_seconds == reference[0][0]
    wanted = reference[step // 2 :: step]
    items = list(
        decoder.decode(one_segment(video, [pts for pts, _ in wanted], parts=min(2, len(wanted))))
    )
    decoder.close()
    assert not failures(items)
    found = decoded(items)
    assert list(found) == [pts for pts, _ in wanted]
    for pts, frame in wanted:
        assert (found[pts] == as_rgb(frame, SIZE.height, SIZE.width)).all(), pts


CLOSED = {"g": "12", "bf": "3", "x264-params": "scenecut=0"}
OPEN = {"g": "12", "bf": "3", "x264-params": "scenecut=0:open-gop=1"}
HEVC = {"x265-params": "log-level=none:keyint=12:bframes=4:scenecut=0"}
HEVC_LAYERS = {"x265-params": "log-level=none:keyint=16:bframes=4:scenecut=0:temporal-layers=3"}


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("closed.mp4", "libx264", CLOSED),
        ("closed.mkv", "libx264", CLOSED),
        ("closed.ts", "libx264", CLOSED),
        ("closed.flv", "libx264", CLOSED),
        ("open.mp4", "libx264", OPEN),
        ("open.mkv", "libx264", OPEN),
        ("open.ts", "libx264", OPEN),
        ("interlaced.ts", "libx264", {"x264-params": "interlaced=1:keyint=12"}),
        ("refresh.mp4", "libx264", {"x264-params": "intra-refresh=1:keyint=20:bframes=0"}),
        ("one-key.mp4", "libx264", {"x264-params": "keyint=infinite"}),
        ("all-keys.mp4", "libx264", {"g": "1"}),
        ("closed-hevc.mp4", "libx265", HEVC),
        ("closed-hevc.ts", "libx265", HEVC),
        ("layers-hevc.mkv", "libx265", HEVC_LAYERS),
        ("b-frames.avi", "mpeg4", {"bf": "2", "g": "12"}),
        ("b-frames.mpg", "mpeg2video", {"bf": "2", "g": "12"}),
        ("old.wmv", "wmv2", {"g": "12"}),
        ("hidden.webm", "libvpx", {"auto-alt-ref": "1", "lag-in-frames": "16", "g": "20"}),
        ("hidden-vp9.webm", "libvpx-vp9", {"lag-in-frames": "16", "g": "20", "cpu-used": "8"}),
    ],
)
def test_every_make_of_file(tmp_path: Path, name: str, codec: str, options: dict[str, str]) -> None:
    path = encode(tmp_path / name, 60, codec=codec, options=options)
    for step in (1, 7, 40):
        every_frame(EXACT, path, step)


@pytest.mark.parametrize("codec", ["libx264", "libvpx"])
def test_variable_rate(tmp_path: Path, codec: str) -> None:
    gaps = np.random.default_rng(3).integers(20, 900, 40)
    pts = np.cumsum(gaps).tolist()
    suffix = "mkv" if codec == "libvpx" else "mp4"
    every_frame(EXACT, encode(tmp_path / f"vfr.{suffix}", codec=codec, pts=pts), 3)


def test_h264_in_avi_has_its_times_in_order(tmp_path: Path) -> None:
    path = encode(tmp_path / "clip.avi", 30, options=CLOSED)
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    assert [frame.pts for frame in frames] != sorted(frame.pts for frame in frames)
    decoder = EXACT.setup()
    video = decoder.probe(str(path))
    times = [video.start_seconds + index * 0.04 for index in range(30)]
    found = decoded(decoder.decode(one_segment(video, times)))
    assert list(found) == pytest.approx(times)
    for data, frame in zip(found.values(), frames, strict=True):
        assert (data == as_rgb(frame, SIZE.height, SIZE.width)).all()


@pytest.mark.parametrize(("from_frame", "num_frames"), [(0, 30), (17, 20), (24, 36)])
@pytest.mark.parametrize("options", [CLOSED, OPEN])
def test_edit_lists(
    tmp_path: Path, options: dict[str, str], from_frame: int, num_frames: int
) -> None:
    path = encode(tmp_path / "clip.mp4", 60, options=options)
    content = bytearray(path.read_bytes())
    place = content.index(b"elst") + 4
    duration, media_time = struct.unpack(">ii", content[place + 8 : place + 16])
    per_frame = duration / 60
    # 25 frames a second are 512 ticks each in the track's own time.
    struct.pack_into(
        ">ii", content, place + 8, round(num_frames * per_frame), media_time + from_frame * 512
    )
    path.write_bytes(content)
    video = EXACT.setup().probe(str(path))
    assert video.num_frames in (num_frames, num_frames + 1)
    every_frame(EXACT, path, 1)
    every_frame(EXACT, path, 9)


def test_a_film_in_two_sizes(tmp_path: Path) -> None:
    first = encode(tmp_path / "1.ts", 30, options=CLOSED)
    later = [100 * (index + 40) for index in range(30)]
    second = encode(tmp_path / "2.ts", pts=later, size=(64, 48), options=CLOSED)
    both = tmp_path / "both.ts"
    both.write_bytes(first.read_bytes() + second.read_bytes())
    every_frame(EXACT, both, 4)
    decoder = dataclasses.replace(EXACT, size=FrameSize(fit="native")).setup()
    video = decoder.probe(str(both))
    ends = [video.start_seconds, video.end_seconds - 0.01]
    (batch,) = decoder.decode(one_segment(video, ends))
    assert isinstance(batch, FrameBatch)
    assert batch.data.shape == (2, 3, 96, 128)  # those of the first picture


def test_one_frame(tmp_path: Path) -> None:
    path = encode(tmp_path / "one.mp4", 1)
    decoder = EXACT.setup()
    video = decoder.probe(str(path))
    assert (video.num_frames, video.start_seconds) == (1, 0.0)
    assert video.duration_seconds == pytest.approx(0.04)
    (batch,) = decoder.decode(one_segment(video, [-1.0, 0.0, 0.02, 500.0]))
    assert isinstance(batch, FrameBatch)
    assert batch.pts_seconds.tolist() == [0.0]
    assert batch.slow.tolist() == [True]


def test_a_header_without_duration(tmp_path: Path) -> None:
    path = encode(tmp_path / "live.mkv", 50, container_options={"live": "1"})
    with av.open(str(path)) as container:
        assert container.streams.video[0].duration is None
    video = EXACT.setup().probe(str(path))
    assert video.duration_seconds == pytest.approx(2.0, abs=0.05)
    every_frame(EXACT, path, 6)


def test_a_still_gif_with_transparency(tmp_path: Path) -> None:
    images = []
    for index in range(4):
        image = Image.fromarray((picture(index)[..., 0] // 64).astype(np.uint8), "P")
        image.putpalette([0, 255, 0, 90, 0, 0, 0, 0, 200, 255, 255, 255])
        images.append(image)
    path = tmp_path / "clear.gif"
    images[0].save(path, save_all=True, append_images=images[1:], transparency=0, duration=200)
    decoder = dataclasses.replace(EXACT, size=FrameSize(fit="native")).setup()
    video = decoder.probe(str(path))
    assert (video.num_frames, video.height, video.width) == (4, 96, 128)
    (batch,) = decoder.decode(one_segment(video, [0.0, 0.2, 0.4, 0.6]))
    assert isinstance(batch, FrameBatch)
    clear = picture(0)[..., 0] // 64 == 0
    shown = batch.data[0].permute(1, 2, 0).numpy()
    assert (shown[clear] == 0).all()
    assert (shown[~clear].max(axis=-1) > 0).all()


def test_the_best_of_several_streams_and_no_cover(tmp_path: Path) -> None:
    path = tmp_path / "several.mp4"
    with av.open(str(path), "w") as container:
        streams: list[Any] = []
        for codec, height, width in (("mjpeg", 400, 400), ("mpeg4", 32, 48), ("libx264", 96, 128)):
            stream = container.add_stream(codec, rate=25)
            stream.height, stream.width = height, width
            stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
            streams.append(stream)
        streams[0].disposition = 0x400  # attached picture
        for index in range(10):
            for stream in streams if index == 0 else streams[1:]:
                drawn = picture(index, stream.height, stream.width)
                frame = VideoFrame.from_ndarray(drawn, format="rgb24")
                frame.pts, frame.time_base = index, Fraction(1, 25)
                container.mux(stream.encode(frame.reformat(format=stream.pix_fmt)))
        for stream in streams:
            container.mux(stream.encode(None))
    with av.open(str(path)) as container:
        best = container.streams.best("video")
        assert best is not None
        assert best.codec_context.name != "mjpeg"
        expected = (best.codec_context.height, best.codec_context.width, 10)
    video = EXACT.setup().probe(str(path))
    assert (video.height, video.width, video.num_frames) == expected


def test_only_a_cover_is_no_video(tmp_path: Path) -> None:
    path = tmp_path / "cover.mp4"
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("mjpeg", rate=25)
        stream.height, stream.width, stream.pix_fmt = 96, 128, "yuvj420p"
        stream.disposition = 0x400
        frame = VideoFrame.from_ndarray(picture(0), format="rgb24").reformat(format="yuvj420p")
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with pytest.raises(VideoError, match="holds no video stream") as caught:
        EXACT.setup().probe(str(path))
    assert caught.value.kind == "unsupported"


def test_metadata_in_another_encoding(tmp_path: Path) -> None:
    path = tmp_path / "title.mkv"
    with av.open(str(path), "w") as container:
        container.metadata["title"] = "PLACEHOLDER"
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height = 128, 96
        container.mux(stream.encode(VideoFrame(128, 96, "yuv420p")))
        container.mux(stream.encode(None))
    path.write_bytes(path.read_bytes().replace(b"PLACEHOLDER", b"\xff\xfe\xe9\x80ACEHOLDER"[:11]))
    assert EXACT.setup().probe(str(path)).num_frames == 1


def test_times_of_one_frame_give_it_once(tmp_path: Path) -> None:
    path = encode(tmp_path / "clip.mp4", 20)
    decoder = EXACT.setup()
    video = decoder.probe(str(path))
    wanted = (-3.0, 0.0, 0.03, 0.05, 0.2, 0.21, 0.239)
    slow = (False, False, True, False, False, False, False)
    chunk = Chunk(video, (SegmentPlan(0, 0.0, 1.0, wanted, slow),))
    (batch,) = decoder.decode(chunk)
    assert isinstance(batch, FrameBatch)
    assert batch.pts_seconds.tolist() == [0.0, 0.04, 0.2]
    assert batch.slow.tolist() == [True, False, False]
    assert batch.duration_seconds.tolist() == pytest.approx([0.04] * 3)


def test_segments_may_share_frames_and_go_back(tmp_path: Path) -> None:
    path = encode(tmp_path / "clip.mp4", 60, options=CLOSED)
    reference = dict(all_frames(path))
    decoder = EXACT.setup()
    video = decoder.probe(str(path))
    spans = [(0.4, 0.8, 1.2), (1.2, 1.6), (0.0, 0.4, 2.0), (2.0,)]
    segments = tuple(
        SegmentPlan(index, span[0], span[-1], span, (False,) * len(span))
        for index, span in enumerate(spans)
    )
    batches = list(decoder.decode(Chunk(video, segments)))
    for index, (batch, span) in enumerate(zip(batches, spans, strict=True)):
        assert isinstance(batch, FrameBatch)
        assert batch.segment_index == index
        assert tuple(batch.pts_seconds.tolist()) == span
        for pts, data in zip(span, batch.data, strict=True):
            expected = as_rgb(reference[pts], SIZE.height, SIZE.width)
            assert (data.permute(1, 2, 0).numpy() == expected).all()


def test_approximate_modes_state_their_error(tmp_path: Path) -> None:
    path = encode(tmp_path / "clip.mp4", 100, options=CLOSED)
    reference = dict(all_frames(path))
    kinds = {pts: frame.pict_type for pts, frame in reference.items()}
    wanted = [index * 0.04 for index in range(0, 100, 5)]
    for mode, tolerance, allowed in (
        ("reference", 0.08, {1, 2, 3}),
        ("keyframe", 0.24, {1}),
        ("keyframe", 100.0, {1}),
    ):
        part = dataclasses.replace(EXACT, approximate=mode, tolerance_seconds=tolerance)
        decoder = part.setup()
        video = decoder.probe(str(path))
        found = decoded(decoder.decode(one_segment(video, wanted)))
        errors = [min(abs(pts - time) for pts in found) for time in wanted]
        assert 0 < max(errors) <= min(tolerance, 0.24) + 1e-9
        assert decoder.max_pts_error_seconds == pytest.approx(max(errors))
        for pts, data in found.items():  # whatever was chosen, it is that frame exactly
            assert (data == as_rgb(reference[pts], SIZE.height, SIZE.width)).all()
            assert kinds[pts] in allowed


def test_a_tolerance_of_zero_is_exact(tmp_path: Path) -> None:
    path = encode(tmp_path / "clip.mp4", 60, options=CLOSED)
    for mode in ("reference", "keyframe"):
        every_frame(dataclasses.replace(EXACT, approximate=mode), path, 5)


def test_without_the_loop_filter_times_are_exact_and_pictures_close(data: Path) -> None:
    path = data / "bbb_rabbit_5s.mp4"
    decoder = dataclasses.replace(EXACT, loop_filter=False).setup()
    video = decoder.probe(str(path))
    wanted = [index * 0.5 for index in range(10)]
    found = decoded(decoder.decode(one_segment(video, wanted)))
    reference = {pts: frame for pts, frame in all_frames(path) if pts in found}
    assert list(found) == list(reference)
    assert len(found) == 10
    squares = [
        np.mean((found[pts].astype(float) - as_rgb(frame, 48, 64)) ** 2)
        for pts, frame in reference.items()
    ]
    assert max(squares) > 0
    assert 10 * np.log10(255**2 / np.mean(squares)) > 30  # dB


def test_dropping_leaves_out_work_but_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from longvid.decode.codec import PacketDecoder

    path = encode(tmp_path / "clip.mp4", 100, options={"g": "50", "bf": "3"})
    sent: list[int] = []
    plain = PacketDecoder.decode

    def counted(self: Any, packet: Any) -> Any:
        sent.append(packet is not None)
        return plain(self, packet)

    monkeypatch.setattr(PacketDecoder, "decode", counted)
    results = []
    for drop in (True, False):
        decoder = dataclasses.replace(EXACT, drop_disposable=drop).setup()
        video = decoder.probe(str(path))
        sent.clear()
        results.append(decoded(decoder.decode(one_segment(video, [1.9, 3.9]))))
        results.append(sum(sent))
    assert results[1] < 0.75 * results[3]
    assert list(results[0]) == list(results[2])
    assert all((results[0][pts] == results[2][pts]).all() for pts in results[0])


def test_packets_that_mislead_are_not_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from longvid.decode.codec import PacketDecoder

    # Every third packet gives no picture, without any error, as the second fields of frames do.
    path = encode(tmp_path / "clip.ts", 60, codec="mpeg2video", options={"g": "12"})
    plain = PacketDecoder.decode

    def without_some(self: Any, packet: Any) -> Any:
        return [frame for frame in plain(self, packet) if (frame.pts // 3600) % 3 != 2]

    monkeypatch.setattr(PacketDecoder, "decode", without_some)
    shown = [pts for pts, frame in all_frames(path) if (frame.pts // 3600) % 3 != 2]
    decoder = EXACT.setup()
    video = decoder.probe(str(path))
    wanted = [video.start_seconds + index * 0.04 for index in range(60)]
    items = list(decoder.decode(one_segment(video, wanted, parts=4)))
    assert not failures(items)
    assert list(decoded(items)) == shown
    reference = dict(all_frames(path))
    for pts, data in decoded(items).items():
        assert (data == as_rgb(reference[pts], SIZE.height, SIZE.width)).all()


@pytest.mark.parametrize(
    "wrong",
    [
        {"approximate": "nearly"},
        {"tolerance_seconds": -1.0},
        {"deadline_seconds": 0.0},
        {"max_pixels": 0},
    ],
)
def test_wrong_settings(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="decoder"):
        PyAVDecoder(**wrong)


def test_what_the_doctor_asks() -> None:
    version, recent = ffmpeg_version()
    assert version.split(".")[0].isdigit()
    assert recent == (tuple(int(part) for part in version.split(".")[:3]) >= (8, 1, 2))
    decoders = available_decoders()
    assert decoders["pyav"] == ""
    assert all(not reason or reason.endswith(".") for reason in decoders.values())
