"""The model card: what a run has reached, measured on the exported weights."""

from __future__ import annotations

import json
import textwrap
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import (
    LlavaOnevisionForConditionalGeneration,
    PreTrainedTokenizerFast,
    SiglipModel,
)

from longvid.models import mini, mini_vocabulary
from longvid.world.draw import Painter
from longvid.world.questions import TYPES
from pipelines.train_mini.answer import AnswerHeads
from pipelines.train_mini.measure import (
    HELD_OUT_SEED,
    SUITES,
    accuracy_by_type,
    mean_accuracy,
    priors,
)
from pipelines.train_mini.needles import needle_recall
from pipelines.train_mini.tower import retrieval_recall

CLAIM_MARGIN = 0.3
"""A type is claimed where it beats the text-only prior by this much."""

Rows = dict[str, tuple[int, int]]


PRIOR_SUITES = ("one_shot_8x16", "four_shots_24x16", "two_windows_32x16")
"""What claims are judged on; each has its own text-only prior."""

MIN_ASKED = 20
"""Fewer questions of a type in a condition judge nothing."""


@dataclass(frozen=True, slots=True)
class Measured:
    """Held-out figures: per suite and type (right, asked), the priors, the recall of searches."""

    suites: dict[str, Rows]
    priors: dict[str, dict[str, float]]
    retrieval: dict[int, dict[str, float]]
    needles: dict[str, float]

    def claimed(self) -> tuple[list[str], list[str], list[str]]:
        """Judge every type in the conditions that ask it often enough.

        Returns:
            Types far enough above their prior in all of those; in not all; types asked too rarely.
        """
        high: set[str] = set()
        low: set[str] = set()
        for name in PRIOR_SUITES:
            for kind, (right, total) in self.suites[name].items():
                if total >= MIN_ASKED:
                    enough = right / total >= self.priors[name].get(kind, 1.0) + CLAIM_MARGIN
                    (high if enough else low).add(kind)
        return sorted(high - low), sorted(low), sorted(set(TYPES) - high - low)


def measure(
    embedder: SiglipModel,
    vlm: LlavaOnevisionForConditionalGeneration,
    heads: AnswerHeads,
    tokenizer: PreTrainedTokenizerFast,
    painter: Painter,
    num_films: int,
) -> Measured:
    """Measure exported models in every held-out condition, in mixed precision."""
    embedder.train(False)
    vlm.train(False)
    vlm.set_attn_implementation("eager")
    seed = HELD_OUT_SEED + 7
    retrieval, needles = measure_search(embedder, painter)
    return Measured(
        suites={
            name: accuracy_by_type(vlm, heads, tokenizer, painter, plan, num_films, seed=seed)
            for name, plan in SUITES.items()
        },
        priors={name: priors(SUITES[name]) for name in PRIOR_SUITES},
        retrieval=retrieval,
        needles=needles,
    )


def measure_search(
    embedder: SiglipModel, painter: Painter
) -> tuple[dict[int, dict[str, float]], dict[str, float]]:
    """Measure how well texts find frames, by the number of frames, and places in an hour."""
    seed = HELD_OUT_SEED + 7
    texts = mini_vocabulary.build_tokenizer(mini.TEXT_LENGTH)
    recall = {
        count: retrieval_recall(embedder, texts, painter, seed, count) for count in (60, 3600)
    }
    return recall, needle_recall(embedder, texts, painter, seed)


def write_card(
    measured: Measured,
    recipe: Any,
    progress: dict[str, tuple[int, float]],
    notes: str = "",
) -> str:
    """Write the card's text.

    Args:
        recipe: the dataclass of the run's numbers.
        progress: for each stage, the steps done and the processor seconds they took.
        notes: what a person has to add about this run.
    """
    lines = [
        "# longvid-mini",
        "",
        "A video question-answering model of 4.0 million weights (5.0 with both copies of the",
        "tower), trained from nothing on films drawn by `longvid/world`. It understands nothing",
        "but that world: eight shapes in eight colours, six backgrounds, signs with one letter or",
        "digit, ten motions and four events. For real footage name a real checkpoint.",
        "",
        "| folder | model | tokens |",
        "|---|---|---|",
        "| `vlm/` | LlavaOnevisionForConditionalGeneration | 64 a frame, 192 wide |",
        "| `embedder/` | SiglipModel, the same tower; its last layer is for search | 128 wide |",
        "",
        "## Training",
        "",
        f"`python -m pipelines.train_mini --out RUN`, seed {recipe.seed}, one CPU thread and one",
        "that draws, bfloat16; every number is in `Recipe`.",
        "",
        "| stage | steps | processor hours |",
        "|---|---|---|",
    ]
    for stage, (steps, seconds) in progress.items():
        lines.append(f"| {_STAGES[stage]} | {steps:,} | {seconds / 3600:.2f} |")
    if notes:
        lines += ["", *textwrap.wrap(notes, 100)]
    search = search_section(measured.retrieval, measured.needles)
    return "\n".join([*lines, *_accuracy(measured), *search, *_claims(measured)])


