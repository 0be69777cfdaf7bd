"""Sampling grids are pure functions of numbers: tables and laws."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from longvid.errors import ConfigError, VideoError
from longvid.sample import (
    Sampling,
    fixed_step_indices,
    plan_chunks,
    plan_segments,
    rounded_step_indices,
    segment_midpoints,
    slow_indices,
    split_at,
    spread_indices,
    try_plan_chunks,
)
from longvid.systems.mg_llava.square_frames import video_frames
from longvid.types import Failure, Video

VIDEO = Video(
    path="clip.mp4",
    video_id="0" * 32,
    start_seconds=0.5,
    duration_seconds=10.0,
    average_fps=25.0,
    num_frames=250,
    height=360,
    width=640,
)

samplings = st.builds(
    Sampling,
    grid=st.sampled_from(
        ["fps", "midpoints", "spread", "step", "rounded_step", "rounded_step_1000"]
    ),
    fps=st.floats(0.1, 30),
    num_frames=st.integers(1, 80),
    slow_every=st.integers(1, 8),
    num_slow=st.integers(0, 10),
    segment_frames=st.integers(1, 32),
    chunk_segments=st.integers(1, 5),
)
videos = st.builds(
    lambda start, frames, fps: replace(
        VIDEO,
        start_seconds=start,
        num_frames=frames,
        average_fps=fps,
        duration_seconds=frames / fps,
    ),
    start=st.floats(-1, 100),
    frames=st.integers(1, 2000),
    fps=st.floats(0.2, 60),
)


@pytest.mark.parametrize(
    ("num_frames", "num_samples", "expected"),
    [(100, 4, (12, 37, 62, 86)), (1, 50, (0,)), (3, 50, (0, 1, 1)), (2, 1, (0,))],
)
def test_segment_midpoints(num_frames: int, num_samples: int, expected: tuple[int, ...]) -> None:
    assert segment_midpoints(num_frames, num_samples) == expected


@pytest.mark.parametrize("num_frames", [1, 2, 7, 8, 9, 100, 1001, 123_457])
def test_spread_frames_are_those_of_mg_llava_each_once(num_frames: int) -> None:
    seen = video_frames(num_frames, 8).tolist()
    assert list(spread_indices(num_frames, 8)) == sorted(set(seen))


def test_slow_indices_repeat_when_frames_are_few() -> None:
    assert slow_indices(7, 10) == (0, 0, 1, 2, 2, 3, 4, 4, 5, 6)
    assert slow_indices(50, 10) == tuple(range(0, 50, 5))


@pytest.mark.parametrize(
    ("average_fps", "fps", "step"),
    [(29.97, 1.0, 30), (2.5, 1.0, 2), (0.3, 1.0, 1), (24.0, 0.5, 48)],
)
def test_fixed_step_rounds_half_to_even_and_never_stands_still(
    average_fps: float, fps: float, step: int
) -> None:
    assert fixed_step_indices(100, average_fps, fps) == tuple(range(0, 100, step))


def test_fps_grid_starts_at_the_first_frame_and_ends_with_the_video() -> None:
    plans = plan_segments(VIDEO, Sampling(fps=1.0, segment_frames=4, slow_every=2))
    assert [plan.sample_seconds for plan in plans] == [
        (0.5, 1.5, 2.5, 3.5),
        (4.5, 5.5, 6.5, 7.5),
        (8.5, 9.5),
    ]
    assert [(plan.start_seconds, plan.end_seconds) for plan in plans] == [
        (0.5, 4.5),
        (4.5, 8.5),
        (8.5, 10.5),
    ]
    assert plans[2].slow == (True, False)


def test_frame_grids_ask_for_the_middle_of_a_frame() -> None:
    (plan,) = plan_segments(VIDEO, Sampling(grid="step", fps=5.0, segment_frames=64))
    # Frame 5 is shown from 0.7 s to 0.74 s after the start of the stream.
    assert plan.sample_seconds[1] == pytest.approx(0.5 + 5.5 / 25)


def test_a_video_without_duration_still_has_one_frame() -> None:
    still = replace(VIDEO, duration_seconds=0.0, num_frames=1)
    (plan,) = plan_segments(still, Sampling())
    assert plan.sample_seconds == (0.5,)


def test_num_slow_counts_over_the_whole_video() -> None:
    plans = plan_segments(VIDEO, Sampling(fps=1.0, num_slow=2, segment_frames=4))
    assert [time for plan in plans for time in plan.slow].count(True) == 2


def test_too_many_frames_are_refused_before_any_work() -> None:
    with pytest.raises(VideoError, match=r"10 frames, over sample.max_frames = 5"):
        plan_segments(VIDEO, Sampling(max_frames=5))


@pytest.mark.parametrize("field", ["num_frames", "slow_every", "segment_frames", "max_frames"])
def test_counts_below_one_are_refused(field: str) -> None:
    with pytest.raises(ConfigError, match=f"sample.{field}"):
        Sampling(**{field: 0})


@given(video=videos, sampling=samplings)
def test_segments_cover_the_video_without_gaps(video: Video, sampling: Sampling) -> None:
    plans = plan_segments(video, sampling)
    assert plans[0].start_seconds == video.start_seconds
    assert plans[-1].end_seconds >= video.end_seconds
    for before, after in pairwise(plans):
        assert before.end_seconds == after.start_seconds
    times = [time for plan in plans for time in plan.sample_seconds]
    assert times == sorted(times)
    assert [plan.segment_index for plan in plans] == list(range(len(plans)))
    assert all(len(plan.sample_seconds) <= sampling.segment_frames for plan in plans)


@given(video=videos, sampling=samplings)
def test_chunks_hold_every_segment_once_in_order(video: Video, sampling: Sampling) -> None:
    chunks = plan_chunks(video, sampling)
    together = [segment for chunk in chunks for segment in chunk.segments]
    assert together == list(plan_segments(video, sampling))
    assert all(len(chunk.segments) == sampling.chunk_segments for chunk in chunks[:-1])


def test_a_video_that_cannot_be_planned_is_one_failure() -> None:
    failure = try_plan_chunks(VIDEO, Sampling(max_frames=5))
    assert isinstance(failure, Failure)
    assert (failure.path, failure.stage, failure.kind) == (VIDEO.path, "probe", "too-large")
    assert try_plan_chunks(failure, Sampling()) is failure
    assert try_plan_chunks(VIDEO, Sampling()) == plan_chunks(VIDEO, Sampling())


@pytest.mark.parametrize("fps", [1e300, 1e308])
def test_a_rate_beyond_all_counting_is_refused(fps: float) -> None:
    with pytest.raises(VideoError, match=r"over sample.max_frames"):
        plan_segments(VIDEO, Sampling(fps=fps))


@given(st.lists(st.floats(0, 60), max_size=30), st.lists(st.floats(0, 60), max_size=9))
def test_wanted_times_are_split_where_groups_begin(wanted: list[float], more: list[float]) -> None:
    wanted, starts = sorted(wanted), sorted({0.0, *more})
    parts = split_at(wanted, starts)
    assert [at for part in parts for at in part] == wanted
    for part in parts:
        assert not any(part[0] < start <= part[-1] for start in starts)
    for before, after in pairwise(parts):
        assert any(before[-1] < start <= after[0] for start in starts)


@pytest.mark.parametrize(
    ("choose", "words", "named"),
    [
        (segment_midpoints, (100, 0), "num_samples"),
        (segment_midpoints, (-3, 4), "num_frames"),
        (spread_indices, (0, 8), "num_frames"),
        (spread_indices, (100, -8), "num_samples"),
        (spread_indices, (math.nan, 8), "num_frames"),
        (slow_indices, (10, -1), "num_slow"),
        (fixed_step_indices, (10, math.nan), "average_fps"),
        (fixed_step_indices, (10, 25.0, 0.0), "fps"),
        (rounded_step_indices, (10, math.inf, 1.0), "average_fps"),
        (split_at, ([0.5, math.nan], [0.0]), "nan"),
        (split_at, ([0.5], [0.0, math.nan]), "nan"),
    ],
)
def test_numbers_that_choose_no_frames_are_named(
    choose: Callable[..., object], words: tuple[object, ...], named: str
) -> None:
    with pytest.raises(ConfigError, match=named):
        choose(*words)
