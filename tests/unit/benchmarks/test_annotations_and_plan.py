"""Annotations: four flavours are the same rows, and what does not fit together is counted."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks.harness.annotation_files import read_rows
from benchmarks.harness.errors import AnnotationError
from benchmarks.harness.plan import Plan, Selection, make_plan
from benchmarks.harness.record import Record
from benchmarks.harness.task import probe
from benchmarks.tasks import NAMES, load_task
from tests.unit.benchmarks.folders import FLAVOURS, Row, write_mapping, write_msvd

ROWS = [
    Row(1, 1451, "what is a man doing?", "play"),
    Row(2, 1451, "who is singing?", "woman"),
    Row(3, 1452, "what color is the car?", "red"),
    Row(4, 1452, "how many boys are there?", "three"),
]


def plan_of(task_name: str, folder: Path, tmp_path: Path, **options: str) -> Plan:
    task = load_task(task_name)
    found = probe(task, folder, **options)
    path = tmp_path / "plan.sqlite"
    make_plan(path, task, found)
    plan = Plan(path)
    plan.choose(Selection())
    return plan


def records(plan: Plan) -> list[Record]:
    with plan:
        return list(plan.records())


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_every_flavour_gives_the_same_rows(flavour: str, tmp_path: Path) -> None:
    write_msvd(tmp_path / "a", flavour, "test", ROWS)
    write_mapping(tmp_path / "a", ROWS)
    found = records(plan_of("msvd-qa", tmp_path / "a", tmp_path, split="test"))
    assert [(r.question, r.answers) for r in found] == [(r.question, (r.answer,)) for r in ROWS]
    assert [set(r.video) for r in found] == [{f"vid{r.clip}", r.name} for r in ROWS]
    assert [r.group["type"] for r in found] == ["what", "who", "color", "how"]
    assert len({r.cluster for r in found}) == 2


def test_answers_are_joined_by_id_and_never_by_position(tmp_path: Path) -> None:
    write_msvd(tmp_path, "q-a", "test", ROWS)
    answers = json.loads((tmp_path / "test_a.json").read_text())
    for row in answers:
        del row["question_id"]
    (tmp_path / "test_a.json").write_text(json.dumps(answers))
    with pytest.raises(AnnotationError, match="holds no annotations of msvd-qa"):
        plan_of("msvd-qa", tmp_path, tmp_path)


def test_answers_of_other_questions_are_refused_whole(tmp_path: Path) -> None:
    write_msvd(tmp_path, "q-a", "test", ROWS)
    answers = json.loads((tmp_path / "test_a.json").read_text())
    for number, row in enumerate(answers):
        row["question_id"] = f"other_{number}"
    (tmp_path / "test_a.json").write_text(json.dumps(answers))
    with pytest.raises(AnnotationError, match="joined by id, never by position"):
        plan_of("msvd-qa", tmp_path, tmp_path)


def test_two_splits_in_one_folder_are_one_sentence(tmp_path: Path) -> None:
    write_msvd(tmp_path, "qa-json", "val", [Row(1, 1201, "who?", "man")])
    write_msvd(tmp_path, "csv", "test", ROWS)
    with pytest.raises(AnnotationError, match="the splits val and test; name one with --split"):
        plan_of("msvd-qa", tmp_path, tmp_path)
    assert len(records(plan_of("msvd-qa", tmp_path, tmp_path, split="test"))) == 4


def test_a_split_is_never_guessed(tmp_path: Path) -> None:
    write_msvd(tmp_path, "igvlm", "test", ROWS)
    with pytest.raises(AnnotationError, match=r"never guessed; give --split val\|test"):
        plan_of("msvd-qa", tmp_path, tmp_path)


@pytest.mark.parametrize("flavour", ["qa-json", "igvlm"])
def test_ids_are_believed_over_the_caller(flavour: str, tmp_path: Path) -> None:
    rows = [Row(1, 1300, "who is singing?", "man")]
    write_msvd(tmp_path, flavour, "test", rows)
    with pytest.raises(AnnotationError, match="belongs to the val split of msvd-qa, not to test"):
        plan_of("msvd-qa", tmp_path, tmp_path, split="test")


def test_what_does_not_fit_together_is_counted_and_listed(tmp_path: Path) -> None:
    questions = [
        {"video_name": "a", "question": "what?", "question_id": "q1"},
        {"video_name": "a", "question": "what?", "question_id": "q2"},
        {"video_name": "a", "question": "who?", "question_id": "q3"},
        {"video_name": "a", "question": "who?", "question_id": "q3"},
        {"video_name": "b", "question": "other?", "question_id": "q3"},
        {"video_name": "b", "question": "", "question_id": "q4"},
        {"video_name": "b", "question": "where?", "question_id": "q5"},
    ]
    answers = [
        {"answer": "dog", "type": 0, "question_id": "q1"},
        {"answer": "cat", "type": 0, "question_id": "q2"},
        {"answer": "man", "type": 0, "question_id": "q3"},
        {"answer": "woman", "type": 0, "question_id": "q3"},
        {"answer": "nobody", "type": 0, "question_id": "q9"},
    ]
    (tmp_path / "test_q.json").write_text(json.dumps(questions))
    (tmp_path / "test_a.json").write_text(json.dumps(answers))
    with plan_of("msvd-qa", tmp_path, tmp_path) as plan:
        counted = {kind: count for kind, (count, _) in plan.problems().items()}
        kept = [r.id for r in plan.records()]
    assert counted == {
        "question_without_answer": 1,
        "answer_without_question": 1,
        "duplicate_row": 1,
        "duplicate_id": 1,
        "gold_twice": 1,
        "two_golds": 2,
        "unusable": 1,
    }
    assert kept == ["q1", "q2", "q3"]
    listed = [json.loads(line) for line in (tmp_path / "problems.jsonl").read_text().splitlines()]
    assert {(row["kind"], row["id"]) for row in listed} >= {
        ("question_without_answer", "q5"),
        ("answer_without_question", "q9"),
        ("two_golds", "q1"),
        ("two_golds", "q2"),
    }


def test_selections_keep_videos_together_and_repeat(tmp_path: Path) -> None:
    rows = [Row(i, 1451 + i % 7, f"what is {i}?", "man") for i in range(70)]
    write_msvd(tmp_path, "csv", "test", rows)
    with plan_of("msvd-qa", tmp_path, tmp_path) as plan:

        def chosen(**options: object) -> list[Record]:
            plan.choose(Selection(**options))  # type: ignore[arg-type]  # a table of options
            return list(plan.records())

        assert [r.id for r in chosen(limit=3)] == ["0", "1", "2"]
        sample = chosen(sample=(5, 25))
        assert len(sample) == 25
        assert len({r.cluster for r in sample}) == 3
        assert sample == chosen(sample=(5, 25))
        assert sample != chosen(sample=(6, 25))
        parts = [chosen(shard=(i, 3)) for i in (1, 2, 3)]
        assert sorted(r.id for part in parts for r in part) == sorted(str(i) for i in range(70))
        assert sum(len({r.cluster for r in part}) for part in parts) == 7
        assert [r.id for r in chosen(ids=("9", "2"))] == ["2", "9"]
        with pytest.raises(AnnotationError, match="which is no question of this split"):
            chosen(ids=("none",))


@pytest.mark.parametrize("end", ["", "[{", '[{"a": 1}, {"b"', '[{"a": 1}, 5]', "text"])
def test_broken_json_is_one_sentence(end: str, tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    path.write_text(end)
    if not end:
        assert list(read_rows(path)) == []
        return
    with pytest.raises(AnnotationError, match=r"rows\.json"):
        list(read_rows(path))


def test_json_is_read_in_pieces_whatever_its_form(tmp_path: Path) -> None:
    rows = [{"id": i, "text": "ä" * (i % 3000)} for i in range(300)]
    for name, content in (
        ("array.json", json.dumps(rows, ensure_ascii=False, indent=2)),
        ("lines.jsonl", "\n".join(json.dumps(row) for row in rows)),
        ("bom.json", "\ufeff" + json.dumps(rows)),
    ):
        (tmp_path / name).write_text(content, encoding="utf-8")
        assert list(read_rows(tmp_path / name)) == rows


def test_each_task_is_a_short_file_with_one_split_at_least() -> None:
    for name in NAMES:
        task = load_task(name)
        assert task.name == name
        assert task.splits
        assert all(len(item.files) == len(item.fields) for item in task.layouts)
        path = Path("benchmarks/tasks") / f"{name.replace('-', '_')}.py"
        # Annotations of tubes are joined from several tables.
        most = 110 if task.grounds == "tube" else 60
        assert len((Path(__file__).parents[3] / path).read_text().splitlines()) <= most


@pytest.mark.parametrize("where", ["text", "list", "struct"])
def test_a_parquet_file_of_huge_texts_is_one_sentence(where: str, tmp_path: Path) -> None:
    """A dictionary of one text of a MiB makes twenty GB of rows out of a file of a few kB."""
    index = pa.array([0] * 20_000, pa.int32())
    column = pa.DictionaryArray.from_arrays(index, pa.array(["x" * (1 << 20)]))
    if where == "list":
        column = pa.ListArray.from_arrays(pa.array(range(20_001), pa.int32()), column)
    elif where == "struct":
        column = pa.StructArray.from_arrays([column], ["inner"])
    path = tmp_path / "questions.parquet"
    pq.write_table(pa.table({"id": index, "question": column}), path, compression="zstd")
    assert path.stat().st_size < 100_000
    before = pa.total_allocated_bytes()
    rows = read_rows(path)
    with pytest.raises(AnnotationError, match=r"text of 1048576 bytes in its column 'question'"):
        next(rows)
    assert pa.total_allocated_bytes() - before < 1 << 24
    with pytest.raises(AnnotationError, match="text of 1048576 bytes"):
        plan_of("video-mme", path, tmp_path)


def test_a_table_with_a_huge_text_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text(f"id,question\n1,{'x' * 200_000}\n")
    with pytest.raises(AnnotationError, match=r"cannot be read as a table: field larger"):
        list(read_rows(tmp_path / "rows.csv"))


def test_parquet_texts_are_read_as_they_are(tmp_path: Path) -> None:
    rows = [
        {"id": place, "question": f"what is {place % 3}?", "options": ["a", f"b{place}"], "n": None}
        for place in range(200)
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "rows.parquet")
    assert list(read_rows(tmp_path / "rows.parquet")) == rows
