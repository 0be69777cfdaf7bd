"""Readings of single frames become lines: laws of merging, and what is left out."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from longvid.transcribe.screen_lines import (
    Reading,
    StayMerger,
    edit_distance,
    iou,
    is_junk,
    joined,
    scripts_of,
)
from longvid.types import TextLine

BOX = (0.2, 0.4, 0.6, 0.5)


def merged(frames: Sequence[Sequence[Reading]], **settings: float) -> list[TextLine]:
    merger = StayMerger(1.0, float(len(frames)), **settings)
    lines: list[TextLine] = []
    for second, readings in enumerate(frames):
        merger.add(float(second), readings)
        lines += merger.ready()
    return [*lines, *merger.finish()]


def read(text: str, score: float = 0.9, box: tuple[float, float, float, float] = BOX) -> Reading:
    return Reading(text, score, box)


@given(st.lists(st.booleans(), min_size=1, max_size=20))
def test_a_line_covers_the_frames_that_show_it(shown: list[bool]) -> None:
    """Spans are disjoint, and a hole of one frame is bridged; every frame shown is inside one."""
    lines = merged([[read("harbor")] if here else [] for here in shown])
    for earlier, later in itertools.pairwise(lines):
        assert earlier.end_seconds < later.start_seconds
    for second, here in enumerate(shown):
        inside = any(line.start_seconds <= second < line.end_seconds for line in lines)
        neighbours = second > 0 and shown[second - 1] and any(shown[second + 1 : second + 2])
        assert inside == (here or neighbours)


def test_the_reading_with_the_best_sum_of_scores_wins() -> None:
    words = [("BUNKK", 0.86), ("BUNKY", 0.7), ("BUNKY", 0.8), ("BUNKY", 0.82)]
    [line] = merged([[], *([read(*word)] for word in words), [], []])
    assert (line.start_seconds, line.end_seconds) == (0.5, 4.5)
    assert (line.text, line.confidence, line.box, line.source) == ("BUNKY", 0.82, BOX, "screen")


def test_unsure_text_must_be_read_twice() -> None:
    once = read("OLE", 0.7)
    assert merged([[once]]) == []
    assert merged([[once], [once]]) == []  # used again, not read again
    assert [line.text for line in merged([[once], [read("OLE", 0.7)]])] == ["OLE"]
    assert merged([[read("OLE", 0.6)]] * 3) == []


def test_other_text_in_the_same_place_is_a_line_of_its_own() -> None:
    other = (0.2, 0.4, 0.4, 0.5)
    lines = merged([[read("first title")], [read("second", box=other)]])
    assert [(line.text, line.start_seconds) for line in lines] == [
        ("first title", 0.0),
        ("second", 0.5),
    ]


def test_a_clock_is_a_line_for_each_of_its_numbers() -> None:
    frames = [[read(f"LAP 1 / 0:0{second}")] for second in range(4)]
    assert [(line.text[-4:], line.start_seconds, line.end_seconds) for line in merged(frames)] == [
        ("0:00", 0.0, 0.5),
        ("0:01", 0.5, 1.5),
        ("0:02", 1.5, 2.5),
        ("0:03", 2.5, 4.0),
    ]
    clock = [[read(text)] for text in ("00:00:00", "00:00:0", "00:00:02")]
    assert [line.text for line in merged(clock)] == ["00:00:00", "00:00:0", "00:00:02"]
    words = [[read("GATE ten")], [read("GATE teu")], [read("GATE ten")]]
    assert len(merged(words)) == 1


def test_a_number_misread_in_one_frame_is_no_line() -> None:
    right, wrong = "GATE 17 OPEN", "GATE 11 OPEN"
    [line] = merged([[read(text)] for text in (right, wrong, right, right, wrong, right)])
    assert (line.text, line.start_seconds, line.end_seconds) == (right, 0.0, 6.0)
    twice = merged([[read(text)] for text in (right, wrong, wrong, right)])
    assert [line.text for line in twice] == [right, wrong, right]
    elsewhere = read(wrong, box=(0.2, 0.7, 0.6, 0.8))
    both = merged([[read(right)], [elsewhere], [read(right)]])
    assert sorted(line.text for line in both) == [wrong, right]


def test_pieces_of_a_line_are_no_lines_of_their_own() -> None:
    """It fades in and out, and a hand covers it for a frame."""
    box = (0.2, 0.4, 0.8, 0.5)
    whole, again = read("THE OPEN PROJECT", box=box), read("THE OPEN PROJECT", box=box)
    piece = read("THE OP", box=(0.2, 0.4, 0.45, 0.5))
    [line] = merged([[piece], [whole], [again], [piece], [whole], [piece]])
    assert (line.text, line.start_seconds, line.end_seconds) == ("THE OPEN PROJECT", 0.0, 6.0)
    elsewhere = read("THE OP", box=(0.2, 0.7, 0.45, 0.8))
    assert len(merged([[whole], [elsewhere]])) == 2
    # Read twice, it was no piece yet: somebody goes on writing.
    laid = read("THE OP", box=piece.box)
    assert [line.text for line in merged([[piece], [laid], [whole]])] == [
        "THE OP",
        "THE OPEN PROJECT",
    ]


def test_scrolling_text_is_one_line() -> None:
    frames = [[read("DIRECTED BY NOBODY", box=(0.2, y, 0.8, y + 0.1))] for y in (0.8, 0.5, 0.2)]
    assert len(merged(frames)) == 1


def test_lines_come_in_time_order() -> None:
    stays = read("a long stay", box=(0.1, 0.1, 0.3, 0.2))
    short = read("short", box=(0.6, 0.7, 0.9, 0.8))
    lines = merged([[stays], [stays, short], [stays], [stays], [stays]])
    assert [line.text for line in lines] == ["a long stay", "short"]


@pytest.mark.parametrize(
    ("text", "box", "scripts", "junk"),
    [
        ("S", BOX, "latin", True),
        ("回", BOX, "any", True),
        (". .", BOX, "latin", True),
        ("abc", (0.0, 0.0, 1.0, 1.0), "latin", True),
        ("abcd", (0.0, 0.0, 1.0, 1.0), "latin", False),
        ("CO", (0.25, 0.32, 1.0, 0.73), "latin", True),  # a crescent and a ring
        ("IC", (0.27, 0.01, 0.62, 0.36), "latin", True),
        ("GO", (0.35, 0.40, 0.65, 0.60), "latin", False),
        ("東京駅", BOX, "latin", True),
        ("東京駅", BOX, "han", False),
        ("東京タワー", BOX, "han,kana", False),
        ("שלום", BOX, "latin", True),
        ("שלום", BOX, "hebrew,arabic", False),
        ("12:30", BOX, "latin", False),
        ("Café Größe", BOX, "latin", False),
    ],
)
def test_what_is_junk(
    text: str, box: tuple[float, float, float, float], scripts: str, junk: bool
) -> None:
    assert is_junk(Reading(text, 0.99, box), scripts_of(scripts)) is junk


def test_boxes_of_one_line_and_lines_of_one_title_are_joined() -> None:
    [title] = joined(
        [
            read("BLENDER FOUNDATION", box=(0.35, 0.40, 0.70, 0.45)),
            read("THE", box=(0.30, 0.40, 0.34, 0.45)),
            read("presents", box=(0.45, 0.47, 0.55, 0.50)),
        ]
    )
    assert title.text == "THE BLENDER FOUNDATION / presents"
    assert title.box == (0.30, 0.40, 0.70, 0.50)
    apart = [read("left", box=(0.0, 0.4, 0.1, 0.5)), read("right", box=(0.8, 0.4, 0.9, 0.5))]
    assert len(joined(apart)) == 2


@given(st.text("abc", max_size=6), st.text("abc", max_size=6), st.integers(0, 6))
def test_edit_distance_equals_the_textbook(one: str, other: str, limit: int) -> None:
    def textbook(a: str, b: str) -> int:
        if not a or not b:
            return len(a) + len(b)
        same = textbook(a[1:], b[1:]) + (a[0] != b[0])
        return min(same, 1 + textbook(a[1:], b), 1 + textbook(a, b[1:]))

    true = textbook(one, other)
    found = edit_distance(one, other, limit)
    assert found == true if true <= limit else found > limit


def test_overlap() -> None:
    assert iou((0, 0, 0.2, 0.2), (0.1, 0, 0.3, 0.2)) == pytest.approx(1 / 3)
    assert iou((0, 0, 0.1, 0.1), (0.2, 0, 0.3, 0.1)) == 0.0
