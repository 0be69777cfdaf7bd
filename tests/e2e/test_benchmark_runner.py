"""The benchmark runner from the command line to the page, with mini on drawn and on real clips."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.__main__ import main
from tests.unit.benchmarks.folders import FLAVOURS, Row, draw_clips, write_mapping, write_msvd

CLIPS = (1451, 1452, 1453)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Drawn clips with MSVD-QA's files in four flavours; runs are kept beside them."""
    root = tmp_path_factory.mktemp("msvd")
    rows = draw_clips(root / "videos", CLIPS)
    for flavour in FLAVOURS:
        write_msvd(root / flavour, flavour, "test", rows)
        write_mapping(root / flavour, rows)
    return root


def run(folder: Path, flavour: str, *options: str) -> int:
    places = ["--annotations", str(folder / flavour), "--videos", str(folder / "videos")]
    kept = ["--runs", str(folder / "runs"), "--config", "mini"]
    return main(["msvd-qa", *places, *kept, "--split", "test", *options])


def score_of(folder: Path, flavour: str, budget: int = 512) -> tuple[Path, dict[str, Any]]:
    found = []
    for path in (folder / "runs").glob(f"msvd-qa-test-mini-{budget}-*/score.json"):
        result = json.loads(path.read_text())
        if result["identity"]["layout"] == flavour and not result["identity"]["text_only"]:
            found.append((path.parent, result))
    assert len(found) == 1
    return found[0]


def test_four_flavours_give_one_result(folder: Path) -> None:
    assert [run(folder, flavour) for flavour in FLAVOURS] == [0] * 4
    figures = []
    for flavour in FLAVOURS:
        place, result = score_of(folder, flavour)
        assert result["coverage"] == {
            "ok": 12,
            "not_asked": 0,
            "video_missing": 0,
            "decode_error": 0,
            "model_error": 0,
            "unparsed": 0,
        }
        figures.append(result["metrics"])
        assert "data:image/jpeg" in (place / "report.html").read_text()
    assert figures[0] == figures[1] == figures[2] == figures[3]
    # Drawn clips are what mini was trained on: it must be far above what words alone give away.
    accuracy = figures[0]["exact"]["all"]["all"]["mean"]
    assert accuracy > 0.5
    row = _first_line(score_of(folder, "q-a")[0] / "predictions.jsonl")
    assert row["frames"]
    assert row["visual_tokens"] <= 512
    assert {"search", "select", "llm"} <= row["seconds"].keys()


def _first_line(path: Path) -> dict[str, Any]:
    line: dict[str, Any] = json.loads(path.read_text().splitlines()[0])
    return line


