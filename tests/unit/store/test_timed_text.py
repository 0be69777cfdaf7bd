"""Recognised text in a store: written in parts, resumed, replaced, removed, verified, digested."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from longvid.errors import StoreError
from longvid.store import Store, write_subtitles
from longvid.store.timed_text import (
    TextWriter,
    joined_lines,
    read_recognised,
    read_text,
    remove_text,
    text_fingerprints,
)
from longvid.types import TextLine, Word

VIDEO = "a" * 32
LINES = (
    TextLine(1.0, 2.5, "say <image> & <|im_end|>", "speech", "en", 0.5, None, (Word(1, 2, "say"),)),
    TextLine(3.0, 4.0, "東京", "speech", "ja"),
)
SIGN = TextLine(2.0, 3.0, "EXIT", "screen", "", 0.9, (0.1, 0.2, 0.3, 0.4))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.create(
        tmp_path / "store", fingerprint="f" * 16, config={}, space="space", embedding_width=4
    )


def test_lines_are_read_back_as_they_were(store: Store) -> None:
    before = store.digest()
    writer = TextWriter(store, VIDEO, "speech", "one")
    writer.add(LINES[:1], 300.0)
    writer.add(LINES[1:], 600.0)
    writer.finish()
    TextWriter(store, VIDEO, "screen", "two").add([SIGN], 10.0)
    write_subtitles(store.objects, VIDEO, [TextLine(0.0, 1.0, "subtitle")])
    assert read_recognised(store, VIDEO, "speech") == LINES
    assert [line.source for line in read_text(store, VIDEO)] == [
        "subtitle",
        "speech",
        "screen",
        "speech",
    ]
    assert read_text(store, VIDEO)[2] == SIGN
    assert store.digest() == before  # of finished videos only: this one has no manifest
    assert [finding.kind for finding in store.verify() if finding.kind != "orphan"] == []


def test_times_are_kept_to_a_millisecond(store: Store) -> None:
    word = Word(12.469999999999999, 13.3640000001, "say")
    line = TextLine(12.469999999999999, 14.0, "say", "speech", words=(word,))
    TextWriter(store, VIDEO, "speech", "one").add([line], 20.0)
    [read] = read_recognised(store, VIDEO, "speech")
    assert (read.start_seconds, read.words) == (12.47, (Word(12.47, 13.364, "say"),))


def test_a_killed_writer_goes_on_where_it_stopped(store: Store) -> None:
    writer = TextWriter(store, VIDEO, "speech", "one")
    assert writer.done_seconds is None
    writer.add(LINES[:1], 300.0)
    again = TextWriter(store, VIDEO, "speech", "one")
    assert (again.is_complete, again.done_seconds) == (False, 300.0)
    assert read_recognised(store, VIDEO, "speech") == LINES[:1]  # what is read so far
    again.add(LINES[1:], 600.0)
    again.finish()
    assert TextWriter(store, VIDEO, "speech", "one").is_complete
    assert read_recognised(store, VIDEO, "speech") == LINES


def test_another_source_takes_over_when_it_is_complete(store: Store) -> None:
    old = TextWriter(store, VIDEO, "speech", "old")
    old.add(LINES, 600.0)
    old.finish()
    new = TextWriter(store, VIDEO, "speech", "new")
    new.add([dataclasses.replace(LINES[0], text="better")], 300.0)
    assert read_recognised(store, VIDEO, "speech") == LINES
    new.finish()
    assert [line.text for line in read_recognised(store, VIDEO, "speech")] == ["better"]
    assert text_fingerprints(store, VIDEO, "speech") == ("new",)
    assert remove_text(store, VIDEO, "speech")
    assert not remove_text(store, VIDEO, "speech")
    assert read_recognised(store, VIDEO, "speech") == ()


def test_damage_is_one_sentence(store: Store) -> None:
    TextWriter(store, VIDEO, "speech", "one").add(LINES, 600.0)
    for path in Path(store.uri).glob("videos/*/annotations/speech/one/*.part"):
        path.write_bytes(b"{" * path.stat().st_size)
    with pytest.raises(StoreError, match="damaged"):
        read_recognised(store, VIDEO, "speech")


def test_a_stay_over_the_end_of_a_part_is_one_line() -> None:
    spans = ((0.0, 9.0), (9.0, 12.0))
    parts = [dataclasses.replace(SIGN, start_seconds=a, end_seconds=b) for a, b in spans]
    other = dataclasses.replace(SIGN, start_seconds=9.0, end_seconds=11.0, text="ENTRY")
    joined = joined_lines([*parts, other])
    assert [(line.text, line.start_seconds, line.end_seconds) for line in joined] == [
        ("EXIT", 0, 12),
        ("ENTRY", 9.0, 11.0),
    ]
    speech = [dataclasses.replace(LINES[0], start_seconds=a, end_seconds=a + 1) for a in (0.0, 1.0)]
    assert len(joined_lines(speech)) == 2


def test_half_a_character_is_written_as_a_question_mark(store: Store) -> None:
    TextWriter(store, VIDEO, "speech", "one").add([TextLine(0.0, 1.0, "a\ud800", "speech")], 1.0)
    assert [line.text for line in read_recognised(store, VIDEO, "speech")] == ["a?"]
