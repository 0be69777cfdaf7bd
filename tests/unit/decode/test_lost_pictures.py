"""Pictures that are lost, left out or left unpainted, of which a decoder says nothing."""

from __future__ import annotations

from pathlib import Path

import av
import av.logging
import numpy as np
import pytest

from longvid.decode import PyAVDecoder
from longvid.decode.codec import _unpainted
from longvid.decode.decoder import RunningDecoder
from longvid.decode.frame_source import PacketsMislead
from longvid.decode.packet_checks import DisplayOrder
from longvid.decode.planned_source import PlannedSource
from longvid.decode.pyav_engine import PyAVEngine
from longvid.types import FrameSize
from tests.unit.decode.footage import decoded, encode, failures, one_segment

SIZE = FrameSize(48, 64)
RATE = 25
B_PICTURES = {"g": "8", "bf": "2"}


def is_planned(path: Path) -> bool:
    engine = PyAVEngine(PyAVDecoder(size=SIZE).engine_options(), lambda: None)
    try:
        return isinstance(engine._video(str(path)).source, PlannedSource)
    finally:
        engine.close()


def without_packet(path: Path, target: Path, lost: int) -> Path:
    """Copy a file but for one packet."""
    with av.open(str(path)) as source, av.open(str(target), "w") as output:
        stream = output.add_stream_from_template(source.streams.video[0])
        for index, packet in enumerate(source.demux(video=0)):
            if packet.size and index != lost:
                packet.stream = stream
                output.mux(packet)
    return target


def decoder(*, plan: bool = True) -> RunningDecoder:
    made = PyAVDecoder(size=SIZE, plan=plan).setup()
    assert isinstance(made, RunningDecoder)
    return made


def require_as_in_sequence(path: Path, times: list[float]) -> None:
    """Ask for frames by the plan and in sequence."""
    found = []
    for plan in (True, False):
        with decoder(plan=plan) as running:
            video = running.probe(str(path), "lost")
            found.append(decoded(running.decode(one_segment(video, times))))
    ours, in_sequence = found
    assert list(ours) == list(in_sequence)
    for pts, pixels in ours.items():
        assert np.array_equal(pixels, in_sequence[pts]), pts


@pytest.mark.parametrize("codec", ["mpeg1video", "mpeg2video", "mpeg4"])
def test_b_pictures_that_lack_the_later_reference_forbid_a_plan(tmp_path: Path, codec: str) -> None:
    clip = encode(tmp_path / "clip.mkv", 26, codec=codec, options=B_PICTURES, size=(48, 64))
    assert is_planned(clip)
    with av.open(str(clip)) as container:
        pts = [packet.pts or 0 for packet in container.demux(video=0) if packet.size]
    # The second P-picture: two B-pictures follow it in the file, and are shown before it.
    lost = next(i for i in range(2, len(pts)) if pts[i] > max(pts[i + 1], pts[i + 2]))
    damaged = without_packet(clip, tmp_path / "damaged.mkv", lost)
    assert not is_planned(damaged)
    require_as_in_sequence(damaged, [place / RATE for place in range(14)])


def test_types_and_times_of_pictures_are_compared() -> None:
    picture = b"\0\0\1\0"
    sound = ((2, 40, 1), (1, 0, 3), (2, 80, 2))
    for pictures, contradicts in ((sound, False), ((*sound[:2], (3, 90, 3)), True)):
        order = DisplayOrder("mpeg2video")
        for number, pts, kind in pictures:
            header = (number << 6 | kind << 3).to_bytes(2, "big")
            order.add(memoryview(picture + header), pts)
        order.end_group()
        assert order.contradicts is contradicts


