"""Training films and questions of stage 2, as a function of (seed, step)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from benchmarks.world.draw import Painter, pack, pose
from benchmarks.world.questions import TYPES, WorldQuestion, ask, view
from benchmarks.world.scene import Film, Shot, generator, make_film
from pipelines.mini_training.compression import Plan
from pipelines.mini_training.patches import PatchTargets, patch_targets
from pipelines.mini_training.tower import disturb, to_pixels

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast, SiglipVisionModel

__all__ = ["FilmBatch", "TextBatch", "draw_plan", "film_batch", "phase_weights"]

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
    "count": 1.5,
    "motion": 1.5,
    "who": 1.0,
    "yes_no_motion": 3.0,
    "event": 3.0,
    "become": 0.7,
    "shape": 0.7,
    "color": 0.7,
    "size": 0.7,
    "exists": 1.0,
    "sign_read": 1.2,
    "background": 0.7,
    "sign_ref": 2.0,
    "before": 3.0,
    "after": 3.0,
    "first_last": 1.0,
    "times": 1.5,
}


@dataclass(frozen=True, slots=True)
class TextBatch:
    """Questions packed behind the visual tokens of their film.

    ids, group, place, label (B, L): token, number of its question in the film (0: padding), place
    in the question, and the token to predict there (-100: none). `questions` per film, in group
    order.
    """

    ids: Tensor
    group: Tensor
    place: Tensor
    label: Tensor
    questions: tuple[tuple[WorldQuestion, ...], ...]


@dataclass(frozen=True, slots=True)
class FilmBatch:
    """One batch: the tower's features (B, F, 64, W), targets of every frame, and the questions.

    Per frame and thing (B*F, 4): `state` (motion, or 9 + event; -1 not yet to be told) and `path`
    (x, y, and the way since the shot's first frame: dx, dy and the change of radius).
    Per frame: `count` of visible things, `present` (16) shapes and colours, `frame_shot` the number
    of its shot in the film, and what the shot before it was: `sign_before` (0 no shot, 1 no sign),
    `background_before` (0 no shot), `shape_before` (0 no shot, 1 several things).
    """

    plan: Plan
    features: Tensor
    targets: PatchTargets
    state: Tensor
    path: Tensor
    count: Tensor
    present: Tensor
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
        progress: 0 single shots only · 1 films of a few shots · 2 and more the whole range.
        token_budget: visual and question tokens of the batch, which sets the number of films.
    """
    pick = rng.random
    num_shots = 1
    if progress >= 2.0 and pick() < 0.7:
        num_shots = int(rng.integers(2, 9))
    elif progress >= 1.0 and pick() < 0.5:
        num_shots = int(rng.integers(2, 5))
    per_shot = 4 + int(pick() * 5) if num_shots == 1 else 3 + int(pick() * 4)
    num_frames = num_shots * per_shot
    share: tuple[float, ...]
    grids: tuple[int, ...]
    odds: tuple[float, ...]
    kinds = ("grid", "merge", "slowfast", "drop", "prune", "content")
    share = (
        (0.80, 0.06, 0.0, 0.07, 0.07, 0.0) if progress < 1.0 else (0.4, 0.15, 0.15, 0.1, 0.1, 0.1)
    )
    kind = kinds[int(rng.choice(len(kinds), p=share))]
    grids, odds = ((8, 4), (0.12, 0.88))
    if progress >= 1.0:
        grids, odds = ((8, 6, 4, 3, 2, 1), (0.15, 0.05, 0.45, 0.1, 0.15, 0.1))
    if kind in ("drop", "prune"):
        grids, odds = ((8, 4), (0.3, 0.7))
    grid = int(grids[int(rng.choice(len(grids), p=odds))])
    plan = Plan(
        num_films=1,
        num_shots=num_shots,
        num_frames=num_frames,
        kind=kind,
        grid=8 if kind in ("merge", "content") else 4 if kind == "slowfast" and grid < 4 else grid,
        fast_grid=int(rng.integers(1, 3)),
        slow_every=int(rng.integers(2, 5)),
        kept=(32, 16, 16, 8)[int(rng.integers(0, 4 if progress >= 1.0 else 3))],
        share=float(rng.uniform(0.1, 0.6)),
        prefix=not (progress >= 1.0 and pick() < 0.1),
    )
    tokens = num_frames * (plan.tokens_per_frame + 1)
    if tokens > 1400:  # coarser rather than longer than this machine trains on
        return draw_plan(rng, progress, token_budget)
    fitting = token_budget / (tokens + 110)
    films = max((n for n in (2, 3, 4, 6, 8, 12, 16) if n <= fitting), default=2)
    return Plan(**{**{name: getattr(plan, name) for name in plan.__slots__}, "num_films": films})


def phase_weights(plan: Plan) -> dict[str, float]:
    """Return how often each type is asked for films of this plan."""
    return ONE_SHOT_WEIGHTS if plan.num_shots == 1 else MANY_SHOT_WEIGHTS


def frame_times(rng: np.random.Generator, film: Film, num_frames: int, *, even: bool) -> np.ndarray:
    """Draw the times of the frames: an even grid, or one with a random start and some jitter."""
    step = film.duration_seconds / num_frames
    offset = np.full(num_frames, 0.5)
    if not even:
        offset = 0.15 + 0.7 * rng.random() + 0.25 * (rng.random(num_frames) - 0.5)
    times = (np.arange(num_frames) + offset) * step
    return np.asarray(np.clip(times, 0.0, film.duration_seconds - 1e-3))


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
    asked: list[tuple[WorldQuestion, ...]] = []
    for film in films:
        times = frame_times(rng, film, plan.num_frames, even=held_out)
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
        chosen = weights or (dict.fromkeys(TYPES, 1.0) if held_out else phase_weights(plan))
        asked.append(tuple(ask(view(film, times), rng, num_questions, chosen)))
    device = painter.device
    before = torch.tensor([_before(films, i) for i in _shot_numbers(films)], device=device)
    table = pack(shots, device)
    shot_index = torch.tensor(np.asarray(index), device=device)
    passed_t = torch.tensor(np.asarray(fraction, dtype=np.float32), device=device)
    first_t = torch.tensor(np.asarray(first), device=device)
    frames = painter.draw(table, shot_index, passed_t)
    pixels = to_pixels(frames) if held_out else disturb(frames, rng)
    with torch.no_grad(), torch.autocast(device.type, torch.bfloat16):
        features = torch.cat(
            [
                tower(part, output_hidden_states=True).hidden_states[-1]
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
        sign=scenery[:, 4].long() + 1,
        background=scenery[:, 0].long(),
        frame_shot=torch.tensor(np.asarray(local), device=device),
        sign_before=before[shot_index, 0],
        background_before=before[shot_index, 1],
        shape_before=before[shot_index, 2],
        text=_texts(asked, tokenizer, device),
    )


def _shot_numbers(films: list[Film]) -> list[tuple[int, int]]:
    """Return (film, shot) of every shot, in order."""
    return [(number, i) for number, film in enumerate(films) for i in range(len(film.shots))]


def _before(films: list[Film], place: tuple[int, int]) -> tuple[int, int, int]:
    """Return what the shot before a shot was: sign, background, only shape (see `FilmBatch`)."""
    film, index = place
    if index == 0:
        return 0, 0, 0
    shot = films[film].shots[index - 1]
    shape = 2 + shot.things[0].shape if len(shot.things) == 1 else 1
    return shot.sign + 2, shot.background + 1, shape


def _texts(
    asked: list[tuple[WorldQuestion, ...]],
    tokenizer: PreTrainedTokenizerFast,
    device: torch.device,
) -> TextBatch:
    """Pack the questions of each film into one row."""
    vocabulary = _vocabulary(tokenizer)
    answer_id, end_id = vocabulary["<answer>"], vocabulary["<eos>"]
    rows: list[list[tuple[int, int, int, int]]] = []
    for questions in asked:
        row: list[tuple[int, int, int, int]] = []
        for number, question in enumerate(questions, start=1):
            prompt = [vocabulary[word] for word in question.text.split()] + [answer_id]
            answer = [vocabulary[word] for word in question.answer.split()] + [end_id]
            ids = prompt + answer[:-1]
            labels = [-100] * (len(prompt) - 1) + answer
            row.extend((token, number, place, label) for place, (token, label) in
                       enumerate(zip(ids, labels, strict=True)))  # fmt: skip
        rows.append(row)
    length = -(-max(len(row) for row in rows) // 16) * 16
    packed = np.zeros((len(rows), length, 4), dtype=np.int64)
    packed[..., 3] = -100
    for number, row in enumerate(rows):
        packed[number, : len(row)] = row
    columns = torch.from_numpy(packed).to(device).unbind(-1)
    return TextBatch(columns[0], columns[1], columns[2], columns[3], tuple(asked))


_CACHE: dict[int, dict[str, int]] = {}


def _vocabulary(tokenizer: PreTrainedTokenizerFast) -> dict[str, int]:
    key = id(tokenizer)
    if key not in _CACHE:
        _CACHE[key] = tokenizer.get_vocab()
    return _CACHE[key]
