"""The measurement of asking a model on a server."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.__main__ import main

CLIP = Path(__file__).parents[2] / "data" / "cars_overhead_30s.mp4"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        *((f"--minutes={value}", "--minutes must be") for value in ("nan", "inf", "0", "-1")),
        *((f"--questions={value}", "--questions must be") for value in ("0", "-2")),
        ("--video=none.mp4", "none.mp4 cannot be read as a video: No such file"),
        ("--video=text.mp4", "text.mp4 cannot be read as a video: Invalid data"),
        ("--video=.", ". cannot be read as a video: Is a directory"),
    ],
)
def test_bad_options_are_one_sentence(
    words: str,
    sentence: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("text.mp4").write_text("hello")
    assert main(["speed", "remote", words]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"benchmarks: {sentence}")
    assert error.count("\n") == 1


def test_every_question_has_its_own_time_of_the_server(tmp_path: Path) -> None:
    target = tmp_path / "rows.json"
    words = ["speed", "remote", "--minutes", "0.005", "--questions", "5", "--video", str(CLIP)]
    assert main([*words, "--json", str(target)]) == 0
    rows = {(row["subject"], row["metric"]): row for row in json.loads(target.read_text())["rows"]}
    assert rows["server", "request"]["n"] == rows["longvid", "beside the server"]["n"] == 5
    assert rows["server", "its own"]["value"] > 0
    assert rows["longvid", "beside the server"]["value"] > 0
