"""Lost pictures of H.264 are told from the numbers of those that come."""

from __future__ import annotations

from pathlib import Path

import av
import pytest

from longvid.decode.frame_numbers import FrameNumbers
from longvid.decode.h264_headers import Bits
from tests.unit.decode.footage import decoded, encode, failures, one_segment
from tests.unit.decode.test_lost_pictures import decoder, without_packet

DATA = Path(__file__).parents[2] / "data"
CLIPS = sorted(
    path
    for path in (
        *DATA.rglob("*.mp4"),
        *DATA.rglob("*.mkv"),
        *DATA.rglob("*.ts"),
        *DATA.rglob("*.mov"),
    )
)
OPTIONS = {"g": "12", "bf": "2", "x264-params": "scenecut=0:b-pyramid=none:ref=4"}


def stream_of(path: Path) -> tuple[str, bytes, list[bytes], list[int]]:
    with av.open(str(path)) as container:
        codec = container.streams.video[0].codec_context
        read = [packet for packet in container.demux(video=0) if packet.size]
        return (
            codec.name,
            bytes(codec.extradata or b""),
            [bytes(packet) for packet in read],
            [packet.pts or 0 for packet in read],
        )


def losses(extradata: bytes, packets: list[bytes]) -> list[int]:
    is_behind_a_loss = FrameNumbers(extradata)
    return [at for at, data in enumerate(packets) if is_behind_a_loss(memoryview(data))]


def test_nothing_is_lost_in_sound_clips() -> None:
    seen = 0
    for path in CLIPS:
        try:
            codec, extradata, packets, _ = stream_of(path)
        except (av.error.FFmpegError, IndexError):
            continue  # a case that is no video
        if codec == "h264":
            assert losses(extradata, packets) == [], path
            seen += 1
    assert seen >= 8


@pytest.mark.parametrize("suffix", ["mp4", "ts"])
def test_a_lost_reference_is_noticed_and_a_lost_other_picture_is_not(
    tmp_path: Path, suffix: str
) -> None:
    clip = encode(tmp_path / f"clip.{suffix}", 30, codec="libx264", options=OPTIONS)
    _, extradata, packets, pts = stream_of(clip)
    assert losses(extradata, packets) == []
    # Behind two P-pictures in a row nothing is set back to 0 or 1 yet.
    reference = next(at for at in range(7, 30) if pts[at] > pts[at + 1])
    found = losses(extradata, packets[:reference] + packets[reference + 1 :])
    assert found
    assert found[0] in (reference, reference + 1, reference + 2)
    other = reference + 1
    assert losses(extradata, packets[:other] + packets[other + 1 :]) == []


def test_what_refers_to_a_lost_picture_is_a_gap(tmp_path: Path) -> None:
    clip = encode(tmp_path / "clip.mkv", 36, codec="libx264", options=OPTIONS, size=(48, 64))
    _, _, _, pts = stream_of(clip)
    lost = next(at for at in range(7, 30) if pts[at] > pts[at + 1])
    damaged = without_packet(clip, tmp_path / "damaged.mkv", lost)
    times = [place / 25 for place in range(36)]
    found = {}
    for plan in (True, False):
        with decoder(plan=plan) as running:
            video = running.probe(str(damaged), "lost")
            [gap, *_] = failures(running.decode(one_segment(video, times)))
            found[plan] = gap.kind, decoded(running.decode(one_segment(video, times)))
    assert found[True][0] == found[False][0] == "corrupt"


def test_codes_are_read_as_the_standard_writes_them() -> None:
    bits = Bits(memoryview(bytes([0b1_010_011_0, 0b0100_0010, 0b1_0000000])))
    assert [bits.unsigned() for _ in range(4)] == [0, 1, 2, 3]
    assert bits.signed() == -2
    assert Bits(memoryview(b"\x01\0\0\3\1")).take(32) == 0x01000001
    empty = Bits(memoryview(b""))
    assert empty.unsigned() == 0
    assert empty.ran_out


@pytest.mark.parametrize(
    "content", [b"", b"\0", b"\x67\x64\0\x1f", bytes(40), b"\x67" + b"\xff" * 60]
)
def test_damaged_parameters_tell_nothing(content: bytes) -> None:
    for extradata in (content, b"\0\0\1" + content, b"\1\x64\0\x1f\xff\xe1\0\x20" + content):
        assert losses(extradata, [content, b"\0\0\0\5\x41" + content]) == []
