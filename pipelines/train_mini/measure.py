"""Accuracy by type on held-out films, beside the text-only prior."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import torch

from longvid.world.draw import Painter
from longvid.world.prior import TextGuesser
from longvid.world.questions import TYPES, ask, view
from longvid.world.scene import generator, make_film
from longvid.world.views import WorldQuestion
from pipelines.train_mini.answer import AnswerHeads, answer_step
from pipelines.train_mini.compression import Plan
from pipelines.train_mini.film_plan import frame_times
from pipelines.train_mini.stream import film_batch

if TYPE_CHECKING:
    from transformers import LlavaOnevisionForConditionalGeneration, PreTrainedTokenizerFast

HELD_OUT_SEED = 900_001
"""Key of the films that training never draws; its own keys are `Recipe.seed` * 1000 + stage."""

_PRIOR_SEED = 880_001

SUITES = {
    "one_shot_8x64": Plan(8, 1, 8, "grid", 8),
    "one_shot_8x16": Plan(16, 1, 8, "grid", 4),
    "one_shot_8x4": Plan(16, 1, 8, "grid", 2),
    "one_shot_8x1": Plan(16, 1, 8, "grid", 1),
    "four_shots_24x16": Plan(8, 4, 24, "grid", 4),
    "two_windows_32x16": Plan(8, 12, 32, "grid", 4, sampling="windows", num_windows=2),
    "two_windows_32x4": Plan(8, 12, 32, "grid", 2, sampling="windows", num_windows=2),
    "two_windows_8x64": Plan(
        8, 12, 8, "grid", 8, sampling="windows", num_windows=2, spacing_seconds=2.0
    ),
    "place_16x16": Plan(8, 12, 16, "grid", 4, sampling="places"),
    "sparse_32x16": Plan(8, 24, 32, "grid", 4, sampling="sparse"),
    "minute_32x64": Plan(4, 6, 32, "grid", 8),
    "minute_32x16": Plan(8, 6, 32, "grid", 4),
    "minute_merged_32x6": Plan(4, 6, 32, "merge", 8, kept=6),
    "minute_random_32x6": Plan(4, 6, 32, "drop", 8, share=0.9),
    "minute_slowfast_32x6": Plan(4, 6, 32, "slowfast", 4, fast_grid=2, slow_every=6),
}
"""Held-out conditions: films of so many shots, and frames x tokens.

Windows are what a search finds: two stretches of a film of 12 shots; a place is one shot
with those before and after it, asked about what the middle one shows. Sparse frames are what a
uniform choice shows of a longer film, of 24 shots. A minute has six shots on average.
"""


@torch.no_grad()
def accuracy_by_type(
    model: LlavaOnevisionForConditionalGeneration,
    heads: AnswerHeads,
    tokenizer: PreTrainedTokenizerFast,
    painter: Painter,
    plan: Plan,
    num_films: int,
    seed: int = HELD_OUT_SEED,
    *,
    exact: bool = False,
) -> dict[str, tuple[int, int]]:
    """Return, for each type, how many of how many questions are answered exactly right.

    Every token of the answer and its end must be the most likely one, which is what greedy
    generation yields.

    Args:
        exact: compute in float32 rather than in mixed precision.
    """
    right: Counter[str] = Counter()
    total: Counter[str] = Counter()
    frame_token = tokenizer.get_vocab()["<frame>"]
    tower = model.model.vision_tower
    for step in range(-(-num_films // plan.num_films)):
        batch = film_batch(
            seed, step, plan, painter, tower, tokenizer, num_questions=12, held_out=True
        )
        with torch.autocast(painter.device.type, torch.bfloat16, enabled=not exact):
            outcome = answer_step(model, heads, batch, generator(seed, 10_000 + step), frame_token)
        for questions, marks in zip(batch.text.questions, outcome.right, strict=True):
            for question, mark in zip(questions, marks, strict=True):
                total[question.type] += 1
                right[question.type] += mark
    return {name: (right[name], total[name]) for name in sorted(total)}


def mean_accuracy(rows: dict[str, tuple[int, int]]) -> float:
    """Return the mean over types, each type counting the same."""
    return sum(right / total for right, total in rows.values()) / max(1, len(rows))


def priors(plan: Plan, num_films: int = 2000) -> dict[str, float]:
    """Return the text-only accuracy of every type for films of a plan."""
    guesser = TextGuesser(_questions(plan, _PRIOR_SEED, num_films))
    right: Counter[str] = Counter()
    total: Counter[str] = Counter()
    for question in _questions(plan, _PRIOR_SEED + 100, num_films // 2):
        total[question.type] += 1
        right[question.type] += guesser.guess(question.text) == question.answer
    return {name: right[name] / total[name] for name in TYPES if total[name]}


def _questions(plan: Plan, seed: int, num_films: int) -> list[WorldQuestion]:
    found: list[WorldQuestion] = []
    for index in range(num_films):
        film, rng = make_film(seed, index, num_shots=plan.num_shots), generator(seed + 1, index)
        found.extend(ask(view(film, frame_times(rng, film, plan, even=True)), rng, 12))
    return found
