"""The child process: it is reused, bounded, killed when late, and never outlives its parent."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import platform
import resource
import signal
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from longvid.decode import PyAVDecoder
from longvid.decode.child import _SharedFrames
from longvid.decode.decoder import RunningDecoder
from longvid.decode.process import Limits
from longvid.errors import VideoError
from longvid.types import Chunk, Failure, FrameBatch, FrameSize, SegmentPlan, Video

ROOT = Path(__file__).parents[2]
ENGINE = "tests.e2e.hostile_engine:Engine"
VIDEO = Video("clip.mp4", "id", 0.0, 10.0, 1.0, 10, 4, 6)


STALLED = ("sleep", "spin_without_releasing_the_interpreter")


def hostile(misdeed: str, at: int = 1, **options: Any) -> RunningDecoder:
    # Each of the late runs into one limit only, however busy the machine is.
    deadline = 2.0 if misdeed == "work_for_ever" else 60.0
    stall = 2.0 if misdeed in STALLED else 60.0
    limits = Limits(deadline_seconds=deadline, stall_seconds=stall, memory_bytes=256 << 20)
    return RunningDecoder(ENGINE, {"misdeed": misdeed, "at": at, **options}, limits)


def chunk(num_segments: int = 3) -> Chunk:
    segments = tuple(
        SegmentPlan(
            index, 2.0 * index, 2.0 * index + 2, (2.0 * index, 2.0 * index + 1), (True, False)
        )
        for index in range(num_segments)
    )
    return Chunk(VIDEO, segments)


def test_frames_come_through_shared_memory() -> None:
    with hostile("none") as decoder:
        batches = list(decoder.decode(chunk()))
    assert [batch.segment_index for batch in batches if isinstance(batch, FrameBatch)] == [0, 1, 2]
    for index, batch in enumerate(batches):
        assert isinstance(batch, FrameBatch)
        assert batch.data.shape == (2, 3, 4, 6)
        assert (batch.data == index).all()
        assert batch.pts_seconds.tolist() == [2.0 * index, 2.0 * index + 1]
        assert batch.slow.tolist() == [True, False]


def test_frames_outlive_the_decoder() -> None:
    decoder = hostile("none")
    batch = next(iter(decoder.decode(chunk())))
    decoder.close()
    assert isinstance(batch, FrameBatch)
    batch.data.add_(7)  # the memory is the reader's own
    assert (batch.data == 7).all()


def test_one_child_serves_many_chunks() -> None:
    with hostile("none") as decoder:
        list(decoder.decode(chunk()))
        first = decoder.child_pid
        list(decoder.decode(chunk()))
        assert first is not None
        assert decoder.child_pid == first


def test_a_child_imports_no_torch(data: Path) -> None:
    with PyAVDecoder().setup() as decoder:
        decoder.probe(str(data / "bbb_rabbit_5s.mp4"))
        mapped = Path(f"/proc/{decoder.child_pid}/maps").read_text()
    assert "libavcodec" in mapped
    assert "libtorch" not in mapped


@pytest.mark.parametrize(
    ("misdeed", "kind", "word"),
    [
        ("allocate_without_end", "out-of-memory", "memory"),
        ("abort", "decoder-crash", "SIGABRT"),
        ("be_killed", "out-of-memory", "killed"),
        ("have_a_bug", "decoder-error", "ZeroDivisionError: of the engine's own making"),
    ],
)
def test_a_misdeed_is_one_failure(misdeed: str, kind: str, word: str) -> None:
    with hostile(misdeed) as decoder:
        first, failure = decoder.decode(chunk())
        assert isinstance(first, FrameBatch)
        assert isinstance(failure, Failure)
        assert (failure.kind, failure.stage) == (kind, "decode")
        assert (failure.start_seconds, failure.end_seconds) == (2.0, 6.0)
        assert word in failure.error
        assert failure.error.startswith("clip.mp4: ")
        if misdeed == "abort":
            assert "a last word" in failure.stderr
        if misdeed == "have_a_bug":
            assert "of the engine's own making" in failure.stderr
        # The next chunk is decoded by a new child.
        only = list(decoder.decode(Chunk(VIDEO, chunk().segments[:1])))
        assert [type(item) for item in only] == [FrameBatch]


@pytest.mark.parametrize(("misdeed", "kind"), [("allocate_without_end", "out-of-memory")])
def test_a_misdeed_while_probing_is_an_error(misdeed: str, kind: str) -> None:
    with hostile(misdeed, at=-1) as decoder, pytest.raises(VideoError) as caught:
        decoder.probe("clip.mp4", video_id="id")
    assert (caught.value.kind, caught.value.stage) == (kind, "probe")


def test_whatever_is_late_is_stopped() -> None:
    """All at once: each runs into its limit of two seconds."""
    words = dict.fromkeys(STALLED, "no progress for 2 s") | {"work_for_ever": "within 2 s"}
    late = "decode-timeout"
    with ThreadPoolExecutor(4) as pool:
        waited = [
            *(
                pool.submit(test_a_misdeed_is_one_failure, misdeed, late, word)
                for misdeed, word in words.items()
            ),
            pool.submit(test_a_misdeed_while_probing_is_an_error, "sleep", late),
        ]
        for one in waited:
            one.result()


@pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() not in ("x86_64", "aarch64"),
    reason="other systems do not support it",
)
def test_a_child_has_no_keys_no_network_and_no_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("HF_TOKEN", "secret")
    monkeypatch.setenv("LD_LIBRARY_PATH", "/opt/libraries")
    with hostile("look_around", at=-1) as decoder, pytest.raises(VideoError) as caught:
        decoder.probe("clip.mp4", video_id="id")
    found = json.loads(str(caught.value).removeprefix("clip.mp4: ").removesuffix("."))
    assert found["socket"] == found["program"] == "Permission denied"
    assert found["environment"]["LD_LIBRARY_PATH"] == "/opt/libraries"
    assert "secret" not in found["environment"].values()
    assert "PYTHONPATH" not in found["environment"]


def test_an_engine_that_does_not_start_says_why() -> None:
    with hostile("not_start") as decoder:
        (failure,) = decoder.decode(chunk())
        assert isinstance(failure, Failure)
        assert (failure.kind, failure.error) == ("unsupported", "clip.mp4: no engine today.")
        with pytest.raises(VideoError, match="no engine today"):
            decoder.start()


def test_a_forgotten_decoder_leaves_no_child() -> None:
    decoder = hostile("none")
    decoder.start()
    pid = decoder.child_pid
    assert pid is not None
    del decoder
    assert not is_running(pid)


def test_a_child_does_not_run_ahead(tmp_path: Path) -> None:
    count = tmp_path / "count"
    with hostile("none", count=str(count)) as decoder:
        reader = iter(decoder.decode(chunk(50)))
        next(reader)
        time.sleep(0.3)
        # Two slots that nobody has read, and the segment that waits for one of them.
        assert len(count.read_text()) <= 4
        assert len(list(reader)) == 49


def test_frames_wait_until_a_descriptor_is_free() -> None:
    """Every descriptor is in use when decoding begins; they become free while it waits."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with hostile("none") as decoder:
        list(decoder.decode(chunk(1)))  # its process is there
        resource.setrlimit(resource.RLIMIT_NOFILE, (200, hard))
        taken = []
        try:
            with contextlib.suppress(OSError):
                while True:
                    taken.append(os.open(os.devnull, os.O_RDONLY))
            found: list[object] = []
            thread = threading.Thread(target=lambda: found.extend(decoder.decode(chunk(20))))
            thread.start()
            thread.join(0.5)
            assert thread.is_alive()
        finally:
            for descriptor in taken:
                os.close(descriptor)
            thread.join(60)
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert [type(each) for each in found] == [FrameBatch] * 20


