"""Every set is read in the form in which its authors publish it."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks.harness.errors import AnnotationError
from benchmarks.harness.plan import Plan, Selection, make_plan
from benchmarks.harness.record import Record
from benchmarks.harness.task import probe
from benchmarks.tasks import load_task


def read(
    name: str, folder: Path, split: str | None = None
) -> tuple[str, list[Record], dict[str, int]]:
    """Return the split, the records and the numbers of problems of one set."""
    task = load_task(name)
    found = probe(task, folder, split)
    path = folder / "plan.sqlite"
    make_plan(path, task, found)
    with Plan(path) as plan:
        plan.choose(Selection())
        problems = {kind: count for kind, (count, _) in plan.problems().items()}
        return found.split, list(plan.records()), problems


def write_csv(path: Path, rows: list[dict[str, object]], delimiter: str = ",") -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys(), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)


def test_msrvtt(tmp_path: Path) -> None:
    rows = [{"id": 7, "question": "who?", "answer": "man", "video_id": 7020, "category_id": 9}]
    (tmp_path / "test_qa.json").write_text(json.dumps(rows))
    split, (record,), _ = read("msrvtt-qa", tmp_path)
    assert (split, record.video, record.answers) == ("test", ("video7020",), ("man",))
    (tmp_path / "test_qa.json").rename(tmp_path / "val_qa.json")
    with pytest.raises(AnnotationError, match="belongs to the test split"):
        read("msrvtt-qa", tmp_path)


def test_activitynet(tmp_path: Path) -> None:
    questions = [{"video_name": "1QIUV7WYKXg", "question": "is it red", "question_id": "v_1_3"}]
    answers = [{"answer": "yes", "type": 3, "question_id": "v_1_3"}]
    (tmp_path / "test_q.json").write_text(json.dumps(questions))
    (tmp_path / "test_a.json").write_text(json.dumps(answers))
    split, (record,), _ = read("activitynet-qa", tmp_path)
    assert split == "test"
    assert record.video == ("v_1QIUV7WYKXg", "1QIUV7WYKXg")
    assert record.group["type"] == "yesno"


def test_activitynet_parquet(tmp_path: Path) -> None:
    table = {"video_name": ["a"], "question": ["who"], "question_id": ["1"], "answer": ["man"],
             "type": ["7"]}  # fmt: skip
    pq.write_table(pa.table(table), tmp_path / "test-00000-of-00001.parquet")
    _, (record,), _ = read("activitynet-qa", tmp_path)
    assert (record.answers, record.group["type"]) == (("man",), "number")


def test_tgif(tmp_path: Path) -> None:
    row = {"gif_name": "tumblr_1", "question": "what is it?", "answer": "dog", "vid_id": "F1",
           "key": 5}  # fmt: skip
    write_csv(tmp_path / "Test_frameqa_question.csv", [row], "\t")
    _, (record,), _ = read("tgif-frameqa", tmp_path)
    assert (record.id, record.video, record.answers) == ("F1", ("tumblr_1",), ("dog",))


def test_next_qa(tmp_path: Path) -> None:
    options = {f"a{i}": f"option {i}" for i in range(5)}
    rows = [
        {"video": "28", "question": "why", "answer": 2, "qid": 1, "type": "CW", **options},
        {"video": "29", "question": "when", "answer": 0, "qid": 1, "type": "TN", **options},
    ]
    write_csv(tmp_path / "val.csv", rows)
    (tmp_path / "map_vid_vidorID.json").write_text(json.dumps({"28": "1164/28"}))
    split, records, _ = read("next-qa", tmp_path)
    assert split == "val"
    assert [r.id for r in records] == ["28_1", "29_1"]
    assert records[0].video == ("28", "1164/28")
    assert (records[0].answer_index, records[0].group["kind"]) == (2, "causal")


def test_egoschema_keeps_the_subset_apart(tmp_path: Path) -> None:
    rows = [
        {"q_uid": f"u{i}", "question": "what?", **{f"option {k}": f"o{k}" for k in range(5)}}
        for i in range(3)
    ]
    (tmp_path / "questions.json").write_text(json.dumps(rows))
    (tmp_path / "subset_answers.json").write_text(json.dumps({"u1": 4}))
    with pytest.raises(AnnotationError, match=r"never guessed; give --split subset\|full"):
        read("egoschema", tmp_path)
    _, records, _ = read("egoschema", tmp_path, "subset")
    assert [(r.id, r.answer_index) for r in records] == [("u1", 4)]
    _, records, problems = read("egoschema", tmp_path, "full")
    assert [r.has_gold for r in records] == [False] * 3
    assert not problems


def test_video_mme(tmp_path: Path) -> None:
    row = {
        "video_id": ["001"], "duration": ["short"], "domain": ["Knowledge"],
        "sub_category": ["x"], "videoID": ["fFjv93ACGo8"], "question_id": ["001-1"],
        "task_type": ["Counting"], "question": ["How many?"],
        "options": [["A. Apples.", "B. Candles.", "C. Berries.", "D. The same."]],
        "answer": ["C"],
    }  # fmt: skip
    (tmp_path / "videomme").mkdir()
    pq.write_table(pa.table(row), tmp_path / "videomme" / "test-00000-of-00001.parquet")
    split, (record,), _ = read("video-mme", tmp_path)
    assert split == "test"
    assert record.options == ("Apples.", "Candles.", "Berries.", "The same.")
    assert record.answer_index == 2
    assert record.group == {"duration": "short", "domain": "Knowledge", "task": "Counting"}
    assert record.subtitles == "fFjv93ACGo8.srt"


def test_mlvu_leaves_the_generative_tasks_out(tmp_path: Path) -> None:
    choice = {"video": "1.mp4", "duration": 60, "question": "what?", "candidates": ["a", "b"],
              "answer": "b", "question_type": "plotQA"}  # fmt: skip
    (tmp_path / "1_plotQA.json").write_text(json.dumps([choice, {**choice, "answer": "c"}]))
    summary = {"video": "2.mp4", "question": "sum up", "answer": "…", "question_type": "summary"}
    (tmp_path / "9_summary.json").write_text(json.dumps([summary]))
    with pytest.raises(AnnotationError, match="never guessed"):
        read("mlvu", tmp_path)
    split, (record,), problems = read("mlvu", tmp_path, "dev")
    assert (split, record.answer_index, record.group["task"]) == ("dev", 1, "plotQA")
    assert problems == {"unusable": 1, "left_out": 1}


def test_longvideobench(tmp_path: Path) -> None:
    row = {"id": "x_0", "video_id": "x", "video_path": "x.mp4", "subtitle_path": "x_en.json",
           "question": "what?", "candidates": ["a", "b", "c", "d"], "correct_choice": 3,
           "starting_timestamp_for_subtitles": 30.5, "duration": 8.1, "duration_group": 15,
           "question_category": "S2E"}  # fmt: skip
    (tmp_path / "lvb_val.json").write_text(json.dumps([row]))
    split, (record,), _ = read("longvideobench", tmp_path)
    assert (split, record.answer_index, record.group["duration"]) == ("val", 3, "15")
    assert (record.subtitles, record.subtitles_from_seconds) == ("x_en.json", 30.5)
    (tmp_path / "lvb_val.json").unlink()
    del row["correct_choice"]
    (tmp_path / "lvb_test_wo_gt.json").write_text(json.dumps([row]))
    split, (record,), problems = read("longvideobench", tmp_path)
    assert (split, record.has_gold, problems) == ("test", False, {})


def test_longvideobench_options_by_column(tmp_path: Path) -> None:
    row = {"id": ["x"], "video_path": ["x.mp4"], "question": ["what?"], "duration_group": [600],
           "correct_choice": [1], "option0": ["a"], "option1": ["b"], "option2": ["c"],
           "option3": ["d"], "option4": ["N/A"]}  # fmt: skip
    pq.write_table(pa.table(row), tmp_path / "validation-00000-of-00001.parquet")
    split, (record,), _ = read("longvideobench", tmp_path)
    assert (split, record.options) == ("val", ("a", "b", "c", "d"))


def test_mvbench_asks_about_parts_of_videos(tmp_path: Path) -> None:
    (tmp_path / "json").mkdir()
    row = {"video": "x.mp4", "question": "what?", "candidates": ["a", "b", "c"], "answer": "c",
           "start": 3.5, "end": 9.0}  # fmt: skip
    (tmp_path / "json" / "action_count.json").write_text(json.dumps([row]))
    (tmp_path / "json" / "scene_transition.json").write_text(json.dumps([{**row, "answer": "d"}]))
    split, (record,), problems = read("mvbench", tmp_path)
    assert split == "test"
    assert (record.start_seconds, record.end_seconds, record.answer_index) == (3.5, 9.0, 2)
    assert (record.id, record.group["task"]) == ("action_count-0", "action_count")
    assert record.video == ("perception/videos/x.mp4",)
    assert problems == {"unusable": 1}


def test_real_is_shipped_with_its_evidence() -> None:
    folder = Path(__file__).parents[2] / "data"
    found = probe(load_task("real"), folder)
    records = [row for row in found.rows() if isinstance(row, Record)]
    assert len(records) == 75
    assert all(record.evidence and record.has_gold for record in records)
    assert sum(bool(record.options) for record in records) == 23
