"""Accuracy by type on held-out films, beside the text-only prior."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import torch

from benchmarks.world.draw import Painter
from benchmarks.world.prior import text_only_accuracy
from benchmarks.world.scene import generator
from pipelines.mini_training.answer import AnswerHeads, answer_step
from pipelines.mini_training.compression import Plan
from pipelines.mini_training.stream import film_batch

if TYPE_CHECKING:
    from transformers import LlavaOnevisionForConditionalGeneration, PreTrainedTokenizerFast

__all__ = ["HELD_OUT_SEED", "SUITES", "accuracy_by_type", "mean_accuracy", "priors"]

HELD_OUT_SEED = 900_001
"""Key of the films that training never draws; its own keys are `Recipe.seed` * 1000 + stage."""

SUITES = {
    "one_shot_8x16": Plan(16, 1, 8, "grid", 4),
    "one_shot_8x64": Plan(8, 1, 8, "grid", 8),
    "one_shot_8x4": Plan(16, 1, 8, "grid", 2),
    "one_shot_8x1": Plan(16, 1, 8, "grid", 1),
    "one_shot_2x16": Plan(16, 1, 2, "grid", 4),
    "one_shot_merge_8x16": Plan(8, 1, 8, "merge", 8, kept=16),
    "four_shots_24x16": Plan(8, 4, 24, "grid", 4),
    "four_shots_24x4": Plan(8, 4, 24, "grid", 2),
    "eight_shots_40x16": Plan(4, 8, 40, "grid", 4),
    "eight_shots_40x4": Plan(8, 8, 40, "grid", 2),
}
"""Held-out conditions: films of so many shots, and frames x tokens."""


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


def priors(plan: Plan, num_films: int = 3000) -> dict[str, float]:
    """Return the text-only accuracy of every type for films of a plan."""
    rows = text_only_accuracy(plan.num_shots, plan.num_frames, num_films)
    return {name: accuracy for name, (accuracy, _) in rows.items()}
