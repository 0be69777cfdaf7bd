"""Runs: go on where they stopped, never mix, and survive what happens to files."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.harness.errors import AnnotationError, RunError
from benchmarks.harness.predict import Rows
from benchmarks.harness.run import load_run, open_run
from benchmarks.harness.video_folder import VideoFolder
from tests.unit.benchmarks.folders import Row
from tests.unit.benchmarks.stand_in import (
    IDENTITY,
    Parrot,
    go,
    lines,
    make_videos,
    new_run,
    says,
    scored,
)

ROWS = [Row(i, 1451 + i // 4, f"what is thing {i} doing?", "play") for i in range(12)]


def test_a_finished_run_asks_nothing_again(tmp_path: Path) -> None:
    run, videos = new_run(tmp_path, ROWS), make_videos(tmp_path / "videos", ROWS)
    asker = Parrot(says("playing"))
    assert go(run, asker, videos).asked == 12
    again = go(run, asker, videos)
    assert (again.asked, again.kept) == (0, 12)
    assert asker.asked == [str(row.id) for row in ROWS]
    assert scored(run)["metrics"]["exact+lemma"]["all"]["all"]["mean"] == 1.0


def test_a_larger_limit_goes_on(tmp_path: Path) -> None:
    run, videos = new_run(tmp_path, ROWS), make_videos(tmp_path / "videos", ROWS)
    asker = Parrot(says("play"))
    assert go(run, asker, videos, limit=5).asked == 5
    more = go(run, asker, videos, limit=8)
    assert (more.asked, more.kept) == (3, 5)


def test_a_torn_last_line_is_asked_again(tmp_path: Path) -> None:
    run, videos = new_run(tmp_path, ROWS), make_videos(tmp_path / "videos", ROWS)
    asker = Parrot(says("play"))
    go(run, asker, videos)
    log = run.folder / "predictions.jsonl"
    log.write_bytes(log.read_bytes()[:-40])
    again = go(run, asker, videos)
    assert (again.asked, again.torn) == (1, 1)
    assert asker.asked[-1] == "11"
    result = scored(run)
    assert result["coverage"]["ok"] == 12
    assert result["torn_lines"] == 1


def test_shards_write_apart_and_add_up(tmp_path: Path) -> None:
    run, videos = new_run(tmp_path, ROWS), make_videos(tmp_path / "videos", ROWS)
    asked = [
        go(run, Parrot(says("play")), videos, shard=(i, 3)).asked
        for i in (1, 2, 3)
        if _has_rows(run, (i, 3))
    ]
    assert sum(asked) == 12
    assert scored(run)["coverage"]["ok"] == 12


def _has_rows(run: object, shard: tuple[int, int]) -> bool:
    from benchmarks.harness.plan import Selection

    with run.plan() as plan:  # type: ignore[attr-defined]  # a Run
        try:
            return plan.choose(Selection(shard=shard)) > 0
        except AnnotationError:
            return False


def test_another_run_is_refused_in_one_sentence(tmp_path: Path) -> None:
    new_run(tmp_path, ROWS)
    with pytest.raises(RunError, match=r"budget is 64 there and 128 here.*never mixed"):
        open_run(tmp_path / "run", {**IDENTITY, "budget": 128}, {})
    with pytest.raises(RunError, match='split is "test" there and "val" here'):
        open_run(tmp_path / "run", {**IDENTITY, "split": "val"}, {})


def test_a_folder_with_other_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(RunError, match=r"holds files but no run\.json"):
        open_run(tmp_path, IDENTITY, {})
    with pytest.raises(RunError, match="not the folder of a run"):
        load_run(tmp_path)


def test_a_missing_video_counts_and_is_asked_once_it_is_there(tmp_path: Path) -> None:
    run, videos = new_run(tmp_path, ROWS), make_videos(tmp_path / "videos", ROWS[:8])
    asker = Parrot(says("play"))
    first = go(run, asker, videos)
    assert (first.asked, first.missing) == (8, 4)
    result = scored(run)
    assert result["coverage"]["video_missing"] == 4
    both = result["metrics"]["exact"]["all"]
    assert both["attempted"]["mean"] == 1.0
    assert both["all"]["mean"] == pytest.approx(8 / 12)
    assert "vid1453" in result["error_examples"]["video_missing"][0]
    assert go(run, asker, videos).asked == 0
    assert len(lines(run.folder / "predictions.jsonl")) == 12
    make_videos(videos, ROWS[8:], ".mkv")
    assert go(run, asker, videos).asked == 4
    assert scored(run)["coverage"]["ok"] == 12


def test_what_failed_is_asked_again_only_on_request(tmp_path: Path) -> None:
    run, videos = new_run(tmp_path, ROWS), make_videos(tmp_path / "videos", ROWS)
    failing = Parrot(
        lambda name, _: (
            {"status": "model_error", "error_kind": "question", "error": "no."}
            if name == "3"
            else says("play")(name, "")
        )
    )
    go(run, failing, videos)
    result = scored(run)
    assert result["coverage"]["model_error"] == 1
    assert result["errors"] == {"model_error: question": 1}
    assert go(run, failing, videos).asked == 0
    assert go(run, Parrot(says("play")), videos, retry=True).asked == 1
    assert scored(run)["coverage"]["ok"] == 12


def test_videos_are_found_whatever_their_ending_and_folder(tmp_path: Path) -> None:
    names = (
        "a.mp4",
        "deep/er/b.avi",
        "deep/c.webm",
        "c.x.y.mkv",
        "notes.txt",
        "a/1.mp4",
        "b/1.mp4",
    )
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    folder = VideoFolder(tmp_path)
    assert folder.find(["a.avi"]) == str(tmp_path / "a.mp4")
    assert folder.find(["nothing", "b"]) == str(tmp_path / "deep/er/b.avi")
    assert folder.find(["deep/c.webm"]) == str(tmp_path / "deep/c.webm")
    assert folder.find(["er/b"]) == str(tmp_path / "deep/er/b.avi")
    assert folder.find(["b/1.avi"]) == str(tmp_path / "b/1.mp4")
    assert folder.find(["c/1.mp4"]) is None  # a folder in a name says which of two is meant
    assert folder.find(["c.x.y"]) == str(tmp_path / "c.x.y.mkv")
    assert folder.find(["A"]) is None
    assert folder.find(["notes"]) is None


def test_no_video_at_all_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(AnnotationError, match="holds no video"):
        VideoFolder(tmp_path)
    with pytest.raises(AnnotationError, match="is not a folder"):
        VideoFolder(tmp_path / "nothing")


def test_two_processes_do_not_ask_the_same_rows(tmp_path: Path) -> None:
    run, videos = new_run(tmp_path, ROWS), make_videos(tmp_path / "videos", ROWS)

    def ask_while_asked(name: str, question: str) -> dict[str, object]:
        if name == "3":
            with pytest.raises(RunError, match="being written by another process"):
                go(run, Parrot(says("play")), videos)
        return says("play")(name, question)

    assert go(run, Parrot(ask_while_asked), videos).asked == 12
    assert go(run, Parrot(says("play")), videos).asked == 0


def test_a_row_is_in_the_log_as_soon_as_it_is_answered(tmp_path: Path) -> None:
    run, videos = new_run(tmp_path, ROWS), make_videos(tmp_path / "videos", ROWS)
    logged = []

    class Slow(Parrot):
        def ask(self, rows: Rows) -> Iterator[dict[str, Any]]:
            for row in rows:
                logged.append(len(lines(run.folder / "predictions.jsonl")))
                yield from super().ask([row])

    go(run, Slow(says("play")), videos)
    assert logged == list(range(12))


def test_scoring_again_gives_the_same_bytes(tmp_path: Path) -> None:
    run, videos = new_run(tmp_path, ROWS), make_videos(tmp_path / "videos", ROWS)
    go(run, Parrot(says("play")), videos)
    scored(run)
    first = [(run.folder / name).read_bytes() for name in ("score.json", "scores.csv")]
    scored(run)
    assert first == [(run.folder / name).read_bytes() for name in ("score.json", "scores.csv")]
    assert json.loads(first[0])["rows"] == 12