def test_leaving_early_leaves_the_decoder_usable() -> None:
    with hostile("none") as decoder:
        reader = decoder.decode(chunk(20))
        next(iter(reader))
        reader.close()  # type: ignore[attr-defined]  # it is a generator
        assert len(list(decoder.decode(chunk()))) == 3


def test_close_ends_a_waiting_thread() -> None:
    decoder = hostile("sleep", at=0)
    found: list[object] = []
    thread = threading.Thread(target=lambda: found.extend(decoder.decode(chunk())))
    thread.start()
    while decoder.child_pid is None:
        time.sleep(0.01)
    decoder.close()
    thread.join(60)
    assert not thread.is_alive()
    assert found == []
    with pytest.raises(VideoError, match="closed"):
        list(decoder.decode(chunk()))


def test_threads_with_a_decoder_each(data: Path) -> None:
    found: list[object] = []

    def work() -> None:
        with PyAVDecoder(size=FrameSize(8, 8)).setup() as decoder:
            found.append(decoder.probe(str(data / "bbb_rabbit_5s.mp4")).num_frames)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [132] * 3


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel ends the child on Linux only")
@pytest.mark.parametrize("misdeed", ["none", "spin_without_releasing_the_interpreter"])
def test_a_child_dies_with_its_parent(misdeed: str) -> None:
    code = f"""
        import threading, time
        from tests.e2e.test_decoder_process import chunk, hostile
        decoder = hostile({misdeed!r}, at=0)
        decoder.start()
        print(decoder.child_pid, flush=True)
        if {misdeed!r} != "none":
            threading.Thread(target=lambda: list(decoder.decode(chunk()))).start()
        time.sleep(3600)
    """
    parent = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    time.sleep(0.3)
    assert is_running(child)
    # Frames are in files without a name, so that none is left when both are dead.
    assert "/dev/shm/" not in Path(f"/proc/{child}/maps").read_text()
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    until = time.monotonic() + 60
    while is_running(child) and time.monotonic() < until:
        time.sleep(0.02)
    assert not is_running(child)


def test_a_limit_for_the_size_of_files_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(descriptor: int, num_bytes: int) -> None:
        raise OSError(errno.EFBIG, "File too large")

    monkeypatch.setattr(os, "ftruncate", refuse)
    with pytest.raises(VideoError, match=r"more than a file may have here \(ulimit -f\)"):
        _SharedFrames().allocate((2, 3, 4, 4))
