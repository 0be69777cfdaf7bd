"""Boxes linked to tracks: cuts, things that leave and come back, two of one name."""

from __future__ import annotations

from longvid.methods.tracking import Detection, link, suppress


def at(x: float, y: float = 0.5, label: str = "dog", score: float = 0.9) -> Detection:
    return Detection(label, (x - 0.05, y - 0.05, x + 0.05, y + 0.05), score)


def test_two_of_one_name_that_pass_each_other_stay_apart() -> None:
    frames = [[at(0.2 + 0.1 * i, 0.3), at(0.8 - 0.1 * i, 0.7)] for i in range(6)]
    tracks = link(frames, [float(i) for i in range(6)])
    assert [len(track) for track in tracks] == [6, 6]
    assert {one.xyxy[1] for _, one in tracks[0]} == {0.3 - 0.05}


def test_a_thing_that_comes_back_soon_goes_on_and_later_begins_anew() -> None:
    times = [0.0, 1.0, 2.0, 3.0]
    assert len(link([[at(0.5)], [], [], [at(0.52)]], times)) == 1
    assert len(link([[at(0.5)], [], [], [at(0.52)]], times, max_gap_seconds=2.0)) == 2


def test_a_jump_at_a_cut_begins_a_track() -> None:
    tracks = link([[at(0.1)], [at(0.12)], [at(0.9)]], [0.0, 0.5, 1.0])
    assert [len(track) for track in tracks] == [2, 1]


def test_names_are_not_mixed_and_nothing_gives_nothing() -> None:
    assert len(link([[at(0.5)], [at(0.5, label="cat")]], [0.0, 1.0])) == 2
    assert link([], []) == []
    assert link([[], []], [0.0, 1.0]) == []


def test_suppress_keeps_the_best_of_each_label() -> None:
    found = [at(0.5, score=0.5), at(0.51), at(0.5, label="cat"), at(0.9)]
    kept = suppress(found)
    assert [(one.label, one.score) for one in kept] == [("dog", 0.9), ("cat", 0.9), ("dog", 0.9)]
    assert len(suppress([at(i / 100) for i in range(0, 100, 11)], most=3)) == 3
