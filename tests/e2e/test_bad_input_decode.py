"""A corpus of broken files: each gives frames with true times, or failures of one kind, and an end.

Broken how: cut at 20 places, single bytes changed at 50 places, renamed text, empty, a directory, a
pipe, a loop of links, no permission. The decoder's child must survive them all or be replaced.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from longvid.decode import PyAVDecoder
from longvid.decode.decoder import RunningDecoder
from longvid.errors import VideoError
from longvid.types import FAILURE_KINDS, Failure, FrameBatch, FrameSize, Video
from tests.unit.decode.footage import all_frames, decoded, encode, one_segment

FRAMES, RATE = 50, 25


@pytest.fixture(scope="module")
def decoder() -> Iterator[RunningDecoder]:
    """One decoder for the whole corpus: what one file breaks, the next must not feel."""
    running = PyAVDecoder(size=FrameSize(24, 32), stall_seconds=20, deadline_seconds=60).setup()
    assert isinstance(running, RunningDecoder)
    with running:
        yield running


OPTIONS = {"g": "10", "bf": "2", "preset": "ultrafast"}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One sound film a container; the first has its header in front."""
    folder = tmp_path_factory.mktemp("whole")
    front = {"movflags": "faststart"}
    return {
        "mp4": encode(folder / "a.mp4", FRAMES, options=OPTIONS, container_options=front),
        "mkv": encode(folder / "a.mkv", FRAMES, options=OPTIONS),
        "ts": encode(folder / "a.ts", FRAMES, options=OPTIONS),
        "webm": encode(folder / "a.webm", FRAMES, codec="libvpx", options={"g": "10"}),
        "avi": encode(folder / "a.avi", FRAMES, codec="mpeg4", options={"g": "10"}),
    }


def outcome(decoder: RunningDecoder, path: Path) -> tuple[Video | None, list[FrameBatch | Failure]]:
    """Probe and decode a file at 10 fps, in two segments; an error of probing is a failure."""
    try:
        video = decoder.probe(str(path), video_id="id")
    except VideoError as error:
        return None, [Failure("", str(path), error.stage, error.kind, str(error))]
    length = min(max(video.duration_seconds, 0.1), 20.0)
    times = (video.start_seconds + np.arange(0, length, 0.1)).tolist()
    return video, list(decoder.decode(one_segment(video, times, parts=min(2, len(times)))))


