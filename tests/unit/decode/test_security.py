"""Untrusted files: only the named file is opened, only as a video, and never without bounds."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import av
import pytest

from longvid.decode import DecordDecoder, PyAVDecoder, TorchcodecDecoder, available_decoders
from longvid.decode.decoder import InProcessDecoder, RunningDecoder
from longvid.errors import ConfigError, VideoError
from longvid.types import Failure, FrameSize
from tests.unit.decode.footage import encode, one_segment


@pytest.fixture(scope="module")
def decoder() -> Iterator[RunningDecoder | InProcessDecoder]:
    """A decoder in a child, so that what goes wrong cannot hang the tests."""
    running = PyAVDecoder(size=FrameSize(16, 16), stall_seconds=20).setup()
    yield running
    running.close()


def refused(decoder: RunningDecoder | InProcessDecoder, path: Path | str) -> VideoError:
    with pytest.raises(VideoError) as caught:
        decoder.probe(str(path), video_id="id")
    assert caught.value.stage == "probe"
    assert str(path) in str(caught.value)
    return caught.value


def ffconcat(target: str) -> str:
    return f"ffconcat version 1.0\nfile {target}\n"


def playlist(target: str) -> str:
    return (
        "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:3\n"
        f"#EXTINF:2.4,\n{target}\n#EXT-X-ENDLIST\n"
    )


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts", "avi", "m3u8"])
@pytest.mark.parametrize("text", [ffconcat, playlist])
def test_a_text_in_disguise_opens_no_other_file(
    tmp_path: Path,
    decoder: RunningDecoder,
    text: object,
    suffix: str,
) -> None:
    assert callable(text)
    # Opening a pipe that nobody writes to would hang: being refused at once proves it was not
    # opened. The second disguise names a true video.
    os.mkfifo(tmp_path / "pipe.ts")
    encode(tmp_path / "secret.ts", 60)
    for target in ("pipe.ts", "secret.ts", f"file:{tmp_path / 'secret.ts'}"):
        disguise = tmp_path / f"video.{suffix}"
        disguise.write_text(text(target))
        assert refused(decoder, disguise).kind == "unsupported"


def test_the_disguise_is_a_real_danger(tmp_path: Path) -> None:
    # Without the allowlist FFmpeg does follow it: the tests above test something.
    encode(tmp_path / "secret.ts", 10)
    disguise = tmp_path / "video.mp4"
    disguise.write_text(ffconcat("secret.ts"))
    with av.open(str(disguise)) as container:
        assert container.format.name == "concat"
        assert len(list(container.decode(video=0))) == 10


@pytest.mark.parametrize("part", [DecordDecoder, TorchcodecDecoder])
def test_other_decoders_are_guarded_too(
    tmp_path: Path, part: type[DecordDecoder] | type[TorchcodecDecoder]
) -> None:
    name = part.__name__.removesuffix("Decoder").lower()
    if available_decoders()[name]:
        pytest.skip(available_decoders()[name])
    encode(tmp_path / "secret.ts", 10)
    disguise = tmp_path / "video.mp4"
    disguise.write_text(ffconcat("secret.ts"))
    running = part().setup()
    assert refused(running, disguise).kind == "unsupported"
    running.close()


def test_a_missing_library_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    from longvid.decode.decord_engine import decord_engine, why_no_decord
    from longvid.decode.torchcodec_engine import torchcodec_engine, why_no_torchcodec

    monkeypatch.setitem(sys.modules, "decord", None)
    monkeypatch.setitem(sys.modules, "torchcodec.decoders", None)
    for why, engine in ((why_no_decord, decord_engine), (why_no_torchcodec, torchcodec_engine)):
        assert "cannot be imported" in why()
        with pytest.raises(VideoError, match="cannot be imported"):
            engine({}, lambda: None)
    for part in (DecordDecoder(), TorchcodecDecoder()):
        with pytest.raises(ConfigError, match="cannot be imported"):
            part.setup()


@pytest.mark.parametrize(
    "text",
    [
        "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\n",
        "<?xml version='1.0'?><MPD xmlns='urn:mpeg:dash:schema:mpd:2011'></MPD>",
        "P6 64 64 255\n" + "x" * 64 * 64 * 3,
    ],
)
def test_other_formats_are_refused(tmp_path: Path, decoder: RunningDecoder, text: str) -> None:
    path = tmp_path / "video.mp4"
    path.write_text(text)
    assert refused(decoder, path).kind == "unsupported"


def test_an_address_is_not_a_file(decoder: RunningDecoder) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        address = f"http://127.0.0.1:{server.getsockname()[1]}/video.mp4"
        assert refused(decoder, address).kind == "unreadable"
        with pytest.raises(TimeoutError):
            server.accept()
    for name in ("concat:a.ts|b.ts", "pipe:0", "fd:", "subfile,,start,0,end,0,,:a.mp4", "-"):
        assert refused(decoder, name).kind == "unreadable"


@pytest.mark.parametrize("name", ["http:x.mp4", "concat:a.mp4", "%03d.mp4", "-i.mp4", "ä ö.mp4"])
def test_odd_names_are_names(
    tmp_path: Path,
    decoder: RunningDecoder,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = encode(tmp_path / "plain.mp4", 3)
    path = made.rename(tmp_path / name)
    assert decoder.probe(str(path)).num_frames == 3
    monkeypatch.chdir(tmp_path)
    with PyAVDecoder(isolate=False).setup() as relative:
        assert relative.probe(name).num_frames == 3


@pytest.mark.parametrize(("codec", "suffix"), [("snow", "avi"), ("tiff", "mov"), ("cfhd", "mov")])
def test_codecs_off_the_list_are_refused(
    tmp_path: Path, decoder: RunningDecoder, codec: str, suffix: str
) -> None:
    pix_fmt = {"snow": "yuv420p", "tiff": "rgb24", "cfhd": "yuv422p10le"}[codec]
    path = encode(tmp_path / f"video.{suffix}", 2, codec=codec, pix_fmt=pix_fmt)
    error = refused(decoder, path)
    assert error.kind == "unsupported"
    assert codec in str(error)


@pytest.mark.parametrize("codec", ["libx264", "mjpeg", "ffv1"])
def test_huge_frames_are_refused(tmp_path: Path, codec: str) -> None:
    pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    path = encode(tmp_path / "video.mkv", 2, codec=codec, pix_fmt=pix_fmt, size=(96, 128))
    with PyAVDecoder(max_pixels=96 * 128 - 1).setup() as small:
        error = refused(small, path)
        assert error.kind == "too-large"
        assert "128x96" in str(error)
    with PyAVDecoder(max_pixels=96 * 128).setup() as enough:
        assert enough.probe(str(path)).width == 128


def test_a_film_that_grows_beyond_the_limit_is_a_gap(tmp_path: Path) -> None:
    first = encode(tmp_path / "1.ts", 25, size=(48, 64))
    later = [100 * (index + 30) for index in range(25)]
    second = encode(tmp_path / "2.ts", pts=later, size=(96, 128))
    both = tmp_path / "both.ts"
    both.write_bytes(first.read_bytes() + second.read_bytes())
    with PyAVDecoder(size=FrameSize(16, 16), max_pixels=48 * 64).setup() as decoder:
        video = decoder.probe(str(both))
        start = video.start_seconds
        batch, gap = decoder.decode(one_segment(video, [start, start + 1.5]))
    assert not isinstance(batch, Failure)
    assert batch.pts_seconds.tolist() == [start]
    assert isinstance(gap, Failure)
    assert gap.kind == "corrupt"
    assert gap.start_seconds == pytest.approx(start + 1.48, abs=0.05)


def test_memory_is_bounded(tmp_path: Path) -> None:
    path = encode(tmp_path / "video.mp4", 2, size=(2160, 3840), options={"preset": "ultrafast"})
    with PyAVDecoder(memory_bytes=24 << 20).setup() as decoder, pytest.raises(VideoError) as caught:
        decoder.probe(str(path))
    assert caught.value.kind == "out-of-memory"
