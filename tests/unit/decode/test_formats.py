"""Every pair of container and codec that is allowed, against decoding everything from the start."""

from __future__ import annotations

import random
from pathlib import Path

import av
import pytest

from longvid.decode import PyAVDecoder
from longvid.errors import VideoError
from longvid.types import FrameSize
from tests.fuzz.clip_pairs import PAIRS, Pair
from tests.unit.decode.footage import as_rgb, decoded, encode, failures, one_segment

SIZE = FrameSize(24, 32)
EXACT = PyAVDecoder(size=SIZE, isolate=False)


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair.name)
def test_every_frame_is_exact(tmp_path: Path, pair: Pair) -> None:
    count = 4 if max(pair.size) > 500 else 26
    path = pair.make(tmp_path, count)
    with av.open(str(path)) as container:
        every = [as_rgb(frame, SIZE.height, SIZE.width) for frame in container.decode(video=0)]
    decoder = EXACT.setup()
    video = decoder.probe(str(path))
    assert video.num_frames == len(every) == count
    times = [video.start_seconds + (rank + 0.5) / pair.rate for rank in range(count)]
    for some in (times, times[2::7]):
        items = list(decoder.decode(one_segment(video, some, parts=min(2, len(some)))))
        assert not failures(items)
        found = decoded(items)
        assert len(found) == len(some)
        for pts, data in found.items():
            assert (data == every[round((pts - video.start_seconds) * pair.rate)]).all(), pts
    decoder.close()


CENC = {
    "encryption_scheme": "cenc-aes-ctr",
    "encryption_key": "76a6c65c5ea762046bd749a2e632ccbb",
    "encryption_kid": "a7e61c373e219033c21091fa607bf3b8",
}


def refusal(path: Path) -> VideoError:
    with pytest.raises(VideoError) as caught:
        EXACT.setup().probe(str(path))
    return caught.value


def test_what_is_encrypted_is_called_so(tmp_path: Path) -> None:
    cenc = encode(tmp_path / "cenc.mp4", 20, container_options=CENC)
    # PIFF keeps what FFmpeg looks for in boxes that it does not know.
    piff = tmp_path / "piff.mp4"
    piff.write_bytes(cenc.read_bytes().replace(b"senc", b"uuid").replace(b"cenc", b"piff"))
    # FFmpeg cannot open what its own muxer writes here.
    fragments = {**CENC, "movflags": "frag_keyframe+empty_moov"}
    encode(tmp_path / "fragments.mp4", 20, container_options=fragments)
    scrambled = bytearray(encode(tmp_path / "plain.ts", 20).read_bytes())
    chance = random.Random(3)
    for at in range(0, len(scrambled), 188):
        if (scrambled[at + 1] & 31) << 8 | scrambled[at + 2] == 256:  # the video's packets
            scrambled[at + 3] |= 0x80
            scrambled[at + 12 : at + 188] = chance.randbytes(176)
    (tmp_path / "scrambled.ts").write_bytes(scrambled)
    css = bytearray(encode(tmp_path / "plain.vob", 20, codec="mpeg2video").read_bytes())
    at = css.index(b"\0\0\1\xe0")
    css[at + 6] |= 0x10
    (tmp_path / "css.vob").write_bytes(css)
    wmv = encode(tmp_path / "plain.wmv", 20, codec="wmv2").read_bytes()
    guid = bytes.fromhex("fbb3112223bdd211b4b700a0c955fc6e")
    (tmp_path / "drm.wmv").write_bytes(wmv + guid)
    for name in ("cenc.mp4", "piff.mp4", "fragments.mp4", "scrambled.ts", "css.vob", "drm.wmv"):
        error = refusal(tmp_path / name)
        assert (error.kind, "is encrypted" in str(error)) == ("unsupported", True), name
    for name in ("plain.ts", "plain.vob", "plain.wmv"):
        assert EXACT.setup().probe(str(tmp_path / name)).num_frames == 20


def test_an_mp4_without_its_index_is_cut(tmp_path: Path) -> None:
    content = encode(tmp_path / "whole.mp4", 20).read_bytes()
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(content[: content.index(b"moov") - 4])
    error = refusal(cut)
    assert error.kind == "corrupt"
    assert "is cut off: the index at its end is missing" in str(error)
    assert "known container" not in str(error)