def test_budgets_are_runs_and_text_only_is_one_more(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(folder, "csv", "--text-only") == 0
    capsys.readouterr()
    assert run(folder, "csv", "--budget", "64,512") == 0
    shown = capsys.readouterr().out
    assert "this model without frames: exact+lemma" in shown
    small, wide = score_of(folder, "csv", 64)[0], score_of(folder, "csv")[0]
    assert "against budget" in (wide / "report.html").read_text()
    assert _first_line(small / "predictions.jsonl")["visual_tokens"] <= 64
    assert main(["compare", str(small), str(wide)]) == 0
    assert "Differ in: budget." in capsys.readouterr().out


def test_a_finished_run_is_not_touched(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(folder, "qa-json") == 0
    place, _ = score_of(folder, "qa-json")
    before = {path.name: path.stat().st_mtime_ns for path in place.iterdir()}
    capsys.readouterr()
    assert run(folder, "qa-json") == 0
    assert "0 asked, 12 kept" in capsys.readouterr().err
    after = {path.name: path.stat().st_mtime_ns for path in place.iterdir()}
    assert {name for name in before if before[name] != after[name]} <= {"run.json"}


def test_a_recorded_judge_judges_again(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from benchmarks.judging.judges import pair_hash
    from benchmarks.judging.verdict import PROMPT_HASH

    assert run(folder, "igvlm") == 0
    place, _ = score_of(folder, "igvlm")
    predictions = [json.loads(x) for x in (place / "predictions.jsonl").read_text().splitlines()]
    rows = {f"{row.clip}_{row.id}": row for row in _rows(folder)}
    recording = folder / "recording.jsonl"
    recording.write_text(
        "".join(
            json.dumps(
                {
                    "id": p["id"],
                    "judge": "gpt-3.5-turbo-0125",
                    "prompt": PROMPT_HASH,
                    "pair": pair_hash(rows[p["id"]].question, rows[p["id"]].answer, p["answer"]),
                    "status": "ok",
                    "raw": "{'pred': 'yes', 'score': 4.8}",
                }
            )
            + "\n"
            for p in predictions
        )
    )
    assert main(["rejudge", str(place), "--judge", f"recorded:{recording}"]) == 0
    assert "judge:gpt-3.5-turbo-0125" in capsys.readouterr().out
    assert (
        json.loads((place / "score.json").read_text())["judges"]["gpt-3.5-turbo-0125"][
            "mean_score"
        ]["mean"]
        == 4.0
    )


def _rows(folder: Path) -> list[Row]:
    listed = json.loads((folder / "qa-json" / "test_qa.json").read_text())
    return [Row(r["id"], r["video_id"], r["question"], r["answer"]) for r in listed]


def test_real_questions_are_refused_row_by_row_and_counted(
    tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    listed = json.loads((data / "qa_real.json").read_text())
    videos = {"flower_bloom.mp4", "bbb_bird_vp9_642x642.webm", "toy_frog.mp4"}
    wanted = [row["id"] for row in listed if row["video"] in videos]
    (tmp_path / "ids.txt").write_text("\n".join(wanted))
    (tmp_path / "videos").mkdir()
    for name in sorted(videos - {"toy_frog.mp4"}):
        (tmp_path / "videos" / name).symlink_to(data / name)
    arguments = ["real", "--annotations", str(data), "--videos", str(tmp_path / "videos")]
    arguments += ["--ids", str(tmp_path / "ids.txt"), "--runs", str(tmp_path / "runs")]
    assert main(arguments) == 3  # nothing was answered
    assert "refused (the model cannot read the question)" in capsys.readouterr().out
    (path,) = (tmp_path / "runs").glob("real-all-mini-*/score.json")
    coverage = json.loads(path.read_text())["coverage"]
    assert coverage["video_missing"] == 3
    assert coverage["ok"] + coverage["model_error"] == 4


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--judge", "gpt-4"], "--judge takes openai:MODEL@BASE_URL or recorded:FILE"),
        (["--layout", "other"], "known are qa-json, csv, q-a, igvlm"),
        (["--config", "nothing"], "There is no configuration 'nothing'"),
        (["--question", "no field"], r"must hold {question}"),
    ],
)
def test_what_is_wrong_is_one_sentence_before_any_work(
    folder: Path, options: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(folder, "csv", *options) == 1
    error = capsys.readouterr().err
    assert sentence in error
    assert error.count("\n") == 1


def test_a_run_writes_its_figures_as_rows(folder: Path) -> None:
    rows = folder / "rows.json"
    assert run(folder, "csv", "--json", str(rows)) == 0
    document = json.loads(rows.read_text())
    (row,) = [row for row in document["rows"] if row["metric"] == "exact, all, all"]
    assert row.keys() == {"task", "subject", "metric", "value", "unit", "n", "spread"}
    assert (row["task"], row["subject"], row["n"]) == ("msvd-qa test", "mini, 512 tokens", 12)


def test_a_run_without_an_answer_ends_with_status_3(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [Row(1, CLIPS[0], "how photogenic is it ?", "very")]
    write_msvd(folder / "unknown", "csv", "test", rows)
    assert run(folder, "unknown") == 3
    assert "Not one of 1 rows was answered" in capsys.readouterr().err
