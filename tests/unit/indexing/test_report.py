"""What a run says of its progress: a total over all listed files, known early and steady."""

from __future__ import annotations

from pathlib import Path

import pytest

import longvid
from longvid.errors import ConfigError
from longvid.indexing.listed_paths import ListedPaths
from longvid.indexing.report import Progress


def test_unopened_videos_are_estimated_by_their_bytes() -> None:
    progress = Progress(
        videos_indexed=1, videos_listed=3, seconds_done=100.0, seconds_known=100.0,
        bytes_listed=4000, bytes_opened=1000,
    )  # fmt: skip
    assert progress.seconds_total == 400.0
    assert progress.share_done == 0.25
    assert progress.seconds_left(0.0, 0.0, 10.0) == 30.0


def test_without_sizes_they_are_as_long_as_the_others() -> None:
    progress = Progress(
        videos_indexed=1, videos_open=1, videos_listed=4, seconds_done=50.0, seconds_known=200.0
    )
    assert progress.seconds_total == 400.0
    assert progress.seconds_left(0.0, 0.0, 10.0) == 70.0


@pytest.mark.parametrize(
    "progress", [Progress(), Progress(videos_listed=9), Progress(videos_open=1)]
)
def test_nothing_is_estimated_from_nothing(progress: Progress) -> None:
    assert progress.seconds_total is None
    assert progress.share_done is None
    assert progress.seconds_left(0.0, 0.0, 1.0) is None


def test_paths_are_listed_ahead_of_the_work(tmp_path: Path) -> None:
    paths = [str(tmp_path / f"{number}.mp4") for number in range(3)]
    for path in paths:
        Path(path).write_bytes(b"12345")
    listed = ListedPaths(paths)
    assert list(listed) == paths
    assert (listed.num_listed, listed.num_bytes, listed.is_complete) == (3, 15, True)
    listed.close()


def test_what_listing_raises_is_raised_to_the_reader() -> None:
    def broken() -> object:
        yield "a.mp4"
        raise ConfigError("The list cannot be read.")

    listed = ListedPaths(broken())  # type: ignore[arg-type]  # it yields names
    paths = iter(listed)
    assert next(paths) == "a.mp4"
    with pytest.raises(ConfigError, match="cannot be read"):
        next(paths)
    assert not listed.is_complete


def test_a_run_counts_all_files_and_never_goes_back(few_clips: Path, tmp_path: Path) -> None:
    seen: list[Progress] = []
    longvid.index(few_clips, store=tmp_path / "store", on_progress=seen.append)
    assert (seen[-1].videos_listed, seen[-1].listing_done) == (4, True)
    assert seen[-1].bytes_opened == seen[-1].bytes_listed
    assert seen[-1].share_done == pytest.approx(1.0)
    done = [progress.seconds_done for progress in seen]
    assert done == sorted(done)
