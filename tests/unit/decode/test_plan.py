"""The plan of groups of pictures, on tables written by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from longvid.decode import PyAVDecoder
from longvid.decode.gop_plan import Run, nearest_allowed, on_display, plan_runs, start_packet
from longvid.decode.packet_table import FrameTimes, PacketTable
from longvid.errors import VideoError
from tests.unit.decode.footage import encode


def times(*pts: int, end: int | None = None) -> FrameTimes:
    last = pts[-1] + 1 if end is None else end
    return FrameTimes(np.array(pts, np.int64), last, 1, 10)


def table(*packets: tuple[int, bool]) -> PacketTable:
    """Make a table from (pts, keyframe) in decoding order."""
    pts = np.array([ticks for ticks, _ in packets], np.int64)
    order = np.argsort(pts)
    return PacketTable(
        pts=pts,
        keyframe=np.array([key for _, key in packets]),
        disposable=None,
        times=FrameTimes(pts[order], int(pts.max()) + 1, 1, 10),
        packet_of=order,
        prints=np.zeros(len(packets), np.uint32),
        reliable=True,
        join_places=(),
        encrypted=False,
        says_once=False,
        claimed_end_seconds=None,
    )


# I0 P3 B1 B2 | I4 P7 B5 B6: closed groups with reordering
CLOSED = table(
    (0, True), (3, False), (1, False), (2, False), (4, True), (7, False), (5, False), (6, False)
)
# I0 P3 B1 B2 | I6 B4 B5 P7: 4 and 5 are shown before the keyframe that they follow in the file
OPEN = table(
    (0, True), (3, False), (1, False), (2, False), (6, True), (4, False), (5, False), (7, False)
)


@pytest.mark.parametrize(
    ("wanted", "rank"),
    [(-5.0, 0), (0.0, 0), (0.39, 0), (0.4, 1), (0.4 - 1e-12, 1), (0.3999, 0), (1.0, 2), (99.0, 2)],
)
def test_the_frame_on_display(wanted: float, rank: int) -> None:
    assert on_display(times(0, 4, 9), [wanted]) == [rank]


def test_times_that_are_sums_find_their_own_frame() -> None:
    # 30000/1001 fps: no multiple of 1 / 29.97... is exactly a presentation time.
    ntsc = FrameTimes(np.arange(1000, dtype=np.int64) * 1001, 1001 * 1000, 1, 30_000)
    fps = 30_000 / 1001
    assert on_display(ntsc, [i / fps for i in range(1000)]) == list(range(1000))
    assert on_display(ntsc, [i * (1 / fps) for i in range(1000)]) == list(range(1000))


def test_seconds_are_rounded_once() -> None:
    assert FrameTimes(np.array([2**53 + 1]), 2**53 + 2, 3, 7).pts_seconds(0) == (2**53 + 1) * 3 / 7


def test_a_frame_ends_where_the_next_begins() -> None:
    some = times(0, 4, 9, end=15)
    assert [some.end_seconds(rank) for rank in range(3)] == [0.4, 0.9, 1.5]


@pytest.mark.parametrize(("rank", "start"), list(enumerate([0, 0, 0, 0, 4, 4, 4, 4])))
def test_closed_groups_start_at_their_keyframe(rank: int, start: int) -> None:
    assert start_packet(CLOSED, rank) == start


@pytest.mark.parametrize(("rank", "start"), list(enumerate([0, 0, 0, 0, 0, 0, 4, 4])))
def test_leading_pictures_start_a_group_earlier(rank: int, start: int) -> None:
    assert start_packet(OPEN, rank) == start


def test_a_run_ends_at_the_last_packet_needed() -> None:
    assert plan_runs(CLOSED, [1, 2]) == [Run(0, 3, (1, 2))]
    assert plan_runs(CLOSED, [3, 5]) == [Run(0, 1, (3,)), Run(4, 6, (5,))]


def test_groups_without_a_wanted_frame_are_not_decoded() -> None:
    many = table(*((ticks, ticks % 4 == 0) for ticks in range(100)))
    assert plan_runs(many, [1, 50, 99]) == [
        Run(0, 1, (1,)),
        Run(48, 50, (50,)),
        Run(96, 99, (99,)),
    ]


def test_a_run_that_reads_past_a_keyframe_serves_its_group_too() -> None:
    assert plan_runs(OPEN, [5, 7]) == [Run(0, 7, (5, 7))]


def test_frames_before_the_first_keyframe_start_at_the_first_packet() -> None:
    late = table((0, False), (1, False), (2, True), (3, False))
    assert start_packet(late, 1) == 0


def test_nearest_allowed_keeps_what_lies_too_far() -> None:
    some = times(0, 1, 2, 3, 4, 5, 6, 7, 8)
    assert nearest_allowed(some, range(9), [0, 4, 8], 0.1) == [0, 0, 2, 4, 4, 4, 6, 8, 8]
    assert nearest_allowed(some, range(9), [0, 4, 8], 9.0) == [0, 0, 0, 4, 4, 4, 4, 8, 8]
    assert nearest_allowed(some, range(9), [], 9.0) == list(range(9))


@pytest.mark.parametrize("isolate", [True, False])
def test_groups_begin_at_keyframes(tmp_path: Path, isolate: bool) -> None:
    options = {"g": "10", "bf": "2", "x264-params": "scenecut=0"}
    clip = str(encode(tmp_path / "clip.mp4", 30, options=options))
    with PyAVDecoder(isolate=isolate).setup() as decoder:
        assert decoder.group_starts(clip) == pytest.approx((0.0, 0.4, 0.8))
    with PyAVDecoder(isolate=isolate, plan=False).setup() as decoder:
        assert decoder.group_starts(clip) == (0.0,)
        with pytest.raises(VideoError):
            decoder.group_starts(str(tmp_path / "none.mp4"))
