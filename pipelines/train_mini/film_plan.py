"""The shape of a batch: how long its films are, which frames are shown, what is asked of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from longvid.world.scene import Film
from pipelines.train_mini.compression import Plan

ONE_SHOT_WEIGHTS = {
    "where": 3.0,
    "count": 4.0,
    "motion": 4.0,
    "who": 1.5,
    "yes_no_motion": 5.0,
    "event": 5.0,
    "become": 1.0,
    "shape": 1.0,
    "color": 1.0,
    "size": 1.0,
    "exists": 1.0,
    "sign_read": 1.0,
    "background": 0.5,
}
MANY_SHOT_WEIGHTS = {
    "where": 1.0,
    "count": 3.0,
    "motion": 1.5,
    "who": 1.0,
    "yes_no_motion": 2.5,
    "event": 2.5,
    "become": 0.7,
    "shape": 0.5,
    "color": 0.5,
    "size": 0.5,
    "exists": 0.8,
    "sign_read": 1.2,
    "background": 0.7,
    "sign_ref": 2.5,
    "before": 3.5,
    "after": 3.5,
    "first_last": 0.8,
    "times": 2.0,
}
PLACE_WEIGHTS = {
    "where": 1.5,
    "count": 2.0,
    "motion": 2.0,
    "event": 3.0,
    "become": 0.7,
    "shape": 0.5,
    "color": 0.7,
    "size": 0.7,
    "sign_read": 3.0,
    "background": 2.0,
    "sign_ref": 3.5,
    "before": 7.0,
    "after": 7.0,
}
"""A place is shown as a search shows it: the shot found, the one before it and the one after it."""


def draw_plan(rng: np.random.Generator, progress: float, token_budget: int = 2400) -> Plan:
    """Draw the shape of a batch; later in training films get longer and compression harsher.

    Args:
        progress: 0 single shots only · 1 films of a few shots · 2 the whole range · 4 and more
            mostly places that a search found.
        token_budget: visual and question tokens of the batch, which sets the number of films.
    """
    pick = rng.random
    odds: tuple[float, ...]
    num_shots, sampling, num_windows = 1, "even", 1
    if progress >= 2.0 and pick() < 0.8:
        num_shots = int(rng.integers(2, 9))
        odds = (0.25, 0.5, 0.25, 0.0) if progress < 4.0 else (0.15, 0.15, 0.1, 0.6)
        sampling = ("even", "windows", "sparse", "places")[int(rng.choice(4, p=odds))]
    elif progress >= 1.0 and pick() < 0.5:
        num_shots = int(rng.integers(2, 5))
    per_shot = 4 + int(pick() * 5) if num_shots == 1 else 3 + int(pick() * 4)
    num_frames = num_shots * per_shot
    if sampling == "windows":
        num_shots = int(rng.integers(3, 17))
        num_windows = int(rng.integers(1, 5))
        num_frames = num_windows * int((4, 8, 8, 16, 16)[int(pick() * 5)])
    elif sampling == "places":
        num_shots = int(rng.integers(5, 17))
        num_frames = int((12, 16, 16, 24)[int(pick() * 4)])
    elif sampling == "sparse":
        num_shots = int(rng.integers(4, 25))
        num_frames = int((8, 12, 16, 24, 32, 48, 64, 96)[int(pick() * 8)])
    share: tuple[float, ...]
    grids: tuple[int, ...]
    kinds = ("grid", "merge", "slowfast", "guided", "drop", "prune", "content")
    share = (
        (0.80, 0.06, 0.0, 0.0, 0.07, 0.07, 0.0)
        if progress < 1.0
        else (0.4, 0.12, 0.08, 0.16, 0.09, 0.09, 0.06)
    )
    kind = kinds[int(rng.choice(len(kinds), p=share))]
    grids, odds = ((8, 4), (0.12, 0.88))
    if progress >= 1.0:
        grids, odds = ((8, 6, 4, 3, 2, 1), (0.15, 0.05, 0.45, 0.1, 0.15, 0.1))
    if kind in ("drop", "prune"):
        grids, odds = ((8, 4), (0.4, 0.6))
    grid = int(grids[int(rng.choice(len(grids), p=odds))])
    if kind in ("merge", "content"):
        grid = 8
    elif kind in ("slowfast", "guided"):
        grid = max(4, grid)
    plan = Plan(
        num_films=1,
        num_shots=num_shots,
        num_frames=num_frames,
        kind=kind,
        grid=grid,
        fast_grid=int(rng.integers(1, 3)),
        slow_every=int(rng.integers(2, 9)),
        kept=(32, 16, 16, 8, 6, 4)[int(rng.integers(0, 6 if progress >= 1.0 else 3))],
        share=float(rng.uniform(0.1, 0.9 if progress >= 2.0 and grid == 8 else 0.6)),
        prefix=not (progress >= 1.0 and pick() < 0.1),
        window=(4, 8)[int(pick() * 2)],
        sampling=sampling,
        num_windows=num_windows,
        spacing_seconds=(0.5, 0.5, 1.0)[int(pick() * 3)],
    )
    tokens = num_frames * (plan.tokens_per_frame + 1)
    if tokens > (2200 if progress >= 2.0 and pick() < 0.1 else 1400):
        return draw_plan(rng, progress, token_budget)  # coarser rather than longer
    fitting = token_budget / (tokens + 160)
    films = max((n for n in (1, 2, 3, 4, 6, 8, 12, 16) if n <= fitting), default=1)
    return replace(plan, num_films=films)


def phase_weights(plan: Plan) -> dict[str, float]:
    """Return how often each type is asked for films of this plan."""
    if plan.sampling == "places":
        return PLACE_WEIGHTS
    return ONE_SHOT_WEIGHTS if plan.num_shots == 1 else MANY_SHOT_WEIGHTS


def frame_times(rng: np.random.Generator, film: Film, plan: Plan, *, even: bool) -> np.ndarray:
    """Draw the times of the frames that a plan shows of a film.

    Args:
        even: for a whole film an even grid, rather than one with a random start and some jitter.
    """
    duration, num_frames = film.duration_seconds, plan.num_frames
    if plan.sampling == "windows":
        times = _window_times(rng, duration, plan)
    elif plan.sampling == "places":
        times = _place_times(rng, film, plan, even=even)
    elif plan.sampling == "sparse":
        anywhere = np.sort(rng.random(num_frames))
        spread = (np.arange(num_frames) + rng.random(num_frames)) / num_frames
        times = duration * (spread if rng.random() < 0.5 else anywhere)
    else:
        offset = np.full(num_frames, 0.5)
        if not even:
            offset = 0.15 + 0.7 * rng.random() + 0.25 * (rng.random(num_frames) - 0.5)
        times = (np.arange(num_frames) + offset) * (duration / num_frames)
    return np.asarray(np.clip(times, 0.0, duration - 1e-3))


def _place_times(rng: np.random.Generator, film: Film, plan: Plan, *, even: bool) -> np.ndarray:
    """Draw times in a shot, half of all, and in the shots right before and after it."""
    found = 1 + int(rng.random() * (len(film.shots) - 2))
    beside = plan.num_frames // 4
    times = []
    for shot, count in ((-1, beside), (0, plan.num_frames - 2 * beside), (1, beside)):
        start, end = film.span(found + shot)
        offset = 0.5 if even else 0.15 + 0.7 * rng.random()
        times.append(start + (np.arange(count) + offset) * ((end - start) / count))
    return np.concatenate(times)


def _window_times(rng: np.random.Generator, duration_seconds: float, plan: Plan) -> np.ndarray:
    """Draw stretches of a film on its grid of segments; every other one borders on another."""
    length = plan.num_frames // plan.num_windows
    span = min(length * plan.spacing_seconds, duration_seconds / plan.num_windows)
    count = max(plan.num_windows, int(duration_seconds / span))
    chosen: list[int] = []
    while len(chosen) < plan.num_windows:
        place = int(rng.random() * count)
        if chosen and rng.random() < 0.5:
            place = chosen[int(rng.random() * len(chosen))] + (1 if rng.random() < 0.5 else -1)
        if 0 <= place < count and place not in chosen:
            chosen.append(place)
    inside = (np.arange(length) + rng.random()) * (span / length)
    return np.asarray((np.sort(chosen)[:, None] * span + inside).ravel())