def _accuracy(measured: Measured) -> list[str]:
    one, many = (name for name in PRIOR_SUITES if name != "four_shots_24x16")
    return [
        "",
        "## Held-out accuracy",
        "",
        f"Films of seed {HELD_OUT_SEED + 7}, never drawn in training, mixed precision; an answer",
        "counts if every token of it is right. The prior is what the question's text alone gives.",
        "Columns are frames x tokens a frame, average-pooled unless said; n of the first column.",
        "",
        *_table(measured, "one_shot", one, "One shot"),
        *_table(measured, "four_shots", "four_shots_24x16", "Four shots"),
        "Two windows are what a search shows of a film: two stretches out of twelve shots, four to",
        "eight seconds each.",
        "",
        *_table(measured, "two_windows", many, "Two windows"),
        "A place is one shot of twelve with those right before and after it, as",
        "`ask.max_shot_frames` shows what a search found, asked about that shot:",
        "",
        *_table(measured, "place", "four_shots_24x16", "Places", prior=False),
        "Frames spread thinly over 24 shots, and a minute of six shots with all 2,048 tokens of",
        "its 32 frames, a quarter, and a tenth of them by merging, at random, and slow-fast:",
        "",
        *_table(measured, ("sparse", "minute"), "four_shots_24x16", "Longer films", prior=False),
    ]


def search_section(retrieval: dict[int, dict[str, float]], needles: dict[str, float]) -> list[str]:
    """Return the lines about how well texts find frames and places."""
    lines = [
        "Text-to-frame recall among clean frames of different shots (one of the k best frames",
        "fits; there may be several that do):",
        "",
        "| frames | pair @1 | pair @8 | sign @1 | sign @8 | shape with sign @1 | @8 |",
        "|---|---|---|---|---|---|---|",
    ]
    for count, row in retrieval.items():
        keys = ("pair_r1", "pair_r8", "sign_r1", "sign_r8", "sign_shape_r1", "sign_shape_r8")
        lines.append(f"| {count} | " + " | ".join(f"{row[key]:.2f}" for key in keys) + " |")
    lines += [
        "",
        "One needle in an hour at one frame a second, segments of 16 frames found by the best of",
        "their four vectors, all near misses present:",
        "",
        "| named by | @1 | @8 | n |",
        "|---|---|---|---|",
    ]
    for kind, text in (("pair", "shape and colour"), ("sign", "sign")):
        first, eighth = needles[f"{kind}_r1"], needles[f"{kind}_r8"]
        lines.append(f"| {text} | {first:.2f} | {eighth:.2f} | {needles[f'{kind}_n']:.0f} |")
    return lines


def _claims(measured: Measured) -> list[str]:
    yes, no, few = measured.claimed()
    return [
        "",
        "## What it claims",
        "",
        f"Types at least {CLAIM_MARGIN:.1f} above their prior wherever they are asked (one shot,",
        f"four shots, two windows; 16 tokens a frame): {', '.join(yes) or 'none'}.",
        "",
        f"Not claimed, do not judge a method by them: {', '.join(no) or 'none'}.",
        "",
        f"Asked fewer than {MIN_ASKED} times in each of these, so not judged: "
        f"{', '.join(few) or 'none'}.",
        "",
    ]


_STAGES = {
    "tower": "tower (96 frames and 64 texts a step)",
    "text": "search: text tower (192 texts a step)",
    "search": "search: a last layer of its own and the pooling head (512 frames a step)",
    "answer": "answering model (1 to 16 films, 12 questions each, a step)",
}


def _table(
    measured: Measured,
    start: str | tuple[str, ...],
    prior_suite: str,
    title: str,
    *,
    prior: bool = True,
) -> list[str]:
    names = [name for name in measured.suites if name.startswith(start)]
    asked = {kind for name in names for kind in measured.suites[name]}
    heads = [name.replace("one_shot_", "").replace("two_windows_", "") for name in names]
    heads = [head.replace("four_shots_", "").replace("_", " ") for head in heads]
    middle = ["prior", *heads] if prior else heads
    lines = [f"| {title} | {' | '.join(middle)} | n |", "|---|" + "---|" * (len(middle) + 1)]
    for kind in (kind for kind in TYPES if kind in asked):
        cells = [f"{measured.priors[prior_suite].get(kind, 0.0):.2f}"] if prior else []
        for name in names:
            right, total = measured.suites[name].get(kind, (0, 0))
            cells.append(f"{right / total:.2f}" if total else "-")
        count = measured.suites[names[0]].get(kind, (0, 0))[1]
        lines.append(f"| {kind} | {' | '.join(cells)} | {count} |")
    means = [f"{mean_accuracy(measured.suites[name]):.2f}" for name in names]
    pooled = [f"{_pooled(measured.suites[name]):.2f}" for name in names]
    blank = [""] if prior else []
    lines.append(f"| mean over types | {' | '.join([*blank, *means])} |  |")
    lines.append(f"| all questions | {' | '.join([*blank, *pooled])} |  |")
    return [*lines, ""]


def _pooled(rows: Rows) -> float:
    return sum(right for right, _ in rows.values()) / max(1, sum(n for _, n in rows.values()))


def write_measured(path: Path, measured: Measured) -> None:
    """Write the figures as JSON, for programs."""
    yes, no, few = measured.claimed()
    claims = {"claimed": yes, "not_claimed": no, "not_judged": few}
    rows = asdict(measured) | claims | {"torch": torch.__version__}
    path.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
