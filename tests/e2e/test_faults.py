"""Kill an indexing run anywhere: the same command finishes it, and the store is as if undisturbed.

Drivers and decoding processes are killed by SIGKILL at moments drawn from a seed. LONGVID_KILLS
sets how many, LONGVID_SEED the seed. What a cluster adds is in test_ray_cluster.py.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import shutil
import signal
import time
from dataclasses import replace
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest

from benchmarks.speed.processes import tree
from benchmarks.speed.stand_ins import StandInEncoder, stand_in_config
from longvid.config import Config
from longvid.decode.pyav import PyAVDecoder
from longvid.errors import FailureRateError
from longvid.indexing.local_runner import run_local
from longvid.indexing.report import IndexReport
from longvid.inputs import list_videos
from longvid.store import Store
from tests.e2e.clips import make_clip

KILLS = int(os.environ.get("LONGVID_KILLS", "20"))
SEED = int(os.environ.get("LONGVID_SEED", "20261121"))


def config(**run: Any) -> Config:
    """The real decoder in its child process, before an encoder that takes a moment a frame."""
    chosen = stand_in_config(
        "sample.chunk_segments=1",
        decoder=PyAVDecoder(),
        encoder=StandInEncoder(seconds_per_frame=0.004),
    )
    return replace(chosen, run=replace(chosen.run, decode_workers=1, **run))


def index(videos: str, store: str, **run: Any) -> IndexReport:
    return run_local(list_videos([videos]), store, config(**run))


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four videos of two chunks each, one of them under a second name."""
    folder = tmp_path_factory.mktemp("videos")
    for number in range(4):
        make_clip(folder / f"{number}.mp4", 10, number)
    shutil.copy(folder / "1.mp4", folder / "again.mp4")
    return folder


