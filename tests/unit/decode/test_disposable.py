"""Which packets may be left out: bit by bit, then by decoding without them."""

from __future__ import annotations

from pathlib import Path

import av
import pytest

from longvid.decode.non_reference import disposable_h264, disposable_test
from tests.unit.decode.footage import encode


def units(length_bytes: int, *payloads: bytes) -> memoryview:
    """Join NAL units as AVCC (length_bytes > 0) or Annex B (0)."""
    if length_bytes:
        parts = [len(unit).to_bytes(length_bytes, "big") + unit for unit in payloads]
    else:
        parts = [b"\0\0\1" + unit for unit in payloads]
    return memoryview(b"".join(parts))


SEI, SPS, AUD = b"\x06rest", b"\x67rest", b"\x09\x10"
REFERENCE, NON_REFERENCE, IDR = b"\x41rest", b"\x01rest", b"\x65rest"


@pytest.mark.parametrize("length_bytes", [0, 1, 2, 4])
@pytest.mark.parametrize(
    ("payloads", "disposable"),
    [
        ((NON_REFERENCE,), True),
        ((AUD, SEI, NON_REFERENCE, NON_REFERENCE), True),
        ((REFERENCE,), False),
        ((IDR,), False),
        ((NON_REFERENCE, REFERENCE), False),  # two fields, one of them referred to
        ((SPS, NON_REFERENCE), False),  # parameter sets must reach the decoder
        ((SEI,), False),  # no picture at all
        ((b"\x14rest", NON_REFERENCE), False),  # a scalable extension: unknown, so kept
    ],
)
def test_h264(length_bytes: int, payloads: tuple[bytes, ...], disposable: bool) -> None:
    assert disposable_h264(units(length_bytes, *payloads), length_bytes) is disposable


@pytest.mark.parametrize("length_bytes", [0, 4])
def test_damaged_packets_are_kept(length_bytes: int) -> None:
    whole = bytes(units(4, NON_REFERENCE))
    assert disposable_h264(memoryview(whole[:-2]), 4) is False
    assert disposable_h264(memoryview(b""), length_bytes) is False
    assert disposable_h264(memoryview(b"nothing of the kind"), length_bytes) is False


def hevc_unit(unit_type: int, layer: int, rest: bytes = b"rest") -> bytes:
    return bytes([unit_type << 1, layer + 1]) + rest


def hevc_sps(highest_layer: int) -> bytes:
    return hevc_unit(33, 0, bytes([highest_layer << 1, 0, 0]))


@pytest.mark.parametrize(
    ("highest_layer", "unit_type", "layer", "disposable"),
    [
        (0, 0, 0, True),  # TRAIL_N, the only layer
        (0, 8, 0, True),  # RASL_N
        (0, 1, 0, False),  # TRAIL_R
        (0, 19, 0, False),  # IDR
        (2, 0, 2, True),  # TRAIL_N of the highest layer
        (2, 0, 1, False),  # a picture of layer 2 may refer to it
        (0, 10, 0, False),  # reserved
    ],
)
def test_hevc(highest_layer: int, unit_type: int, layer: int, disposable: bool) -> None:
    test = disposable_test("hevc", bytes(units(0, hevc_sps(highest_layer))))
    assert test is not None
    assert test(units(0, hevc_unit(unit_type, layer))) is disposable


def test_hevc_without_parameter_sets_keeps_everything() -> None:
    test = disposable_test("hevc", None)
    assert test is not None
    assert test(units(0, hevc_unit(0, 0))) is False
    assert test(units(0, hevc_sps(0), hevc_unit(0, 0))) is False
    assert test(units(0, hevc_unit(0, 0))) is True  # learnt from the packet before


def test_other_codecs_cannot_be_told() -> None:
    assert disposable_test("vp9", b"") is None


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts", "avi", "flv"])
def test_h264_of_every_container_agrees_with_the_decoder(tmp_path: Path, suffix: str) -> None:
    options = {"g": "24", "bf": "3", "b_strategy": "0", "x264-params": "b-pyramid=none"}
    path = encode(tmp_path / f"clip.{suffix}", 60, options=options)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        test = disposable_test("h264", stream.codec_context.extradata)
        assert test is not None
        packets = [packet for packet in container.demux(stream) if packet.size]
        found = sum(test(memoryview(packet)) for packet in packets)
    kinds = []
    with av.open(str(path)) as container:
        kinds = [frame.pict_type for frame in container.decode(video=0)]
    # Without a pyramid no B picture is referred to, and every other is, but perhaps the last.
    assert kinds.count(3) > 20
    assert found - kinds.count(3) in (0, 1)
