"""Training films and questions of stage 4, as a function of (seed, step)."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from longvid.world.draw import Painter, pack, pose
from longvid.world.questions import TYPES, WorldQuestion, ask, view
from longvid.world.scene import Film, Shot, generator, make_film
from pipelines.train_mini.compression import Plan
from pipelines.train_mini.film_plan import (
    frame_times,
    phase_weights,
)
from pipelines.train_mini.packed_questions import (
    TextBatch,
    pack_questions,
)
from pipelines.train_mini.patches import PatchTargets, patch_targets
from pipelines.train_mini.tower import disturb, to_pixels

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast, SiglipVisionModel


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
        text=pack_questions(films, asked, tokenizer, device),
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
