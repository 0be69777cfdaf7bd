"""What a job does before its actors have work: imports little, lists beside the driver."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("ray")

from longvid.cluster import lister
from longvid.cluster.lister import FewFiles, Lister, few_files
from longvid.cluster.ray_runner import run_job
from longvid.config import load_config, load_layout
from longvid.errors import ConfigError, StoreError
from longvid.inputs import list_videos


def test_the_driver_connects_before_it_imports_torch() -> None:
    program = "import sys, pipelines.index; assert not {'torch', 'transformers'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)


def test_a_layout_is_that_of_the_whole_configuration() -> None:
    settings = ["ray.encode_cpus=0.75", "sample.chunk_segments=3"]
    layout, whole = load_layout("longvid", settings), load_config("longvid", settings)
    assert (layout.ray, layout.sample) == (whole.ray, whole.sample)
    with pytest.raises(ConfigError, match="ray"):
        load_layout("mini", ["ray.encode_cpu=1"])


def test_a_lister_gives_every_path_once_and_goes_on_where_another_died(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lister, "_PATHS_PER_CALL", 4)
    for number in range(10):
        (tmp_path / f"{number}.mp4").write_text("a video")
    wanted = list(list_videos([str(tmp_path)]))
    first, second = Lister([str(tmp_path)]), Lister([str(tmp_path)])
    assert first.after(0)[0] == wanted[:4]
    assert second.after(4)[0] == wanted[4:8]  # in its place
    assert second.after(4)[0] == wanted[4:8]  # its answer was lost
    assert second.after(8)[0] == wanted[8:]
    assert second.after(10)[0] == []


def test_few_files_are_listed_here_and_many_are_not_even_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "inner").mkdir()
    for number in range(3):
        (tmp_path / "inner" / f"{number}.mp4").write_text("a video")
    few = few_files([str(tmp_path)])
    assert few is not None
    assert list(few.paths) == list(list_videos([str(tmp_path)]))
    assert few_files(["s3://bucket/folder"]) is None
    monkeypatch.setattr(lister, "_FEW_BYTES", 10)
    assert few_files([str(tmp_path)]) is None
    monkeypatch.setattr(lister, "_FEW_ENTRIES", 2)
    monkeypatch.setattr(lister, "Listing", None)
    assert few_files([str(tmp_path)]) is None


def test_what_cannot_be_read_holds_nothing(tmp_path: Path) -> None:
    assert few_files([str(tmp_path)]) == FewFiles((), ())
    assert few_files([os.devnull]) == FewFiles((os.devnull,), ())


def test_actors_are_ended_when_a_job_is_refused(tmp_path: Path) -> None:
    class Started:
        closed = 0

        def close(self) -> None:
            self.closed += 1

    actors: Any = Started()
    occupied = tmp_path / "store"
    occupied.write_text("a file where the store should be")
    with pytest.raises(StoreError):
        run_job([], str(occupied), load_config("mini"), actors)
    assert actors.closed == 1
