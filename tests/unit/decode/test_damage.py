"""Damage that a decoder does not report, and damage in files that are decoded in sequence."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import av
import numpy as np
import pytest

from longvid.decode import PyAVDecoder
from longvid.decode.engine import Gap
from longvid.decode.frame_source import PacketsMislead
from longvid.decode.packet_checks import DisplayOrder, broken_test, irregular_test
from longvid.decode.packet_table import FrameTimes
from longvid.decode.pixel_conversion import Painter
from longvid.decode.planned_source import PlannedSource
from longvid.decode.pyav_engine import PyAVEngine
from longvid.decode.segment_assembler import assemble
from longvid.types import FrameSize, SegmentPlan
from tests.unit.decode.footage import as_rgb, encode, failures, one_segment

RATE = 25


def packets_of(path: Path) -> list[bytes]:
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(video=0) if packet.size]


def engine() -> PyAVEngine:
    options = {**PyAVDecoder(size=FrameSize(96, 128)).engine_options()}
    return PyAVEngine(options, lambda: None)


def test_a_jpeg_picture_whose_segments_do_not_lead_to_a_scan_is_broken(tmp_path: Path) -> None:
    clip = encode(tmp_path / "clip.avi", 4, codec="mjpeg", pix_fmt="yuvj420p")
    sound = packets_of(clip)[1]
    is_broken = broken_test("mjpeg", b"")
    assert is_broken is not None
    assert not is_broken(memoryview(sound))
    assert not is_broken(memoryview(sound[:2] + b"\xff" + sound[2:]))  # a fill byte
    tables = sound.index(b"\xff\xdb")
    for bad in (
        sound[: tables + 20] + sound[tables + 24 :],
        sound[2:],
        sound[: tables + 30],
        b"",
        sound[:3],
    ):
        assert is_broken(memoryview(bad))


def test_a_png_picture_whose_checksums_do_not_fit_is_a_gap(tmp_path: Path) -> None:
    clip = encode(tmp_path / "clip.mov", 6, codec="png", pix_fmt="rgb24")
    sound = packets_of(clip)
    is_broken = broken_test("png", b"")
    assert is_broken is not None
    assert not any(is_broken(memoryview(packet)) for packet in sound)
    assert is_broken(memoryview(sound[2][:-12]))  # without its end
    content = bytearray(clip.read_bytes())
    # A type of chunk that nobody knows: the decoder passes over it, and leaves memory as it was.
    at = content.index(b"IDAT", content.index(sound[2]))
    content[at] ^= 0x20
    clip.write_bytes(content)
    with PyAVDecoder(size=FrameSize(96, 128)).setup() as decoder:
        video = decoder.probe(str(clip), "png")
        times = [index / RATE for index in range(6)]
        [gap] = failures(list(decoder.decode(one_segment(video, times, parts=6))))
    assert gap.kind == "corrupt"
    assert (gap.start_seconds or 0) <= 2 / RATE <= (gap.end_seconds or 0)


def test_jpeg_tables_that_come_once_forbid_a_plan(tmp_path: Path) -> None:
    clip = encode(tmp_path / "clip.avi", 4, codec="mjpeg", pix_fmt="yuvj420p")
    sound = packets_of(clip)[1]
    tables = sound.index(b"\xff\xdb")
    length = 2 + int.from_bytes(sound[tables + 2 : tables + 4], "big")
    is_irregular = irregular_test("mjpeg", b"")
    assert is_irregular is not None
    assert not is_irregular(memoryview(sound), True)
    assert is_irregular(memoryview(sound[:tables] + sound[tables + length :]), True)


def test_blocks_of_a_dv_frame_are_numbered(tmp_path: Path) -> None:
    clip = encode(tmp_path / "clip.dv", 2, codec="dvvideo", size=(576, 720))
    sound = packets_of(clip)[0]
    is_broken = broken_test("dvvideo", b"")
    assert is_broken is not None
    assert not is_broken(memoryview(sound))
    shifted = sound[:4000] + bytes(64) + sound[4000:-64]
    flipped = bytearray(sound)
    flipped[80 * 151 + 2] ^= 1
    for bad in (shifted, flipped, sound[:-80], b""):
        assert is_broken(memoryview(bad))
    assert broken_test("hevc", b"") is None


@pytest.mark.parametrize("suffix", ["mpg", "vob", "ts"])
def test_a_seek_leads_to_the_packets_of_the_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    """Behind a seek a program stream gives a picture the time of the one before."""
    monkeypatch.setattr("longvid.decode.planned_source._SKIP_PACKETS", 0)
    options = {"g": "12", "bf": "2"}
    clip = encode(tmp_path / f"clip.{suffix}", 60, codec="mpeg2video", options=options)
    with av.open(str(clip)) as container:
        expected = [as_rgb(frame, 96, 128) for frame in container.decode(video=0)]
    source = engine()._video(str(clip)).source
    assert isinstance(source, PlannedSource)
    for rank in (59, 30, 13, 25, 2, 48):
        [(given, picture)] = source.frames([rank])
        assert given == rank
        assert picture is not None
        assert np.array_equal(as_rgb(picture, 96, 128), expected[rank])
    source.close()


def test_packets_that_are_not_those_of_the_table_are_read_from_the_start(tmp_path: Path) -> None:
    """A DV frame with bytes too many: behind a seek every frame begins at the wrong byte."""
    clip = encode(tmp_path / "clip.dv", 7, codec="dvvideo", size=(576, 720))
    content = clip.read_bytes()
    clip.write_bytes(content[:389_430] + b"\xff" * 64 + content[389_430:])
    with PyAVDecoder(size=FrameSize(96, 128)).setup() as decoder:
        video = decoder.probe(str(clip), "dv")
        items = list(decoder.decode(one_segment(video, [0.0, 0.08, 0.16, 0.24])))
    with PyAVDecoder(size=FrameSize(96, 128), plan=False).setup() as decoder:
        in_sequence = list(decoder.decode(one_segment(video, [0.0, 0.08, 0.16, 0.24])))
    assert np.array_equal(items[0].data[0], in_sequence[0].data[0])  # type: ignore[union-attr]
    [gap] = failures(items)
    assert 0 < (gap.start_seconds or 0) <= 0.09


@pytest.mark.parametrize("plan", [True, False])
def test_pictures_lost_in_mid_file_are_a_gap(tmp_path: Path, plan: bool) -> None:
    options = {"g": "10", "bf": "0", "x264-params": "scenecut=0"}
    clip = encode(tmp_path / "clip.mkv", 60, options=options)
    content = bytearray(clip.read_bytes())
    at = content.index(packets_of(clip)[22][:200])
    content[at + 6 : at + 200] = bytes(range(194))
    clip.write_bytes(content)
    with PyAVDecoder(size=FrameSize(96, 128), plan=plan).setup() as decoder:
        video = decoder.probe(str(clip), "lost")
        times = [index / 12.5 for index in range(30)]
        [gap] = failures(list(decoder.decode(one_segment(video, times, parts=5))))
    start, end = gap.start_seconds or 0.0, gap.end_seconds or 0.0
    assert 20 / RATE <= start <= 22 / RATE
    assert 30 / RATE <= end <= 34 / RATE


def test_sound_files_that_are_decoded_in_sequence_have_no_gap(data: Path) -> None:
    for name in ("xvid_packed_small.avi", "imagej_gray8.avi", "ts_concat_restart.ts"):
        with PyAVDecoder(size=FrameSize(24, 32), plan=False).setup() as decoder:
            video = decoder.probe(str(data / "cases" / name), name)
            step = video.duration_seconds / 20
            times = [video.start_seconds + step * place for place in range(20)]
            assert not failures(list(decoder.decode(one_segment(video, times))))


def test_times_that_contradict_the_numbers_of_pictures_forbid_a_plan(tmp_path: Path) -> None:
    """The type of one picture is damaged, and the reader gives its neighbours wrong times."""
    options = {"g": "12", "bf": "2"}
    clip = encode(tmp_path / "clip.m2v", 40, codec="mpeg2video", options=options)
    assert isinstance(engine()._video(str(clip)).source, PlannedSource)
    content = bytearray(clip.read_bytes())
    types = [
        at + 5
        for at in range(len(content) - 5)
        if content[at : at + 4] == b"\0\0\1\0" and content[at + 5] >> 3 & 7 == 3
    ]
    content[types[9]] ^= 0b1000  # a B-picture becomes a P-picture
    clip.write_bytes(content)
    assert not isinstance(engine()._video(str(clip)).source, PlannedSource)


def test_numbers_of_pictures_start_again_after_1023() -> None:
    order = DisplayOrder("mpeg2video")
    for place in range(600):
        reference = (place + 700) % 1024 << 6
        order.add(memoryview(b"\0\0\1\0" + reference.to_bytes(2, "big") + b"\0\0"), place)
    order.end_group()
    assert not order.contradicts


class Misleading:
    """Loses two frames and then finds that its packets mislead."""

    times = FrameTimes(np.arange(4), 4, 1, 1)
    doubtful: frozenset[int] = frozenset()

    def frames(self, ranks: Sequence[int]) -> Iterator[tuple[int, None]]:
        yield from ((rank, None) for rank in ranks[:2])
        raise PacketsMislead

    def close(self) -> None: ...


def test_a_gap_that_is_open_when_packets_mislead_is_told() -> None:
    spans = ((0, (0.0, 1.0)), (1, (2.0, 3.0)))
    plans = [SegmentPlan(index, at[0], at[1] + 1, at, (True, True)) for index, at in spans]
    ranks = [[0, 1], [2, 3]]
    painter = Painter(FrameSize(8, 8), 1.0)
    source = Misleading()
    items = assemble(source, plans, ranks, ranks, painter, lambda shape: np.empty(shape, np.uint8))
    gap = next(items)
    assert isinstance(gap, Gap)
    assert (gap.start_seconds, gap.end_seconds) == (0.0, 2.0)
    with pytest.raises(PacketsMislead):
        next(items)


def test_pictures_of_another_codec_behind_a_join_are_a_gap(tmp_path: Path) -> None:
    joined = tmp_path / "joined.ts"
    first = encode(tmp_path / "first.ts", 50)
    second = encode(tmp_path / "second.ts", 50, codec="mpeg2video")
    joined.write_bytes(first.read_bytes() + second.read_bytes())
    decoder = PyAVDecoder(size=FrameSize(96, 128), isolate=False).setup()
    video = decoder.probe(str(joined))
    times = [video.start_seconds + rank / RATE for rank in range(video.num_frames)]
    gaps = failures(decoder.decode(one_segment(video, times)))
    assert 48 <= video.num_frames <= 50
    end = video.start_seconds + video.duration_seconds
    lost = [gap for gap in gaps if gap.start_seconds == pytest.approx(end)]
    assert len(lost) == 1
    assert lost[0].end_seconds == pytest.approx(end + 2, abs=0.2)