def is_told(path: Path, items: list[FrameBatch | Failure]) -> None:
    """Assert that an outcome is frames in order, or failures of one kind with a sentence."""
    assert items
    failures = [item for item in items if isinstance(item, Failure)]
    assert len({failure.kind for failure in failures}) <= 1
    for failure in failures:
        assert failure.kind in FAILURE_KINDS
        assert failure.kind not in ("decode-timeout", "decoder-crash")
        assert failure.stage in ("probe", "decode")
        assert str(path) in failure.error
        assert failure.error.endswith(".")
        if failure.stage == "decode":
            assert failure.start_seconds is not None
            assert failure.end_seconds is not None
            assert failure.start_seconds <= failure.end_seconds
    times = [
        pts for item in items if isinstance(item, FrameBatch) for pts in item.pts_seconds.tolist()
    ]
    assert times == sorted(times)


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts", "webm", "avi"])
def test_cut_files(
    decoder: RunningDecoder, whole: dict[str, Path], tmp_path: Path, suffix: str
) -> None:
    content = whole[suffix].read_bytes()
    true = {pts for pts, _ in all_frames(whole[suffix])}
    seen = 0
    for place in range(20):
        path = tmp_path / f"cut-{place}.{suffix}"
        path.write_bytes(content[: len(content) * (2 * place + 1) // 40])
        video, items = outcome(decoder, path)
        is_told(path, items)
        found = decoded(items)
        assert set(found) <= true
        seen += bool(found)
        if found and video is not None and suffix in ("mp4", "mkv", "webm", "avi"):
            # All of these know how long they should be: what is gone is recorded.
            missing = max(true) - video.end_seconds
            gaps = [item for item in items if isinstance(item, Failure)]
            assert gaps or missing < 0.6
            assert all(gap.is_gap for gap in gaps)
    assert seen >= 10


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts", "webm", "avi"])
def test_changed_bytes(
    decoder: RunningDecoder, whole: dict[str, Path], tmp_path: Path, suffix: str
) -> None:
    content = whole[suffix].read_bytes()
    chance = random.Random(11)
    intact = 0
    for place in range(50):
        broken = bytearray(content)
        # Half of them in the first tenth, where headers are.
        end = len(content) // 10 if place % 2 else len(content)
        where = chance.randrange(end)
        broken[where] ^= chance.randrange(1, 256)
        path = tmp_path / f"changed-{place}.{suffix}"
        path.write_bytes(broken)
        _, items = outcome(decoder, path)
        is_told(path, items)
        intact += bool(decoded(items))
        path.unlink()
    assert intact >= 20


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts", "avi", "webm", "gif", "mov"])
@pytest.mark.parametrize(
    "content",
    [b"", b"\0", b"This is not a video.\n" * 50, bytes(range(256)) * 64, b"\0" * 4096],
    ids=["empty", "one-byte", "text", "bytes", "zeros"],
)
def test_what_is_not_a_video(
    decoder: RunningDecoder, tmp_path: Path, suffix: str, content: bytes
) -> None:
    path = tmp_path / f"renamed.{suffix}"
    path.write_bytes(content)
    video, (failure,) = outcome(decoder, path)
    assert video is None
    assert isinstance(failure, Failure)
    assert failure.kind in ("unsupported", "corrupt")
    is_told(path, [failure])


def test_what_is_not_a_file(decoder: RunningDecoder, tmp_path: Path) -> None:
    (tmp_path / "folder.mp4").mkdir()
    os.mkfifo(tmp_path / "pipe.mp4")
    (tmp_path / "loop.mp4").symlink_to("other.mp4")
    (tmp_path / "other.mp4").symlink_to("loop.mp4")
    (tmp_path / "dangling.mp4").symlink_to("nowhere.mp4")
    names = ["folder", "pipe", "loop", "dangling", "missing", "x" * 300]
    for path in [*(tmp_path / f"{name}.mp4" for name in names), Path("/dev/zero")]:
        video, (failure,) = outcome(decoder, path)
        assert video is None
        assert isinstance(failure, Failure)
        assert (failure.stage, failure.kind) == ("probe", "unreadable")
        is_told(path, [failure])


def test_no_permission(decoder: RunningDecoder, whole: dict[str, Path], tmp_path: Path) -> None:
    path = tmp_path / "locked.mp4"
    path.write_bytes(whole["mp4"].read_bytes())
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("this user may read everything")
    _, (failure,) = outcome(decoder, path)
    assert isinstance(failure, Failure)
    assert failure.kind == "unreadable"
    assert "permission" in failure.error.lower()


def test_sound_without_pictures(decoder: RunningDecoder, tmp_path: Path) -> None:
    import av

    path = tmp_path / "sound.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=48_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 48_000), np.float32), "fltp", "mono")
        frame.sample_rate = 48_000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    _, (failure,) = outcome(decoder, path)
    assert isinstance(failure, Failure)
    assert failure.kind == "unsupported"
    assert "no video stream" in failure.error


def test_a_file_that_vanishes_or_changes_after_probing(
    decoder: RunningDecoder, whole: dict[str, Path], tmp_path: Path
) -> None:
    path = tmp_path / "going.mp4"
    path.write_bytes(whole["mp4"].read_bytes())
    video = decoder.probe(str(path))
    path.write_text("now a text")
    for kind in ("unsupported", "unreadable"):
        (failure,) = decoder.decode(one_segment(video, [0.0, 1.0]))
        assert isinstance(failure, Failure)
        assert failure.kind == kind
        assert (failure.start_seconds, failure.end_seconds) == (0.0, video.end_seconds)
        path.unlink(missing_ok=True)
