"""Reports and comparisons, over runs of a stand-in."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest

from benchmarks.harness.comparison import compare
from benchmarks.harness.errors import RunError
from benchmarks.harness.plan import Selection, make_plan
from benchmarks.harness.run import Run, load_run, open_run
from benchmarks.harness.score import Subject, _place, score
from benchmarks.harness.task import probe
from benchmarks.report.figures import report
from benchmarks.tasks import load_task
from tests.unit.benchmarks.folders import Row
from tests.unit.benchmarks.stand_in import IDENTITY, Parrot, go, make_videos, new_run, says, scored

ROWS = [
    Row(i, 1451 + i // 4, f"{('what', 'who')[i % 2]} is thing {i} <b>doing</b>?", "play")
    for i in range(12)
]


def reported(run: Run) -> str:
    scored(run)
    with run.plan() as plan:
        return report(run, plan)


def finished(folder: Path, right: int = 12, **changes: object) -> Run:
    """Make a run whose first answers are right and whose others are wrong."""
    run, videos = new_run(folder, ROWS, **changes), make_videos(folder / "videos", ROWS)
    go(run, Parrot(lambda n, q: says("playing" if int(n) < right else "cut")(n, q)), videos)
    return run


def test_every_form_is_written_and_says_the_same(tmp_path: Path) -> None:
    run = finished(tmp_path, right=9)
    shown = reported(run)
    text = (run.folder / "report.md").read_text()
    page = (run.folder / "report.html").read_text()
    with (run.folder / "report.csv").open() as file:
        table = list(csv.DictReader(file))
    for form in (shown, text, page):
        assert "75.0 %" in form
        assert "split test" in form
    (row,) = [
        row
        for row in table
        if (row["metric"], row["group"], row["over"]) == ("exact+lemma", "all", "all")
    ]
    assert float(row["mean"]) == 0.75
    assert row["split"] == "test"
    assert "type=who" in text
    assert "baseline (open): always 'play'" in text
    assert "annotations" in text


def test_the_page_needs_nothing_else_and_escapes_what_it_shows(tmp_path: Path) -> None:
    run = finished(tmp_path)
    reported(run)
    page = (run.folder / "report.html").read_text()
    assert "<script" not in page
    assert "http" not in page
    assert "<b>doing</b>" not in page
    assert "&lt;b&gt;doing&lt;/b&gt;" in page
    assert 'class="bars"' in page


def test_rows_of_every_kind_are_shown_and_can_be_filtered(tmp_path: Path) -> None:
    run = finished(tmp_path, right=9)
    reported(run)
    page = (run.folder / "report.html").read_text()
    for label in ("all (12)", "wrong (3)", "right (9)"):
        assert f"{label}</label>" in page
    assert page.count('<div class="card wrong">') == 3
    assert "who is thing 11 &lt;b&gt;doing&lt;/b&gt;?" in page
    assert "gold: play" in page
    assert "spans 0 to 1 s" in page
    assert "#filter-wrong:checked~.cards .card:not(.wrong)" in page


def test_groups_stand_in_the_order_of_their_sizes() -> None:
    names = ["duration=60", "duration=600", "all", "duration=15", "type=b", "length=long",
             "length=short", "length=medium"]  # fmt: skip
    assert sorted(names, key=_place) == [
        "all", "duration=15", "duration=60", "duration=600", "length=short", "length=medium",
        "length=long", "type=b",
    ]  # fmt: skip


def test_another_number_of_rows_is_set_beside_no_published_figure(tmp_path: Path) -> None:
    run = finished(tmp_path)
    reported(run)
    text = (run.folder / "report.md").read_text()
    assert "The split has 13157 rows and this run 12" in text
    assert "FrozenBiLM" not in text


def test_runs_of_other_budgets_are_drawn_as_one_curve(tmp_path: Path) -> None:
    first = finished(tmp_path / "a", right=6)
    scored(first)
    shutil.copytree(first.folder, tmp_path / "runs" / "64")
    second = finished(tmp_path / "b", right=12, budget=128)
    scored(second)
    shutil.copytree(second.folder, tmp_path / "runs" / "128")
    blind = finished(tmp_path / "c", right=3, text_only=True)
    scored(blind)
    shutil.copytree(blind.folder, tmp_path / "runs" / "blind")
    run = load_run(tmp_path / "runs" / "128")
    shown = reported(run)
    assert "against budget" in (run.folder / "report.html").read_text()
    assert "this model without frames: exact+lemma" in shown
    assert "25.0 %" in shown


def test_compare_lists_the_rows_that_flipped(tmp_path: Path) -> None:
    first = finished(tmp_path / "a", right=6)
    second = finished(tmp_path / "b", right=9, budget=128)
    text = compare(first, second)
    assert "Differ in: budget." in text
    assert "| exact+lemma | 50.0 % | 75.0 % | +25.0 |" in text
    assert "| 3 | 0 | 0.225 |" in text  # by two of three videos
    with (second.folder / "flips.csv").open() as file:
        flips = list(csv.DictReader(file))
    assert {row["id"] for row in flips} == {"6", "7", "8"}
    assert {row["now"] for row in flips} == {"right"}


def test_rows_that_neither_run_answered_are_wrong_in_both(tmp_path: Path) -> None:
    runs = []
    for name, right in (("a", 3), ("b", 5)):
        run, _ = new_run(tmp_path / name, ROWS), make_videos(tmp_path / name / "videos", ROWS[:8])
        answer = Parrot(lambda n, q, right=right: says("play" if int(n) < right else "cut")(n, q))
        go(run, answer, tmp_path / name / "videos")
        runs.append(run)
    assert "| exact | 25.0 % | 41.7 % | +16.7 |" in compare(*runs)


def test_runs_over_other_rows_are_not_compared(tmp_path: Path) -> None:
    first = finished(tmp_path / "a")
    with pytest.raises(RunError, match="split is 'test' in one and 'val' in the other"):
        compare(first, finished(tmp_path / "b", split="val"))
    third = finished(tmp_path / "c")
    third.save(selection={"limit": 5})
    with pytest.raises(RunError, match="different selections"):
        compare(first, third)


def test_a_report_before_a_score_says_what_to_do(tmp_path: Path) -> None:
    run = finished(tmp_path)
    with run.plan() as plan, pytest.raises(RunError, match="python -m benchmarks score"):
        report(run, plan)


def test_the_full_egoschema_ends_in_a_submission(tmp_path: Path) -> None:
    rows = [
        {"q_uid": f"u{i}", "question": "what?", **{f"option {k}": f"o{k}" for k in range(5)}}
        for i in range(3)
    ]
    (tmp_path / "questions.json").write_text(json.dumps(rows))
    task = load_task("egoschema")
    identity = {**IDENTITY, "task": "egoschema", "split": "full"}
    run = open_run(tmp_path / "run", identity, {})
    make_plan(run.plan_path, task, probe(task, tmp_path, "full"))
    run.save(selection=Selection().to_dict(), videos=str(tmp_path / "videos"))
    (tmp_path / "videos").mkdir()
    for row in rows[:2]:
        (tmp_path / "videos" / f"{row['q_uid']}.mp4").touch()
    go(run, Parrot(lambda n, q: {**says("o3")(n, q), "choice": 3}), tmp_path / "videos")
    assert "video_missing" in reported(run)
    submission = json.loads((run.folder / "submission.json").read_text())
    assert submission == {"u0": 3, "u1": 3}
    assert "submission.json holds 2 of the 3 rows" in (run.folder / "report.md").read_text()
    assert json.loads((run.folder / "score.json").read_text())["metrics"] == {}


def test_a_submission_is_read_from_text_too(tmp_path: Path) -> None:
    row = {"q_uid": "u", "question": "what?", **{f"option {k}": f"o{k}" for k in range(5)}}
    (tmp_path / "questions.json").write_text(json.dumps([row]))
    task = load_task("egoschema")
    identity = {**IDENTITY, "task": "egoschema", "split": "full"}
    run = open_run(tmp_path / "run", identity, {})
    make_plan(run.plan_path, task, probe(task, tmp_path, "full"))
    run.save(selection=Selection().to_dict(), videos=str(tmp_path / "videos"))
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "u.mp4").touch()
    go(run, Parrot(says("The answer is (D).")), tmp_path / "videos")
    reported(run)
    assert json.loads((run.folder / "submission.json").read_text()) == {"u": 3}


def test_a_mean_over_tasks_says_how_many_were_attempted(tmp_path: Path) -> None:
    (tmp_path / "json").mkdir()
    row = {"question": "what?", "candidates": ["a", "b"], "answer": "a"}
    for name, videos in (("scene_transition", 2), ("fine_grained_pose", 1)):
        rows = [{**row, "video": f"{i}.mp4"} for i in range(videos)]
        (tmp_path / "json" / f"{name}.json").write_text(json.dumps(rows))
    task = load_task("mvbench")
    run = open_run(tmp_path / "run", {**IDENTITY, "task": "mvbench", "split": "test"}, {})
    make_plan(run.plan_path, task, probe(task, tmp_path))
    run.save(selection=Selection().to_dict(), videos=str(tmp_path / "video"))
    (tmp_path / "video" / "scene_qa" / "video").mkdir(parents=True)
    for i in range(2):
        (tmp_path / "video" / "scene_qa" / "video" / f"{i}.mp4").touch()
    go(run, Parrot(lambda n, q: {**says("a")(n, q), "choice": 0}), tmp_path / "video")
    with run.plan() as plan:
        macro = score(run, plan, Subject(task.groups, task.macro))["macro"]["letter"]
        shown = report(run, plan)
    assert [macro[over]["mean"] for over in ("attempted", "all")] == [1.0, 0.5]
    assert "letter, mean over 2 tasks (1 attempted)" in shown
    assert "nturgbd/0.mp4" in shown


def test_a_run_without_an_answer_shows_why_and_nothing_else(tmp_path: Path) -> None:
    run, videos = new_run(tmp_path, ROWS), make_videos(tmp_path / "videos", ROWS)
    why = "The model reads 141 words. " * 9 + "Use another --config."
    failed = {"status": "model_error", "error_kind": "question", "error": why}
    go(run, Parrot(lambda n, q: failed), videos)
    shown = reported(run)
    page = (run.folder / "report.html").read_text()
    assert "Use another --config." in shown
    assert "Nothing looks broken" not in page
    assert "Sample rows" not in page


def test_what_is_wrong_with_the_annotations_is_shown_at_once(tmp_path: Path) -> None:
    run = new_run(tmp_path, [*ROWS, ROWS[0]])
    go(run, Parrot(says("play")), make_videos(tmp_path / "videos", ROWS))
    assert "rows that occur twice, word for word (asked once)" in reported(run)
