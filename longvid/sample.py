"""Decide at which moments a video is looked at: pure functions of numbers.

SlowFast sampling has two rates. The fast pathway sees every sampled frame at a coarse grid, the
slow pathway a few of them at the full grid. This module chooses times; it opens no file and
knows no pixels.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from longvid.errors import ConfigError, VideoError, require_at_least, require_one_of, shown
from longvid.types import Chunk, Failure, SegmentPlan, Video


def _require_counts(least: int = 1, **counts: int) -> None:
    """Refuse numbers of frames that are too small, or none.

    Raises:
        ConfigError: The sentence names the first of them.
    """
    for name, count in counts.items():
        require_at_least(name, count, least)


def _require_rates(**rates: float) -> None:
    """Refuse frames per second that are not positive and finite.

    Raises:
        ConfigError: The sentence names the first of them.
    """
    for name, rate in rates.items():
        if not 0 < rate < math.inf:
            raise ConfigError(f"{name} must be positive and finite, got {shown(rate)}.")


def segment_midpoints(num_frames: int, num_samples: int) -> tuple[int, ...]:
    """Return the middle frame of each of `num_samples` equal parts of a video.

    >>> segment_midpoints(100, 4)
    (12, 37, 62, 86)

    A video with fewer frames than samples gives each of its first frames once.

    Args:
        num_frames: Frames in the video, at least 1.
        num_samples: Frames wanted, at least 1.

    Returns:
        min(num_frames, num_samples) frame indices, non-decreasing.

    Source: SlowFast-LLaVA, `dataset.py` get_seq_frames; halves round to even, and the last frame
    is in general never sampled.
    """
    _require_counts(num_frames=num_frames, num_samples=num_samples)
    count = min(num_frames, num_samples)
    step = (num_frames - 1) / count
    edges = [int(np.round(step * i)) for i in range(count + 1)]
    return tuple((left + right) // 2 for left, right in pairwise(edges))


def spread_indices(num_frames: int, num_samples: int) -> tuple[int, ...]:
    """Spread frames evenly from the first to the last, rounded down.

    >>> spread_indices(100, 8)
    (0, 14, 28, 42, 56, 70, 84, 99)

    A video with fewer frames than samples gives each of its frames once.

    Args:
        num_frames: Frames in the video, at least 1.
        num_samples: Frames wanted, at least 1.

    Source: MG-LLaVA, 8 frames a video.
    """
    _require_counts(num_frames=num_frames, num_samples=num_samples)
    places = np.linspace(0, num_frames - 1, num_samples).astype(int).tolist()
    return tuple(dict.fromkeys(places))


def slow_indices(num_frames: int, num_slow: int) -> tuple[int, ...]:
    """Choose the slow pathway's frames: floor(k * num_frames / num_slow).

    >>> slow_indices(7, 10)
    (0, 0, 1, 2, 2, 3, 4, 4, 5, 6)

    Fewer frames than `num_slow` repeat, as in the original.

    Args:
        num_frames: Frames sampled for the fast pathway.
        num_slow: Frames of the slow pathway.

    The original cuts a float32 linspace to integers, which is one less where rounding puts a value
    below its integer: first for 14 slow frames of 2. Here the arithmetic is exact.

    Source: SlowFast-LLaVA §3.2, `llava_arch.py` prepare_slowfast.
    """
    _require_counts(0, num_frames=num_frames, num_slow=num_slow)
    return tuple(k * num_frames // num_slow for k in range(num_slow))


def fixed_step_indices(num_frames: int, average_fps: float, fps: float = 1.0) -> tuple[int, ...]:
    """Take every round(average_fps / fps)-th frame, starting with the first.

    >>> fixed_step_indices(10, 2.5)
    (0, 2, 4, 6, 8)

    A video slower than half the asked rate would give a step of 0, which the originals do not
    survive; here every frame is taken.

    Args:
        num_frames: Frames in the video.
        average_fps: Frames per second of the video.
        fps: Frames per second wanted.

    Source: LLaMA-VID `run_llamavid_movie.py`; LongVU `mm_datautils.py`. Halves round to even.
    """
    _require_counts(num_frames=num_frames)
    _require_rates(average_fps=average_fps, fps=fps)
    step = max(1, round(average_fps / fps))
    return tuple(range(0, num_frames, step))


def rounded_step_indices(
    num_frames: int, average_fps: float, fps: float, thin_above: int = 0
) -> tuple[int, ...]:
    """Take every round(round(average_fps) / fps)-th frame, as LongVU's evaluation does.

    >>> rounded_step_indices(100, 12.5, 0.5)
    (0, 24, 48, 72, 96)

    Args:
        num_frames: Frames in the video.
        average_fps: Frames per second of the video; rounded first, halves to even.
        fps: Frames per second wanted.
        thin_above: Of n frames above this number, every (n // thin_above)-th is taken; 0 for all.

    Source: LongVU, `eval_videomme.py`; `eval_mlvu.py` and `eval_egoschema.py` thin above 1000.
    """
    _require_counts(num_frames=num_frames)
    _require_rates(average_fps=average_fps, fps=fps)
    step = max(1, round(max(1, round(average_fps)) / fps))
    indices = tuple(range(0, num_frames, step))
    if thin_above and len(indices) > thin_above:
        return indices[:: len(indices) // thin_above]
    return indices


_GRIDS = ("fps", "midpoints", "spread", "step", "rounded_step", "rounded_step_1000")


#: Bounds of settings; the lowest rate is a frame in eleven days.
_LEAST_FPS = 1e-6
_MOST_COUNT, _MOST_SLOW = 2**31, 1_000_000


@dataclass(frozen=True, slots=True)
class Sampling:
    """When frames are taken, which of them the slow pathway sees, and how long a segment is.

    Args:
        grid: "fps" takes a frame every 1 / fps seconds of presentation time, which is right for
            a variable frame rate; "midpoints" takes `num_frames` segment mid-points
            (SlowFast-LLaVA); "spread" takes `num_frames` from the first to the last (MG-LLaVA);
            "step" takes every round(average_fps / fps)-th frame (LLaMA-VID,
            LongVU); "rounded_step" rounds the average rate first, and "rounded_step_1000" also
            thins more than 1000 frames (LongVU's evaluation). All but "fps" count frames, as
            published, and place them by the average rate.
        fps: Fast rate, frames per second, for all grids but "midpoints" and "spread".
        num_frames: Frames of the whole video, for those two.
        slow_every: Every k-th sampled frame is slow; 1 makes every frame slow.
        num_slow: If above 0, this many frames of the whole video are slow instead
            (`slow_indices`).
        segment_frames: Sampled frames in a segment. A multiple of LongVU's window of 16 keeps its
            windows whole.
        chunk_segments: Segments in a chunk, the unit of scheduling.
        max_frames: Refuse to plan more sampled frames than this for one video.
    """

    grid: str = "fps"
    fps: float = 1.0
    num_frames: int = 64
    slow_every: int = 4
    num_slow: int = 0
    segment_frames: int = 16
    chunk_segments: int = 4
    max_frames: int = 1_000_000

    def __post_init__(self) -> None:
        require_one_of("sample.grid", self.grid, _GRIDS)
        if not (self.fps >= _LEAST_FPS and math.isfinite(self.fps)):
            raise ConfigError(
                f"sample.fps must be above 0 (at least {_LEAST_FPS:g}), got {self.fps}."
            )
        for name in ("num_frames", "slow_every", "segment_frames", "chunk_segments", "max_frames"):
            if not 1 <= getattr(self, name) <= _MOST_COUNT:
                raise ConfigError(
                    f"sample.{name} must be from 1 to {_MOST_COUNT}, got "
                    f"{shown(getattr(self, name))}."
                )
        if not 0 <= self.num_slow <= _MOST_SLOW:
            raise ConfigError(
                f"sample.num_slow must be from 0 to {_MOST_SLOW}, got {shown(self.num_slow)}."
            )


def _published_indices(video: Video, sampling: Sampling) -> tuple[int, ...]:
    if sampling.grid == "midpoints":
        return segment_midpoints(video.num_frames, sampling.num_frames)
    if sampling.grid == "spread":
        return spread_indices(video.num_frames, sampling.num_frames)
    if sampling.grid == "step":
        return fixed_step_indices(video.num_frames, video.average_fps, sampling.fps)
    thin_above = 1000 if sampling.grid == "rounded_step_1000" else 0
    return rounded_step_indices(video.num_frames, video.average_fps, sampling.fps, thin_above)


def _sample_times(video: Video, sampling: Sampling) -> tuple[float, ...]:
    """Return the wanted times of the whole video, seconds, increasing."""
    if sampling.grid == "fps":
        # A video shorter than one interval still has a first frame. The small slack keeps a
        # duration of 9.9999999 s, which containers write for 10 s, from gaining a frame.
        estimate = max(1.0, video.duration_seconds * sampling.fps - 1e-6)
        count = math.ceil(min(estimate, 1e18))
        if count <= sampling.max_frames:
            return tuple(video.start_seconds + i / sampling.fps for i in range(count))
    else:
        indices = _published_indices(video, sampling)
        count = len(indices)
        if count <= sampling.max_frames:
            # Half a frame later than the frame begins, so that rounding never shows the one before.
            seconds_per_frame = video.duration_seconds / max(1, video.num_frames)
            return tuple(video.start_seconds + (i + 0.5) * seconds_per_frame for i in indices)
    raise VideoError(
        f"{video.path} would be sampled at {count} frames, over sample.max_frames = "
        f"{sampling.max_frames}; lower sample.fps or raise the limit.",
        kind="too-large",
        path=video.path,
        stage="probe",
    )


def plan_segments(video: Video, sampling: Sampling) -> tuple[SegmentPlan, ...]:
    """Cut a video into segments and choose the sampled moments of each.

    The spans cover the video without gaps. A segment ends where the next one's first sample is
    wanted, so chunked and sequential decoding see the same segments.

    Returns:
        At least one plan, `segment_index` counting from 0.

    Raises:
        VideoError: The video would give more than `sampling.max_frames` frames.
    """
    times = _sample_times(video, sampling)
    if sampling.num_slow:
        chosen = set(slow_indices(len(times), sampling.num_slow))
        slow = tuple(i in chosen for i in range(len(times)))
    else:
        slow = tuple(i % sampling.slow_every == 0 for i in range(len(times)))
    starts = range(0, len(times), sampling.segment_frames)
    bounds = [video.start_seconds, *(times[i] for i in starts[1:]), video.end_seconds]
    bounds[-1] = max(bounds[-1], times[-1])
    return tuple(
        SegmentPlan(
            segment_index=index,
            start_seconds=bounds[index],
            end_seconds=bounds[index + 1],
            sample_seconds=times[first : first + sampling.segment_frames],
            slow=slow[first : first + sampling.segment_frames],
        )
        for index, first in enumerate(starts)
    )


def plan_chunks(video: Video, sampling: Sampling) -> tuple[Chunk, ...]:
    """Group a video's segments into chunks, which different workers may decode.

    Args:
        video: A probed video.
        sampling: The grid and the number of segments a chunk holds.

    Raises:
        VideoError: The video would give more than `sampling.max_frames` frames.
    """
    segments = plan_segments(video, sampling)
    return tuple(
        Chunk(video=video, segments=segments[first : first + sampling.chunk_segments])
        for first in range(0, len(segments), sampling.chunk_segments)
    )


def try_plan_chunks(found: Video | Failure, sampling: Sampling) -> tuple[Chunk, ...] | Failure:
    """Plan a probed video, as data: a video that cannot be planned is a Failure and ends no run.

    Args:
        found: What probing gave; a Failure is returned as it is.
        sampling: The grid and the number of segments a chunk holds.

    Returns:
        At least one chunk, or why there is none.
    """
    if isinstance(found, Failure):
        return found
    try:
        return plan_chunks(found, sampling)
    except VideoError as error:
        return Failure(found.video_id, found.path, error.stage, error.kind, str(error))


def split_at(seconds: Sequence[float], starts: Sequence[float]) -> list[tuple[float, ...]]:
    """Split wanted times where groups of pictures begin, so that no two parts decode the same.

    Decoders that share the frames of one video lose up to a group for each place at which they
    part; where frames are sparse, that is most of the work.

    Args:
        seconds: Increasing.
        starts: As of `RunningDecoder.group_starts`.

    >>> split_at([0.5, 1.0, 7.0, 8.5], [0.0, 4.0, 8.0])
    [(0.5, 1.0), (7.0,), (8.5,)]

    Raises:
        ConfigError: A time is not a number.
    """
    broken = next((at for at in (*seconds, *starts) if math.isnan(at)), None)
    if broken is not None:
        raise ConfigError(f"Times are split at times, got {broken}.")
    parts: dict[int, list[float]] = {}
    for at in seconds:
        parts.setdefault(bisect_right(starts, at), []).append(at)
    return [tuple(part) for part in parts.values()]
