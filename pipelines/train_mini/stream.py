"""Training films and questions of stage 4, as a function of (seed, step)."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from longvid.world.draw import Painter, Poses, pack, pose
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


@dataclass(slots=True)
class _Shown:
    """What the N frames of some films show, film after film, and the S shots of these films.

    Args:
        shots: (S,) of all films.
        before: (S,) what the last shot shown before each was, as `_before` says it.
        shot: (N,) which of `shots` a frame shows.
        local: (N,) its number in the frame's own film.
        passed: (N,) the share of it that has passed.
        first: (N,) the frame at which it began to be shown.
        seen: (N,) frames since then.
    """

    shots: list[Shot] = field(default_factory=list)
    before: list[tuple[int, int, int]] = field(default_factory=list)
    shot: list[int] = field(default_factory=list)
    local: list[int] = field(default_factory=list)
    passed: list[float] = field(default_factory=list)
    first: list[int] = field(default_factory=list)
    seen: list[int] = field(default_factory=list)

    def add(self, film: Film, times: np.ndarray) -> None:
        """Add the frames of a film at these seconds."""
        shot, passed = film.locate(times)
        change = np.flatnonzero(np.diff(shot, prepend=-1))
        opening = change[np.searchsorted(change, np.arange(len(shot)), side="right") - 1]
        self.first.extend((len(self.shot) + opening).tolist())
        self.seen.extend((np.arange(len(shot)) - opening).tolist())
        self.shot.extend((len(self.shots) + shot).tolist())
        self.local.extend(shot.tolist())
        self.passed.extend(passed.tolist())
        self.shots.extend(film.shots)
        self.before.extend(_before(film, shot))


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
    shown = _Shown()
    asked: list[tuple[WorldQuestion, ...]] = []
    for film in films:
        times = frame_times(rng, film, plan, even=held_out)
        shown.add(film, times)
        chosen = weights or (dict.fromkeys(TYPES, 1.0) if held_out else phase_weights(plan))
        if plan.sampling == "places":
            asked.append(place_questions(film, times, rng, num_questions, chosen))
        else:
            asked.append(tuple(ask(view(film, times), rng, num_questions, chosen)))
    device = painter.device
    last_shown = torch.tensor(shown.before, device=device)
    table = pack(shown.shots, device)
    shot = torch.tensor(np.asarray(shown.shot), device=device)
    passed = torch.tensor(np.asarray(shown.passed, dtype=np.float32), device=device)
    first = torch.tensor(np.asarray(shown.first), device=device)
    seen = torch.tensor(np.asarray(shown.seen), device=device)
    frames = painter.draw(table, shot, passed)
    features = _features(tower, to_pixels(frames) if held_out else disturb(frames, rng))
    poses = pose(table, shot, passed)
    scenery = table.scenery[shot]
    return FilmBatch(
        plan=plan,
        features=features.reshape(len(films), plan.num_frames, -1, features.shape[-1]),
        targets=patch_targets(poses, scenery, plan.grid),
        state=_states(table.things[shot], poses, passed, first, seen),
        path=_paths(poses, first),
        count=poses.visible.sum(1),
        present=_present(poses),
        tally=_tally(poses, first),
        sign=scenery[:, 4].long() + 1,
        background=scenery[:, 0].long(),
        frame_shot=torch.tensor(np.asarray(shown.local), device=device),
        sign_before=last_shown[shot, 0],
        background_before=last_shown[shot, 1],
        shape_before=last_shown[shot, 2],
        text=pack_questions(films, asked, tokenizer, device),
    )


def _features(tower: SiglipVisionModel, pixels: Tensor) -> Tensor:
    """Run the frozen tower, some frames at a time: (N, 64, W)."""
    with torch.no_grad(), torch.autocast(pixels.device.type, torch.bfloat16):
        return torch.cat(
            [
                tower(part, output_hidden_states=True).hidden_states[-2]
                for part in torch.split(pixels, 128)
            ]
        )


def _states(things: Tensor, poses: Poses, passed: Tensor, first: Tensor, seen: Tensor) -> Tensor:
    """Say what every thing does, (N, 4): its motion, 9 + its event, or -1 before it can be told.

    It can be told in the second half of a shot, from the third frame on, if the first was early.
    """
    motion, event = things[..., 7].long(), things[..., 10].long()
    told = (passed > 0.55) & (seen >= 2) & (passed[first] < 0.4)
    state = torch.where(event == 0, motion, 9 + event)
    return torch.where(told[:, None] & poses.visible, state, -1)


def _paths(poses: Poses, first: Tensor) -> Tensor:
    """Return place and way of every thing since the first frame of its shot, (N, 4, 5)."""
    way = [poses.x - poses.x[first], poses.y - poses.y[first]]
    growth = (poses.radius - poses.radius[first]) * 4
    return torch.stack([poses.x, poses.y, *way, growth], dim=-1)


def _present(poses: Poses) -> Tensor:
    """Mark the shapes and colours that every frame shows, (N, 16) float32."""
    visible = poses.visible
    present = torch.zeros(len(visible), 16, device=visible.device)
    rows = torch.arange(len(visible), device=visible.device)[:, None].expand_as(visible)
    present[rows[visible], poses.shape[visible]] = 1.0
    present[rows[visible], 8 + poses.color[visible]] = 1.0
    return present


def _tally(poses: Poses, first: Tensor) -> Tensor:
    """Count the things of each shape and colour that a shot has shown so far, (N, 16), up to 3."""
    so_far = poses.visible.int().cumsum(0)
    so_far = (so_far - so_far[first] + poses.visible[first].int()) > 0  # (N, 4)
    kinds = torch.cat([F.one_hot(poses.shape, 8), F.one_hot(poses.color, 8)], dim=-1)  # (N, 4, 16)
    return (kinds * so_far[..., None]).sum(1).clamp(max=3)


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
