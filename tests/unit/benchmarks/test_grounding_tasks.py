"""NExT-GQA, HC-STVG v2 and VidSTG: rows as published, figures that can be counted by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.__main__ import main
from benchmarks.harness.errors import AnnotationError
from benchmarks.harness.grounding_scores import span_values, tube_values
from benchmarks.harness.plan import Selection, make_plan
from benchmarks.harness.record import Record
from benchmarks.harness.run import open_run
from benchmarks.harness.score import Subject, score
from benchmarks.harness.task import probe
from benchmarks.report.figures import report
from benchmarks.tasks import load_task
from tests.unit.benchmarks.stand_in import IDENTITY, Parrot, go
from tests.unit.benchmarks.test_tasks import read, write_csv

OPTIONS = {f"a{place}": f"option {place}" for place in range(5)}
HALF = [0.0, 0.0, 0.5, 1.0]


def write_gqa(folder: Path) -> None:
    def row(qid: int, answer: str) -> dict[str, object]:
        return {"video_id": "10", "frame_count": 900, "width": 640, "height": 480,
                "question": f"why {qid}", "answer": answer, "qid": qid, "type": "CW",
                **OPTIONS}  # fmt: skip

    write_csv(folder / "val.csv", [row(1, "option 3"), row(2, "option 0"), row(5, "option 1")])
    located = {"1": [[1.2, 5.8]], "2": [[12.1, 17.1], [20.0, 23.5]]}
    spans = {"10": {"duration": 34, "location": located, "fps": 29.97}}
    (folder / "gsub_val.json").write_text(json.dumps(spans))
    (folder / "map_vid_vidorID.json").write_text(json.dumps({"10": "1164/10"}))


def write_hc_stvg(folder: Path) -> None:
    row = {"img_num": 400, "img_size": [100, 200], "st_frame": 100, "st_time": 5.0, "ed_time": 7.0,
           "English": "The man in black sits down.", "bbox": [[0, 0, 100, 100]] * 40}  # fmt: skip
    (folder / "valv2.json").write_text(json.dumps({"55_Ab.mp4": row}))


def write_vidstg(folder: Path) -> None:
    about = {"type": "object", "target_id": 0}
    row = {"vid": "515", "frame_count": 60, "fps": 10.0, "width": 200, "height": 100,
           "subject/objects": [{"tid": 0, "category": "ball/sports_ball"}],
           "used_segment": {"begin_fid": 0, "end_fid": 50}, "used_relation": {},
           "temporal_gt": {"begin_fid": 10, "end_fid": 20},
           "captions": [{**about, "description": "there is a ball"}],
           "questions": [{**about, "description": "what rolls?"}]}  # fmt: skip
    (folder / "test_annotations.json").write_text(json.dumps([row, {**row, "vid": "missing"}]))
    box = {"tid": 0, "bbox": {"xmin": 0, "ymin": 0, "xmax": 100, "ymax": 100}}
    film = {"video_id": "515", "width": 200, "height": 100, "fps": 10.0,
            "subject/objects": row["subject/objects"], "trajectories": [[box]] * 60}  # fmt: skip
    (folder / "validation" / "0001").mkdir(parents=True)
    (folder / "validation" / "0001" / "515.json").write_text(json.dumps(film))


def test_next_gqa(tmp_path: Path) -> None:
    write_gqa(tmp_path)
    split, (first, second), problems = read("next-gqa", tmp_path)
    assert split == "val"
    assert (first.id, first.video, first.answer_index) == ("10_1", ("10", "1164/10"), 3)
    assert first.evidence == ((1.2, 5.8),)
    assert len(second.evidence) == 2
    assert problems == {"left_out": 1}


def test_next_gqa_with_spans_of_another_form(tmp_path: Path) -> None:
    write_gqa(tmp_path)
    (tmp_path / "gsub_val.json").write_text(json.dumps({"10": {"location": {"1": [1.2, 5.8]}}}))
    with pytest.raises(AnnotationError, match="does not hold spans of question 1"):
        read("next-gqa", tmp_path)


def test_hc_stvg(tmp_path: Path) -> None:
    write_hc_stvg(tmp_path)
    split, (record,), _ = read("hc-stvg", tmp_path)
    assert (split, record.id, record.video) == ("val", "55_Ab", ("55_Ab.mp4",))
    # 40 frames of 20 a second from the 100th on: 2 s, of which 5 frames a second are compared.
    assert [row[0] for row in record.tube] == pytest.approx([5 + k / 5 for k in range(10)])
    assert record.tube[0][1:] == (0.0, 0.0, 0.5, 1.0)
    (tmp_path / "valv2.json").write_text(json.dumps({"a.mp4": {"English": "x"}}))
    with pytest.raises(AnnotationError, match=r"does not describe a\.mp4"):
        read("hc-stvg", tmp_path)


def test_vidstg(tmp_path: Path) -> None:
    write_vidstg(tmp_path)
    split, (asked, said), problems = read("vidstg", tmp_path)
    assert split == "test"
    assert (asked.question, asked.answers) == ("what rolls?", ("ball", "sports ball"))
    assert (asked.start_seconds, asked.end_seconds) == (0.0, 5.0)
    assert [row[0] for row in asked.tube] == pytest.approx([1.0, 1.2, 1.4, 1.6, 1.8])
    assert said.group["form"] == "declarative"
    assert not said.answers
    assert said.has_gold
    assert problems == {"left_out": 2}


def test_a_span_is_scored_by_the_best_true_one() -> None:
    true = ((0.0, 10.0), (20.0, 30.0))
    values = span_values([(22.0, 32.0), (0.0, 10.0)], true, right=True)
    assert values["IoP"] == pytest.approx(0.8)
    assert values["IoU"] == pytest.approx(8 / 12)
    assert (values["Acc@GQA"], values["IoU@0.5"]) == (1.0, 1.0)
    assert span_values([(22.0, 32.0)], true, right=False)["Acc@GQA"] == 0.0
    assert span_values([(5.0, 5.0)], true, right=True)["IoP"] == 1.0
    assert span_values([(15.0, 15.0)], true, right=True)["IoP"] == 0.0
    assert set(span_values([], true, right=True).values()) == {0.0}


def test_a_tube_is_scored_at_five_frames_a_second() -> None:
    true = [[k / 5, 0.0, 0.0, 0.5, 1.0] for k in range(5, 15)]  # 1.0 to 2.8 s
    sparse = {"boxes": [[1.0, 0.0, 0.0, 0.5, 1.0], [1.8, 0.0, 0.0, 0.5, 1.0]]}
    values = tube_values([sparse], true)
    assert values["tIoU"] == values["vIoU"] == pytest.approx(5 / 10)
    assert (values["vIoU@0.3"], values["vIoU@0.5"]) == (1.0, 0.0)  # above, not at
    # A box that moves evenly: at 2.0 s, halfway, it covers [0.25, 0.75].
    moving = {"boxes": [[1.0, 0.0, 0.0, 0.5, 1.0], [3.0, 0.5, 0.0, 1.0, 1.0]]}
    halfway = tube_values([moving], [[2.0, 0.25, 0.0, 0.75, 1.0]])
    assert halfway["vIoU"] == pytest.approx(1 / 11)
    both = tube_values([moving, sparse], true)
    assert both["vIoU"] < both["vIoU of the best track"] == pytest.approx(0.5)
    assert set(tube_values([], true).values()) == {0.0}
    assert tube_values([{"boxes": [[1.07, *HALF]]}], true)["tIoU"] == pytest.approx(1 / 10)


def scored(
    task: str, folder: Path, split: str, predict: dict[str, dict[str, Any]]
) -> dict[str, Any]:
    """Run the stages over one set, with answers from a table."""
    found = probe(load_task(task), folder)
    identity = {**IDENTITY, "task": task, "split": split, "layout": found.layout.name}
    run = open_run(folder / "run", identity, {"config_name": "stand-in"})
    make_plan(run.plan_path, load_task(task), found)
    run.save(selection=Selection().to_dict(), videos=str(folder))
    go(run, Parrot(lambda name, _: {"status": "ok", "frames": [], **predict[name]}), folder)
    subject = load_task(task)
    with run.plan() as plan:
        result = score(run, plan, Subject(subject.groups, subject.macro, subject.grounds))
        text = report(run, plan)
    assert all(metric in text for metric in result["metrics"])
    return {
        metric: groups["all"]["attempted"]["mean"] for metric, groups in result["metrics"].items()
    }


def test_a_run_of_next_gqa(tmp_path: Path) -> None:
    write_gqa(tmp_path)
    (tmp_path / "10.mp4").touch()
    answers = {
        "10_1": {"answer": "d", "choice": 3, "spans": [[1.2, 5.8]]},
        "10_2": {"answer": "a", "choice": 0, "spans": [[0.0, 4.0]]},
    }
    means = scored("next-gqa", tmp_path, "val", answers)
    assert means["letter"] == 1.0
    assert means["Acc@GQA"] == means["IoP"] == means["IoU"] == means["IoP@0.5"] == 0.5


def test_a_run_of_hc_stvg(tmp_path: Path) -> None:
    write_hc_stvg(tmp_path)
    (tmp_path / "55_Ab.mp4").touch()
    track = {"phrase": "man", "boxes": [[5.0, *HALF], [6.8, *HALF]]}
    means = scored("hc-stvg", tmp_path, "val", {"55_Ab": {"answer": "the man", "tracks": [track]}})
    assert means == {
        "tIoU": 1.0,
        "vIoU": 1.0,
        "vIoU@0.3": 1.0,
        "vIoU@0.5": 1.0,
        "vIoU of the best track": 1.0,
    }


def test_a_run_of_vidstg(tmp_path: Path) -> None:
    write_vidstg(tmp_path)
    (tmp_path / "515.mp4").touch()
    track = {"phrase": "ball", "boxes": [[1.0, *HALF], [1.8, *HALF]]}
    answers: dict[str, dict[str, Any]] = {
        "515_0_i0": {"answer": "sports ball", "tracks": [track]},
        "515_0_d0": {"answer": "a ball"},
    }
    means = scored("vidstg", tmp_path, "test", answers)
    assert (means["exact"], means["vIoU"], means["tIoU"]) == (1.0, 0.5, 0.5)


def test_tubes_need_a_grounder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_hc_stvg(tmp_path)
    assert main(["hc-stvg", "--videos", str(tmp_path)]) != 0
    assert "names no grounder" in capsys.readouterr().err


def test_a_record_keeps_its_tube() -> None:
    record = Record("a", ("v",), "q", tube=((0.2, 0.0, 0.0, 0.5, 1.0),))
    assert Record.from_json(record.to_json()) == record
