"""Rows put to longvid itself: what is shown is noted, and what cannot be asked is a row too."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.harness.asker import Asker, Protocol, index_videos, question_of
from benchmarks.harness.record import Record
from longvid.config import load_config


def record(question: str = "what shape is red ?", **changes: object) -> Record:
    values = {"id": "1", "video": ("bottles_40s",), "question": question, "answers": ("star",)}
    return Record(**{**values, **changes})  # type: ignore[arg-type]  # a table of fields


@pytest.fixture(scope="module")
def bottles(few_clips: Path) -> str:
    return str(few_clips / "bottles_40s.mp4")


def test_frames_and_spans_shown_are_noted(small_store: Path, bottles: str) -> None:
    (told,) = Asker(str(small_store), load_config("mini"), Protocol()).ask([(record(), bottles)])
    assert told["status"] == "ok"
    assert told["frames"] == sorted(told["frames"])
    assert told["frames"]
    assert 0 < told["visual_tokens"] <= 512
    assert all(0 <= start < end <= 41 for start, end in told["spans"])
    spans = told["spans"]
    assert any(start <= seconds < end for seconds in told["frames"] for start, end in spans)
    assert told["seconds"]["llm"] > 0


def test_options_are_scored_and_the_choice_noted(small_store: Path, bottles: str) -> None:
    asker = Asker(str(small_store), load_config("mini"), Protocol())
    closed = record(answers=(), options=("star", "circle", "ring"), answer_index=0)
    (told,) = asker.ask([(closed, bottles)])
    assert told["answer"] == closed.options[told["choice"]]
    assert len(told["choice_scores"]) == 3


def test_only_the_part_that_is_asked_about_is_shown(small_store: Path, bottles: str) -> None:
    config = load_config("mini", ["ask.num_segments=0"])
    asker = Asker(str(small_store), config, Protocol())
    (told,) = asker.ask([(record(start_seconds=12.0, end_seconds=20.0), bottles)])
    assert told["status"] == "ok"
    assert all(12 <= seconds <= 20 for seconds in told["frames"])


def test_the_same_words_about_two_parts_are_two_questions(small_store: Path, bottles: str) -> None:
    config = load_config("mini", ["ask.num_segments=0"])
    parts = [(12.0, 20.0), (30.0, 34.0), (12.2, 12.3), (500.0, 400.0)]
    rows = [
        (record(id=str(i), start_seconds=start, end_seconds=end), bottles)
        for i, (start, end) in enumerate(parts)
    ]
    told = list(Asker(str(small_store), config, Protocol()).ask(rows))
    assert [row["id"] for row in told] == ["0", "1", "2", "3"]
    for row, (start, end) in list(zip(told, parts, strict=True))[:2]:
        assert row["frames"]
        assert all(start <= seconds <= end for seconds in row["frames"])
    # Between two sampled frames, and behind the end: the nearest one.
    assert [len(row["frames"]) for row in told[2:]] == [1, 1]
    assert abs(told[2]["frames"][0] - 12.25) < 0.6
    assert told[3]["frames"][0] > 38


def test_text_only_shows_nothing(small_store: Path, bottles: str) -> None:
    asker = Asker(str(small_store), load_config("mini"), Protocol(text_only=True))
    (told,) = asker.ask([(record(), bottles)])
    assert (told["status"], told["frames"], told["visual_tokens"]) == ("ok", [], 0)


def test_what_cannot_be_asked_is_a_row_among_the_others(small_store: Path, bottles: str) -> None:
    asker = Asker(str(small_store), load_config("mini"), Protocol())
    rows = [
        (record(id="a"), bottles),
        (record("how photogenic is it ?", id="b"), bottles),
        (record(id="c"), "/nowhere/else.mp4"),
        (record(id="d"), bottles),
    ]
    told = list(asker.ask(rows))
    assert [row["id"] for row in told] == ["a", "b", "c", "d"]
    assert [row["status"] for row in told] == ["ok", "model_error", "decode_error", "ok"]
    assert told[1]["error_kind"] == "question"
    assert "photogenic" in told[1]["error"]
    assert told[0]["answer"] == told[3]["answer"]


def test_a_broken_video_is_a_decode_error_with_its_reason(tmp_path: Path) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_text("not a video")
    config, store = load_config("mini"), str(tmp_path / "store")
    index_videos([str(broken)], store, config, "local")
    (told,) = Asker(store, config, Protocol()).ask([(record(), str(broken))])
    assert told["status"] == "decode_error"
    assert "broken.mp4" in told["error"]


def test_subtitles_at_sampled_frames_go_in_front(
    small_store: Path, bottles: str, tmp_path: Path
) -> None:
    (tmp_path / "b.srt").write_text(
        "1\n00:00:01,000 --> 00:00:03,000\nhello there\n\n"
        "2\n00:00:04,000 --> 00:00:06,000\n[Music]\n\n"
        "3\n00:05:00,000 --> 00:05:01,000\nlong after the end\n"
    )
    asker = Asker(str(small_store), load_config("mini"), Protocol(subtitles=tmp_path))
    rows = [(record(subtitles="b.srt"), bottles), (record(id="2", subtitles="none.srt"), bottles)]
    told = list(asker.ask(rows))
    assert [row["subtitle_lines"] for row in told] == [1, None]
    assert told[0]["status"] == "model_error"  # mini knows no such words
    assert "hello" in told[0]["error"]


def test_subtitles_between_the_frames_come_from_the_file_of_the_row(
    small_store: Path, bottles: str, tmp_path: Path
) -> None:
    lines = [
        {"start": "00:00:02.000", "end": "00:00:04.500", "line": "before the clip begins"},
        {"start": "00:00:10.000", "end": "00:00:13.000", "line": "the red star"},
    ]
    (tmp_path / "b.json").write_text(json.dumps(lines))
    (tmp_path / "broken.json").write_text('[{"start": 1}]')
    config = load_config("mini", ["ask.subtitles=covering", "ask.num_segments=0"])
    asker = Asker(str(small_store), config, Protocol(subtitles=tmp_path))
    names = ("b.json", "broken.json")
    rows = [
        (record(id=name, subtitles=name, subtitles_from_seconds=5.0), bottles) for name in names
    ]
    (spoken,) = asker.ask(rows[:1])
    (silent,) = asker.ask(rows[1:])
    assert [spoken["subtitle_lines"], silent["subtitle_lines"]] == [1, None]
    assert spoken["status"] == silent["status"] == "ok"
    assert spoken["prompt_tokens"] > silent["prompt_tokens"]


def test_a_row_is_laid_out_as_the_protocol_says() -> None:
    template = "Watch closely. {question} Answer with a word."
    question = question_of(record("who {is} it?"), Protocol(template), "v")
    assert question.text == "Watch closely. who {is} it? Answer with a word."
    closed = record(options=("a", "b"), answers=(), answer_index=0)
    assert question_of(closed, Protocol(), "v").choices == ("a", "b")
    written = question_of(closed, Protocol(options="text"), "v")
    assert written.choices == ()
    assert "A. a\nB. b" in written.text
    said = question_of(record("who?"), Protocol(), "v", ["hello"])
    assert said.text.startswith("This video's subtitles are listed below:\nhello\nwho?")
