"""The command line as a person uses it: real clips in, an answer with evidence out."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from longvid.cli import main


def run(capsys: pytest.CaptureFixture[str], *words: object, status: int = 0) -> str:
    """Run a command in this process and return what it printed on stdout."""
    assert main([str(word) for word in words]) == status
    return capsys.readouterr().out


def run_json(capsys: pytest.CaptureFixture[str], *words: object, status: int = 0) -> Any:
    return json.loads(run(capsys, *words, "--json", status=status))


def test_index_ask_search_status(
    few_clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = tmp_path / "store"
    report = run_json(capsys, "index", few_clips, "--store", store)
    assert (report["videos_indexed"], report["videos_skipped"]) == (3, 1)
    assert report["failures"] == []

    again = run_json(capsys, "index", few_clips, "--store", store)
    assert (again["videos_indexed"], again["videos_skipped"]) == (0, 4)
    assert again["frames"] == 0

    answer = run_json(
        capsys, "ask", "what color is the sign?", "--store", store, "--video", "bottles_40s.mp4"
    )
    assert answer["evidence"]
    assert all(span["path"].endswith("bottles_40s.mp4") for span in answer["evidence"])
    assert all(
        0 <= span["start_seconds"] < span["end_seconds"] <= 40 for span in answer["evidence"]
    )
    assert 0 < answer["visual_tokens"] <= 512
    assert answer["prompt_tokens"] > answer["visual_tokens"]

    found = run_json(capsys, "search", "a red star", "--store", store, "--top-k", 3)
    assert len(found) == 3
    assert [span["score"] for span in found] == sorted(
        (span["score"] for span in found), reverse=True
    )

    tagged = ("--store", store, "--tag", "camera=2")
    run_json(capsys, "tag", "bottles_40s.mp4", "camera=2", "place=yard", "--store", store)
    assert run(capsys, "tag", "bottles_40s.mp4", "place=", "--store", store) == "camera=2\n"
    found = run_json(capsys, "search", "a red star", *tagged, "--top-k", 3)
    assert len(found) == 3
    assert all(span["path"].endswith("bottles_40s.mp4") for span in found)
    answer = run_json(capsys, "ask", "what color is the sign?", *tagged, "--path", "*")
    assert all(span["path"].endswith("bottles_40s.mp4") for span in answer["evidence"])
    assert main(["search", "a red star", "--store", str(store), "--tag", "camera=3"]) == 1
    assert "has the tags camera=3; longvid status lists them" in capsys.readouterr().err
    run_json(capsys, "index", few_clips, *tagged[:2], "--tag", "camera=3")

    status = run_json(capsys, "status", "--store", store)
    assert [video["tags"] for video in status["videos"]] == [{"camera": "3"}] * 3
    assert status["num_videos"] == 3
    assert len(status["videos"]) == 3
    assert run_json(capsys, "failures", "--store", store) == []

    assert run_json(capsys, "search", "no such words", "--store", store, "--text") == []
    assert main(["search", "no such words", "--store", str(store), "--source", "speech"]) == 0
    assert "No line of speech text has these words" in capsys.readouterr().err


def test_a_clip_is_named_as_the_store_names_it_and_says_where_it_ends(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store, clip = tmp_path / "store", tmp_path / "clip.mp4"
    run_json(capsys, "index", data / "bbb_rabbit_5s.mp4", "--store", store)
    words = ["clip", "bbb_rabbit_5s.mp4", "3", "4", "--store", str(store), "--output", str(clip)]
    assert main([*words, "--json"]) == 0
    found = capsys.readouterr()
    assert json.loads(found.out)["ends_early"] is False
    assert not found.err
    assert main([*words[:-1], str(tmp_path / "no" / "clip.mp4")]) == 1
    assert "no/clip.mp4 cannot be written: No such file or directory" in capsys.readouterr().err
    words[3] = "60"
    assert main(words) == 0
    assert "bbb_rabbit_5s.mp4 ends before 1:00.0; the clip's last frame is at 0:05.2" in (
        capsys.readouterr().err
    )


def test_multiple_choice_takes_one_of_the_choices(
    small_store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = run_json(
        capsys, "ask", "what color is the sign?", "--store", small_store,
        "--choice", "red", "--choice", "blue", "--choice", "green",
    )  # fmt: skip
    assert answer["text"] == ["red", "blue", "green"][answer["choice"]]
    scores = answer["choice_scores"]
    assert scores[answer["choice"]] == max(scores)


def test_a_bad_file_does_not_stop_the_others(
    few_clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_text("this is not a video\n")
    store = tmp_path / "store"
    good = few_clips / "sign_book_640x480.mkv"
    report = run_json(
        capsys, "index", broken, good, tmp_path / "missing.mp4", "--store", store, status=3
    )
    assert (report["videos_indexed"], report["videos_failed"]) == (1, 2)
    kinds = {Path(row["path"]).name: row["kind"] for row in report["failures"]}
    assert kinds == {"broken.mp4": "unsupported", "missing.mp4": "unreadable"}

    listed = run_json(capsys, "failures", "--store", store, "--kind", "unreadable")
    assert [Path(row["path"]).name for row in listed] == ["missing.mp4"]

    (tmp_path / "missing.mp4").write_bytes((few_clips / "bottles_40s.mp4").read_bytes())
    retried = run_json(capsys, "retry", "--store", store, status=3)
    assert (retried["videos_indexed"], retried["videos_failed"]) == (1, 1)
    left = run_json(capsys, "failures", "--store", store)
    assert [(Path(row["path"]).name, row["attempts"]) for row in left] == [("broken.mp4", 2)]


def test_a_video_that_failed_too_often_is_left_alone_until_retry(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_text("this is not a video\n")
    store = tmp_path / "store"
    for _ in range(3):
        assert run_json(capsys, "index", broken, "--store", store, status=3)["videos_failed"] == 1
    assert run_json(capsys, "index", broken, "--store", store)["videos_skipped"] == 1
    assert run_json(capsys, "retry", "--store", store, status=3)["videos_failed"] == 1


def test_ask_about_a_file_without_a_store_indexes_it_once(
    few_clips: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clip = few_clips / "sign_book_640x480.mkv"
    for _ in range(2):
        answer = run_json(capsys, "ask", "what color is the sign?", "--video", clip)
        assert [Path(span["path"]).name for span in answer["evidence"]] == [clip.name]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["ask", "what is this?"], "Name a --store, or a --video"),
        (["ask", "what is this?", "--store", "nowhere"], "nowhere"),
        (["index", "x.mp4", "--store", "s", "--config", "none"], "presets are"),
        (["index", "x.mp4", "--store", "s", "--set", "sample.fsp=1"], "known are"),
        (["failures", "--store", "nowhere", "--kind", "odd"], "known are"),
        (["search", "x", "--store", "nowhere", "--top-k", "0"], "at least 1"),
    ],
)
def test_an_error_is_one_sentence_and_status_1(
    words: list[str], sentence: str, capsys: pytest.CaptureFixture[str], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert main(words) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("longvid: ")
    assert captured.err.count("\n") == 1
    assert sentence in captured.err


def test_an_unknown_word_is_refused_by_mini(
    small_store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["ask", "what does the elephant do?", "--store", str(small_store)]) == 1
    assert "elephant" in capsys.readouterr().err


def test_wrong_usage_is_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["index"])
    assert stopped.value.code == 2
    capsys.readouterr()


@pytest.mark.parametrize(
    ("words", "option"),
    [
        (["search", "x", "--store", "s"], "--path"),
        (["search", "x", "--store", "s"], "--video"),
        (["search", "x", "--store", "s"], "--after"),
        (["search", "x", "--store", "s"], "--before"),
        (["search", "x"], "--store"),
        (["ask", "x"], "--store"),
        (["ask", "x"], "--path"),
        (["ask", "x"], "--after"),
        (["ask", "x"], "--video"),
        (["ask", "x"], "--ground"),
        (["ask", "x"], "--config"),
    ],
)
def test_a_second_value_of_an_option_of_one_is_refused(
    words: list[str], option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([*words, option, "a", option, "b"])
    assert stopped.value.code == 2
    sentence = f"error: argument {option}: it takes one value, got 'a' and 'b'\n"
    assert capsys.readouterr().err.endswith(sentence)


def test_two_sources_to_search_are_refused_and_one_may_be_named_twice(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["search", "x", "--store", str(tmp_path / "nowhere"), "--source", "speech", "--source"]
    with pytest.raises(SystemExit) as stopped:
        main([*words, "screen"])
    assert stopped.value.code == 2
    assert "it takes one value, got 'speech' and 'screen'" in capsys.readouterr().err
    assert main([*words, "speech"]) == 1
    assert "There is no store at" in capsys.readouterr().err


def test_doctor_names_every_op_and_decoder(capsys: pytest.CaptureFixture[str]) -> None:
    found = {row["what"]: row for row in run_json(capsys, "doctor")}
    assert found["decoder pyav"]["state"] == "ok"
    assert found["op segment_mean (cpu)"]["found"]
    assert "model mini" in found
    assert all(row["state"] != "ok" for row in found.values() if row["found"].startswith("not "))


@pytest.mark.parametrize(
    "words",
    [["status"], ["ask", "what?"], ["search", "a star"], ["failures"], ["retry"], ["remove", "a"]],
)
def test_a_store_that_is_not_there_is_said_before_torch_is_imported(
    words: list[str], tmp_path: Path
) -> None:
    code = (
        "import sys; from longvid.cli import main; status = main(sys.argv[1:]); "
        "sys.exit(9 if {'torch', 'transformers', 'faiss'} & {*sys.modules} else status)"
    )
    command = [sys.executable, "-c", code, *words, "--store", str(tmp_path / "nowhere")]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert "There is no store at" in result.stderr


def test_config_prints_toml_that_it_can_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(run(capsys, "config", "--set", "sample.fps=3"))
    assert run(capsys, "config", "--config", path) == path.read_text()


def test_the_installed_command_runs_as_a_process(small_store: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "longvid.cli", "status", "--store", str(small_store)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "3 videos" in result.stdout
    assert result.stderr == ""