def test_a_picture_that_the_decoder_leaves_out_gives_its_time_to_no_other(tmp_path: Path) -> None:
    """The time in the header of a B-picture of MPEG-4 is damaged; the decoder skips the picture and
    at its end gives the next one with the time of this one."""
    clip = encode(tmp_path / "clip.mp4", 26, codec="mpeg4", options=B_PICTURES, size=(48, 64))
    with av.open(str(clip)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
        data = [bytes(packet) for packet in packets]
    at = next(i for i in range(12, 26) if data[i][4] >> 6 == 2 and data[i + 1][4] >> 6 == 1)
    content = bytearray(clip.read_bytes())
    place = content.index(data[at]) + 5
    content[place] ^= 0x20
    clip.write_bytes(content)
    with av.open(str(clip)) as container:
        times = [frame.pts for frame in container.decode(video=0)]
    assert packets[at].pts not in times
    assert is_planned(clip)
    wanted = round(float((packets[at].pts or 0) * packets[at].time_base) * RATE)
    require_as_in_sequence(clip, [rank / RATE for rank in range(wanted + 1)])


@pytest.mark.parametrize("codec", ["mpeg1video", "mpeg2video"])
def test_a_picture_that_is_not_painted_in_full_is_a_gap(tmp_path: Path, codec: str) -> None:
    """Motion that leads out of the picture: the decoder leaves the block as the memory was."""
    clip = encode(tmp_path / "clip.mpg", 12, codec=codec, options=B_PICTURES, size=(48, 64))
    sound = clip.read_bytes()
    with decoder() as running:
        video = running.probe(str(clip), "sound")
        times = [video.start_seconds + place / RATE for place in range(12)]
        assert not failures(running.decode(one_segment(video, times)))
    chance = np.random.default_rng(7)
    for _ in range(400):
        content = bytearray(sound)
        content[chance.integers(len(content) // 4, len(content))] ^= 1 << chance.integers(8)
        clip.write_bytes(content)
        if is_left_unpainted(clip):
            break
    else:
        pytest.fail("no damage of the wanted kind was found")
    with decoder() as running:
        video = running.probe(str(clip), "damaged")
        assert failures(running.decode(one_segment(video, times)))


def test_a_lost_last_slice_is_a_gap(tmp_path: Path) -> None:
    """FFmpeg ignores that the last row of blocks is missing, and leaves it as memory was."""
    clip = encode(tmp_path / "clip.m2v", 12, codec="mpeg2video", options=B_PICTURES, size=(48, 64))
    content = bytearray(clip.read_bytes())
    last_row, user_data = b"\0\0\1\3", 0xB2
    second = content.index(last_row, content.index(last_row) + 4)
    content[second + 3] = user_data
    clip.write_bytes(content)
    with decoder() as running:
        video = running.probe(str(clip), "damaged")
        times = [video.start_seconds + place / RATE for place in range(12)]
        found = failures(running.decode(one_segment(video, times)))
    assert [failure.kind for failure in found] == ["corrupt"]


def test_the_last_slice_of_1080_lines_may_be_left_out() -> None:
    assert len(_unpainted("mpeg2video", 1080)) == 1
    assert len(_unpainted("mpeg2video", 720)) == 2


def test_damage_of_h263_is_decoded_in_sequence(tmp_path: Path) -> None:
    """What its decoder takes for damage depends on all that came before."""
    clip = encode(tmp_path / "clip.avi", 26, codec="h263", options={"g": "8"}, size=(96, 128))
    with av.open(str(clip)) as container:
        data = [bytes(packet) for packet in container.demux(video=0) if packet.size]
    content = bytearray(clip.read_bytes())
    at = content.index(data[3]) + len(data[3]) // 2
    content[at : at + 16] = bytes(reversed(range(200, 216)))
    clip.write_bytes(content)
    assert is_planned(clip)
    engine = PyAVEngine(PyAVDecoder(size=SIZE).engine_options(), lambda: None)
    try:
        source = engine._video(str(clip)).source
        with pytest.raises(PacketsMislead):
            list(source.frames([2, 4, 6]))
    finally:
        engine.close()
    require_as_in_sequence(clip, [place / RATE for place in range(26)])


def is_left_unpainted(path: Path) -> bool:
    """Whether a decoder leaves out blocks, and prints no error nor marks a picture."""
    av.logging.set_level(av.logging.DEBUG)
    try:
        with av.open(str(path)) as container, av.logging.Capture() as messages:
            container.streams.video[0].codec_context.thread_count = 1
            pictures = list(container.decode(video=0))
    except av.error.FFmpegError:
        return False
    finally:
        av.logging.set_level(None)
    is_quiet = all(level > av.logging.ERROR for level, _, _ in messages)
    is_marked = any(picture.is_corrupt for picture in pictures)
    return is_quiet and not is_marked and any("out of boundary" in text for _, _, text in messages)