@pytest.fixture(scope="module")
def undisturbed(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = str(tmp_path_factory.mktemp("undisturbed") / "store")
    report = index(str(videos), store)
    assert (report.videos_indexed, report.videos_skipped) == (4, 1)
    return Store.open(store)


@pytest.fixture(scope="module")
def context() -> Any:
    """Processes forked from one that has imported everything: starting one costs nothing."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.e2e.test_faults", "faiss", "longvid.reduce"])
    return context


def start(context: Any, *arguments: str) -> BaseProcess:
    process: BaseProcess = context.Process(target=index, args=arguments)
    process.start()
    return process


def kill_decoder(driver: int) -> bool:
    """Kill a decoding process of a driver; False if there is none, or it has just ended."""
    children = [pid for pid in tree(driver) if pid != driver]
    if not children:
        return False
    try:
        os.kill(children[-1], signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def wait_for_files(process: BaseProcess, store: Path, num_files: int) -> None:
    """Wait until a run has written so many files of videos, or has ended."""
    while process.is_alive() and len(list(store.glob("videos/*/*"))) < num_files:
        time.sleep(0.002)


def finished(store: Path) -> set[str]:
    return {path.parent.name for path in store.glob("videos/*/manifest.json")}


def chunk_times(store: Path, videos: set[str]) -> dict[str, int]:
    """Return when the objects of some videos were written."""
    return {
        str(path): path.stat().st_mtime_ns
        for video in videos
        for path in (store / "videos" / video).glob("*")
        if path.is_file()
    }


@pytest.mark.parametrize("victim", ["driver", "decoding process"])
def test_the_same_command_finishes_what_was_killed(
    victim: str, context: Any, videos: Path, undisturbed: Store, tmp_path: Path
) -> None:
    drawn = random.Random(f"{SEED} {victim}")
    wanted = (KILLS + 1) // 2
    num_files = len(list(Path(undisturbed.uri).glob("videos/*/*")))
    survivors: list[int] = []
    hits = 0
    while hits < wanted:
        assert len(survivors) < 4 * wanted, f"only {hits} of {len(survivors)} runs could be hit"
        store = tmp_path / f"store{len(survivors)}"
        process = start(context, str(videos), str(store))
        if victim != "driver":
            while process.is_alive() and len(tree(process.pid or 0)) < 2:
                time.sleep(0.005)
        # The draw is from what a run writes, not from how long it takes: machines differ in load.
        wait_for_files(process, store, drawn.randrange(num_files))
        time.sleep(0.03 * drawn.random())
        if victim == "driver":
            hits += process.is_alive()
            process.kill()
        else:
            hits += kill_decoder(process.pid or 0)
        process.join(timeout=120)
        assert process.exitcode == (0 if victim != "driver" else process.exitcode)

        before = finished(store)
        survivors.append(len(before))
        times = chunk_times(store, before)
        report = index(str(videos), str(store))
        # The file that has two names is skipped once, when it is not finished yet.
        assert report.videos_indexed == 4 - len(before)
        assert not report.failures
        again = Store.open(store)
        assert again.digest() == undisturbed.digest()
        assert again.verify() == []
        assert again.failures() == []
        assert chunk_times(store, before) == times
        assert list((store / ".tmp").glob("*")) == []
    print(f"seed {SEED}: {hits} kills of a {victim}, videos that survived: {sorted(survivors)}")
    assert len(set(survivors)) > 1 or victim != "driver"


def test_two_jobs_over_overlapping_folders_share_one_store(
    context: Any, videos: Path, undisturbed: Store, tmp_path: Path
) -> None:
    store = str(tmp_path / "store")
    first, second = f"{videos}/[012a]*.mp4", f"{videos}/[123a]*.mp4"
    jobs = [start(context, part, store) for part in (first, second)]
    for job in jobs:
        job.join(timeout=120)
    assert [job.exitcode for job in jobs] == [0, 0]
    assert Store.open(store).digest() == undisturbed.digest()
    assert Store.open(store).verify() == []


def test_one_content_under_two_names_is_one_video(videos: Path, undisturbed: Store) -> None:
    stored = [each for each in undisturbed.videos() if len(each.paths) > 1]
    assert [each.paths for each in stored] == [(str(videos / "1.mp4"), str(videos / "again.mp4"))]


def test_a_changed_file_takes_its_name_along(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", 6, 1)
    store = str(tmp_path / "store")
    assert index(str(clip), store).videos_indexed == 1
    (old,) = Store.open(store).videos()
    make_clip(clip, 7, 2)
    assert index(str(clip), store).videos_indexed == 1
    opened = Store.open(store)
    new = opened.find(str(clip))
    assert new != old.video.video_id
    assert {each.video.video_id: each.paths for each in opened.videos()} == {
        old.video.video_id: (),
        new: (str(clip),),
    }
    # And back again: the old content is there already.
    make_clip(clip, 6, 1)
    assert index(str(clip), store).videos_indexed == 0
    assert Store.open(store).find(str(clip)) == old.video.video_id


def kill_every_decoder(driver: int, process: BaseProcess) -> None:
    while process.is_alive():
        kill_decoder(driver)
        time.sleep(0.01)


def test_a_video_whose_decoder_always_dies_is_one_failure(
    context: Any, videos: Path, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    for attempt in range(1, 4):
        process = start(context, str(videos / "0.mp4"), str(store))
        kill_every_decoder(process.pid or 0, process)
        process.join()
        assert process.exitcode == 0
        (failure,) = Store.open(store).failures()
        assert (failure.attempts, failure.is_gap, failure.decoder) == (attempt, False, "pyav")
        assert failure.kind in ("out-of-memory", "decoder-crash")
    # Tried often enough: left alone, until somebody asks for it.
    assert index(str(videos / "0.mp4"), str(store)).videos_skipped == 1
    assert index(str(videos / "0.mp4"), str(store), max_attempts=9).videos_indexed == 1
    assert Store.open(store).failures() == []


def test_a_video_that_cannot_be_planned_is_one_failure(videos: Path, tmp_path: Path) -> None:
    long = make_clip(tmp_path / "long.mp4", 30, 1)
    chosen = config()
    chosen = replace(chosen, sample=replace(chosen.sample, max_frames=20))
    paths = list_videos([str(long), str(videos / "0.mp4")])
    report = run_local(paths, str(tmp_path / "store"), chosen)
    assert (report.videos_indexed, report.videos_failed) == (1, 1)
    (failure,) = Store.open(tmp_path / "store").failures()
    assert (Path(failure.path).name, failure.kind) == ("long.mp4", "too-large")


def test_a_run_that_fails_everywhere_is_stopped(tmp_path: Path) -> None:
    make_clip(tmp_path / "a.mp4", 6, 1)
    index(str(tmp_path), str(tmp_path / "store"))
    for number in range(40):
        (tmp_path / f"b{number:02}.mp4").write_text(f"no video {number}")
    with pytest.raises(FailureRateError, match="20 of 20 videos failed, more than"):
        index(str(tmp_path), str(tmp_path / "store"), max_failure_rate=0.5, stop_early=True)
    opened = Store.open(tmp_path / "store")
    assert len(opened.videos()) == 1
    assert opened.verify() == []
