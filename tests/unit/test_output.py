"""How results look on a terminal: nothing cut, no control characters, times as on a player."""

from __future__ import annotations

import io
import re
from dataclasses import replace

import pytest

from longvid.cli.output import clock, print_answer, printable, read_clock, table, warn
from longvid.errors import ConfigError
from longvid.indexing.report import IndexReport
from longvid.types import Failure

ESCAPES = re.compile(r"\x1b\[[0-9;]*m")


@pytest.mark.parametrize(
    ("seconds", "written"),
    [
        (0, "0:00.0"),
        (-1, "0:00.0"),
        (9.96, "0:10.0"),
        (59.94, "0:59.9"),
        (59.97, "1:00.0"),
        (3599.96, "1:00:00.0"),
        (3723.44, "1:02:03.4"),
    ],
)
def test_clock(seconds: float, written: str) -> None:
    assert clock(seconds) == written


@pytest.mark.parametrize(
    ("written", "seconds"),
    [("90", 90), ("7.5", 7.5), ("1:30", 90), ("75:30", 4530), ("1:02:03.5", 3723.5), ("0:59", 59)],
)
def test_a_time_is_read(written: str, seconds: float) -> None:
    assert read_clock(written) == seconds


@pytest.mark.parametrize(
    "written",
    [
        *("1:75", "1:60", "1:60:00", "0:01:60", "1:2:3:4", "1.5:30", "-0:30", "-5", "1:-5"),
        *("1:nan", "", ":", "1:", ":30", "nan", "inf", "soon", "1_0:30", "9" * 400 + ":00"),
    ],
)
def test_what_is_no_time_is_refused(written: str) -> None:
    with pytest.raises(ConfigError, match=r"is no time; give seconds, m:ss or h:mm:ss\.$"):
        read_clock(written)


def test_control_characters_are_shown_as_escapes() -> None:
    assert printable("a\tb\nc\x1b[31m\u202ed\udcff") == r"a\tb\nc\x1b[31m\u202ed\udcff"
    assert printable("Zürich 東京 \u00a0é") == "Zürich 東京 \u00a0é"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("columns", [20, 40, 80, 200])
def test_no_cell_is_cut(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setattr("sys.stdout", Terminal())
    error = "The file is cut off: " + "its last frames are missing; " * 6 + "download it again."
    row = ("[bold]a_rather_long_name_of_a_video[/x].mp4", "decode", "corrupt", "0:01.0", error)
    header = ("video", "stage", "kind", "from", "error")
    table(header, [row, row])
    import sys

    printed = ESCAPES.sub("", sys.stdout.getvalue())  # type: ignore[attr-defined]
    assert max(len(line.rstrip()) for line in printed.splitlines()) <= columns
    if columns < 80:  # a line a cell
        words = " ".join(printed.split())
        assert words.count("download it again.") == 2
    for word in {*error.split(), "decode", "corrupt", "0:01.0"}:
        assert printed.count(word) >= 2
    assert "…" not in printed


def test_a_pipe_gets_whole_rows(capsys: pytest.CaptureFixture[str]) -> None:
    table(("video", "error"), [("a\tb.mp4", "x" * 300)])
    assert capsys.readouterr().out == "video\terror\n" + r"a\tb.mp4" + "\t" + "x" * 300 + "\n"


def test_what_a_model_writes_moves_no_cursor(capsys: pytest.CaptureFixture[str]) -> None:
    print_answer("red\x1b[2J\nblue\r\ttea")
    warn("\x1b]0;title\x07 was left out")
    assert capsys.readouterr() == (
        "red\\x1b[2J\nblue\\r\\ttea\n",
        "longvid: \\x1b]0;title\\x07 was left out\n",
    )


def test_errors_are_not_broken_within_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """The failures of a store on 80 columns: eight columns leave no room for a sentence."""
    import sys

    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr("sys.stdout", Terminal())
    error = "cut_off_brook.webm has no keyframes; it may be corrupt or unsupported here."
    header = ("video", "stage", "kind", "tries", "decoder", "from", "to", "error")
    table(header, [("cut_off_brook.webm", "decode", "unsupported", 1, "pyav", "", "", error)])
    printed = ESCAPES.sub("", sys.stdout.getvalue())  # type: ignore[attr-defined]
    assert all(word in printed.split() for word in error.split())


@pytest.mark.parametrize(
    ("header", "row"),
    [
        (
            ("video", "from", "to", "score", "source", "text"),
            ("video_of_a_museum.mp4", "0:03.3", "0:07.5", "2.483", "speech", "a spoken line " * 5),
        ),
        (
            ("", "what", "found", "remark"),
            ("fallback", "op context_attention (cpu)", "a twin in torch, slower", "reasons " * 20),
        ),
    ],
)
def test_quoted_lines_and_findings_fit_a_usual_terminal(
    header: tuple[str, ...], row: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr("sys.stdout", Terminal())
    table(header, [row])
    printed = ESCAPES.sub("", sys.stdout.getvalue())  # type: ignore[attr-defined]
    assert printed.split("\n")[0].split() == [name for name in header if name]
    assert all(word in printed.split() for word in row[0].split())


@pytest.mark.parametrize("columns", range(20, 140, 7))
def test_no_letter_is_lost_at_any_width(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Long names beside sentences: rich's own widths come out too wide and are cut."""
    import sys

    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setattr("sys.stdout", Terminal())
    header = ("a", "b", "c", "d", "e", "f")
    row = ("x" * 42, "y" * 37, "short", "two words and more of them", "z" * 37, "last")
    table(header, [row])
    printed = ESCAPES.sub("", sys.stdout.getvalue())  # type: ignore[attr-defined]
    for letter in "xyz":
        assert printed.count(letter) == "".join(row).count(letter)
    assert "last" in printed


def test_models_are_named_whole_on_80_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr("sys.stdout", Terminal())
    rows = [
        ("llama_vid: encoder, llm", "YanweiLi/llama-vid-7b-full-224-video-fps-1", "missing"),
        ("slowfast_llava: encoder, llm", "llava-hf/llava-v1.6-vicuna-7b-hf", "missing"),
        ("mini: encoder, llm", "mini", "llava_onevision, 6.7 MB"),
    ]
    table(("named by", "model", "found"), rows)
    printed = ESCAPES.sub("", sys.stdout.getvalue()).split()  # type: ignore[attr-defined]
    assert all(word in printed for row in rows for cell in row for word in cell.split())


def test_a_gap_is_counted_where_no_video_failed() -> None:
    gap = Failure(
        "a" * 32, "/cut.webm", "decode", "corrupt", "Broken.", start_seconds=1, end_seconds=2
    )
    report = IndexReport("s", 2, 0, 0, 4, 30, 99, 20.0, (gap,), 1.0, "")
    assert report.outcome == "2 indexed, 0 skipped, 0 failed, 1 gap"
    assert replace(report, failures=()).outcome == "2 indexed, 0 skipped, 0 failed"
