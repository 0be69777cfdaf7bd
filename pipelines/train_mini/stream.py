"""Training films and questions of stage 4, as a function of (seed, step)."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from longvid.world.draw import Painter, pack, pose
from longvid.world.questions import TYPES, WorldQuestion, ask, view
from longvid.world.scene import Film, Shot, generator, make_film
from pipelines.train_mini.compression import Plan
from pipelines.train_mini.patches import PatchTargets, patch_targets
from pipelines.train_mini.tower import disturb, to_pixels

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast, SiglipVisionModel

__all__ = [
    "FilmBatch",
    "TextBatch",
    "draw_plan",
    "film_batch",
    "frame_times",
    "phase_weights",
    "place_questions",
]

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


@dataclass(frozen=True, slots=True)
class TextBatch:
    """Questions packed behind the visual tokens of their film.

    ids, group, place, label (B, L): token, number of its question in the film (0: padding), place
    in the question, and the token to predict there (-100: none). `state` (B, L): where an answer
    begins, what the thing asked about does (motion, or 9 + event), if it is about that; else -100.
    `questions` per film, in group order.
    """

    ids: Tensor
    group: Tensor
    place: Tensor
    label: Tensor
    state: Tensor
    questions: tuple[tuple[WorldQuestion, ...], ...]


@dataclass(frozen=True, slots=True)
class FilmBatch:
    """One batch: the tower's features (B, F, 64, W), targets of every frame, and the questions.

    Per frame and thing (B*F, 4): `state` (motion, or 9 + event; -1 not yet to be told) and `path`
    (x, y, and the way since the shot's first frame: dx, dy and the change of radius).
    Per frame: `count` of visible things, `present` (16) shapes and colours, `tally` (16) how many
    things of each the shot has shown so far (3: or more), `frame_shot` the number of its shot in
    the film, and what the last shot shown before it was: `sign_before` (0 no shot, 1 no sign),
    `background_before` (0 no shot), `shape_before` (0 no shot, 1 several things).
    """

    plan: Plan
    features: Tensor
    targets: PatchTargets
    state: Tensor
    path: Tensor
    count: Tensor
    present: Tensor
    tally: Tensor
    sign: Tensor
    background: Tensor
    frame_shot: Tensor
    sign_before: Tensor
    background_before: Tensor
    shape_before: Tensor
    text: TextBatch


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


def place_questions(
    film: Film,
    times: np.ndarray,
    rng: np.random.Generator,
    num_questions: int,
    weights: dict[str, float],
) -> tuple[WorldQuestion, ...]:
    """Draw questions that name the shot in the middle, as a search would have found it.

    Args:
        times: of all frames of the place.
    """
    shot, _ = film.locate(times)
    found = int(shot[len(shot) // 2])
    asked = ask(view(film, times), rng, 2 * num_questions, weights)
    named = [question for question in asked if _named_shot(question) == found]
    return tuple(named[:num_questions])


def _named_shot(question: WorldQuestion) -> int:
    """Return the shot that the question's words describe."""
    return question.shots[-1 if question.type == "before" else 0]


def film_batch(
    seed: int,
    step: int,
    plan: Plan,
    painter: Painter,
    tower: SiglipVisionModel,
    tokenizer: PreTrainedTokenizerFast,
    *,
    num_questions: int = 8,
    weights: dict[str, float] | None = None,
    held_out: bool = False,
) -> FilmBatch:
    """Draw the films, frames and questions of one step and run the frozen tower on the frames.

    Args:
        held_out: measure rather than train: even frame times, no disturbance, all types alike.
    """
    rng = generator(seed, step)
    films = [
        make_film(seed, step * 64 + 1_000_000 + i, num_shots=plan.num_shots)
        for i in range(plan.num_films)
    ]
    shots: list[Shot] = []
    index: list[int] = []
    fraction: list[float] = []
    first: list[int] = []
    seen: list[int] = []
    local: list[int] = []
    before: list[tuple[int, int, int]] = []
    asked: list[tuple[WorldQuestion, ...]] = []
    for film in films:
        times = frame_times(rng, film, plan, even=held_out)
        shot, passed = film.locate(times)
        start = len(index)
        change = np.flatnonzero(np.diff(shot, prepend=-1))
        opening = change[np.searchsorted(change, np.arange(len(shot)), side="right") - 1]
        first.extend((start + opening).tolist())
        seen.extend((np.arange(len(shot)) - opening).tolist())
        index.extend((len(shots) + shot).tolist())
        fraction.extend(passed.tolist())
        local.extend(shot.tolist())
        shots.extend(film.shots)
        before.extend(_before(film, shot))
        chosen = weights or (dict.fromkeys(TYPES, 1.0) if held_out else phase_weights(plan))
        if plan.sampling == "places":
            asked.append(place_questions(film, times, rng, num_questions, chosen))
        else:
            asked.append(tuple(ask(view(film, times), rng, num_questions, chosen)))
    device = painter.device
    last_shown = torch.tensor(before, device=device)
    table = pack(shots, device)
    shot_index = torch.tensor(np.asarray(index), device=device)
    passed_t = torch.tensor(np.asarray(fraction, dtype=np.float32), device=device)
    first_t = torch.tensor(np.asarray(first), device=device)
    frames = painter.draw(table, shot_index, passed_t)
    pixels = to_pixels(frames) if held_out else disturb(frames, rng)
    with torch.no_grad(), torch.autocast(device.type, torch.bfloat16):
        features = torch.cat(
            [
                tower(part, output_hidden_states=True).hidden_states[-2]
                for part in torch.split(pixels, 128)
            ]
        )
    poses = pose(table, shot_index, passed_t)
    things = table.things[shot_index]
    motion, event = things[..., 7].long(), things[..., 10].long()
    told = (passed_t > 0.55) & (torch.tensor(np.asarray(seen), device=device) >= 2)
    told = told & (passed_t[first_t] < 0.4)
    state = torch.where(event == 0, motion, 9 + event)
    state = torch.where(told[:, None] & poses.visible, state, -1)
    path = torch.stack(
        [
            poses.x,
            poses.y,
            poses.x - poses.x[first_t],
            poses.y - poses.y[first_t],
            (poses.radius - poses.radius[first_t]) * 4,
        ],
        dim=-1,
    )
    present = torch.zeros(len(frames), 16, device=device)
    rows = torch.arange(len(frames), device=device)[:, None].expand_as(poses.shape)
    seen_now = poses.visible
    present[rows[seen_now], poses.shape[seen_now]] = 1.0
    present[rows[seen_now], 8 + poses.color[seen_now]] = 1.0
    so_far = seen_now.int().cumsum(0)
    so_far = (so_far - so_far[first_t] + seen_now[first_t].int()) > 0  # (N, 4)
    kinds = torch.cat([F.one_hot(poses.shape, 8), F.one_hot(poses.color, 8)], dim=-1)  # (N, 4, 16)
    tally = (kinds * so_far[..., None]).sum(1).clamp(max=3)
    scenery = table.scenery[shot_index]
    batch, width = len(films), features.shape[-1]
    return FilmBatch(
        plan=plan,
        features=features.reshape(batch, plan.num_frames, -1, width),
        targets=patch_targets(poses, scenery, plan.grid),
        state=state,
        path=path,
        count=poses.visible.sum(1),
        present=present,
        tally=tally,
        sign=scenery[:, 4].long() + 1,
        background=scenery[:, 0].long(),
        frame_shot=torch.tensor(np.asarray(local), device=device),
        sign_before=last_shown[shot_index, 0],
        background_before=last_shown[shot_index, 1],
        shape_before=last_shown[shot_index, 2],
        text=_texts(films, asked, tokenizer, device),
    )


def _before(film: Film, shot_of_frame: np.ndarray) -> list[tuple[int, int, int]]:
    """Return, for every shot of a film, what the last shot shown before it was.

    Returns:
        Its sign, its background and its only shape (see `FilmBatch`).
    """
    rows = [(0, 0, 0)] * len(film.shots)
    shown = np.unique(shot_of_frame).tolist()
    for last, index in itertools.pairwise(shown):
        shot = film.shots[last]
        shape = 2 + shot.things[0].shape if len(shot.things) == 1 else 1
        rows[index] = (shot.sign + 2, shot.background + 1, shape)
    return rows


def _texts(
    films: list[Film],
    asked: list[tuple[WorldQuestion, ...]],
    tokenizer: PreTrainedTokenizerFast,
    device: torch.device,
) -> TextBatch:
    """Pack the questions of each film into one row."""
    vocabulary = _vocabulary(tokenizer)
    answer_id, end_id = vocabulary["<answer>"], vocabulary["<eos>"]
    rows: list[list[tuple[int, int, int, int, int]]] = []
    for film, questions in zip(films, asked, strict=True):
        row: list[tuple[int, int, int, int, int]] = []
        for number, question in enumerate(questions, start=1):
            prompt = [vocabulary[word] for word in question.text.split()] + [answer_id]
            answer = [vocabulary[word] for word in question.answer.split()] + [end_id]
            ids = prompt + answer[:-1]
            labels = [-100] * (len(prompt) - 1) + answer
            states = [-100] * len(ids)
            states[len(prompt) - 1] = _asked_state(film, question)
            row.extend(
                (token, number, place, label, state)
                for place, (token, label, state) in enumerate(zip(ids, labels, states, strict=True))
            )
        rows.append(row)
    length = -(-max(1, *(len(row) for row in rows)) // 16) * 16  # a film may have no question
    packed = np.zeros((len(rows), length, 5), dtype=np.int64)
    packed[..., 3:] = -100
    for number, row in enumerate(rows):
        packed[number, : len(row)] = np.asarray(row, dtype=np.int64).reshape(-1, 5)
    columns = torch.from_numpy(packed).to(device).unbind(-1)
    ids_, group, place_, label_, state_ = columns
    return TextBatch(ids_, group, place_, label_, state_, tuple(asked))


_MOVING_TYPES = ("motion", "yes_no_motion", "event")


def _asked_state(film: Film, question: WorldQuestion) -> int:
    """Return what the thing of a question does: its motion, or 9 + its event; -100 if not asked."""
    if question.type not in _MOVING_TYPES:
        return -100
    [(shot, slot)] = question.things
    thing = film.shots[shot].things[slot]
    return thing.motion if thing.event == 0 else 9 + thing.event


_CACHE: dict[int, dict[str, int]] = {}


def _vocabulary(tokenizer: PreTrainedTokenizerFast) -> dict[str, int]:
    key = id(tokenizer)
    if key not in _CACHE:
        _CACHE[key] = tokenizer.get_vocab()
    return _CACHE[key]
