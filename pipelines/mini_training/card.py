"""The model card: what a run has reached, measured on the exported weights."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, is_dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import (
    LlavaOnevisionForConditionalGeneration,
    PreTrainedTokenizerFast,
    SiglipModel,
)

from benchmarks.world.draw import Painter
from pipelines.mini_training.answer import AnswerHeads
from pipelines.mini_training.measure import (
    HELD_OUT_SEED,
    SUITES,
    accuracy_by_type,
    mean_accuracy,
    priors,
)
from pipelines.mini_training.tower import retrieval_recall

__all__ = ["CLAIM_MARGIN", "Measured", "measure", "write_card"]

CLAIM_MARGIN = 0.3
"""A type is claimed where it beats the text-only prior by this much."""

Rows = dict[str, tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Measured:
    """Held-out figures: per suite and type (right, asked), the priors, the retrieval recall."""

    suites: dict[str, Rows]
    one_shot_priors: dict[str, float]
    many_shot_priors: dict[str, float]
    retrieval: dict[int, dict[str, float]]

    def claimed(self) -> tuple[list[str], list[str]]:
        """Return the types that are claimed and those that are not, from the 16-token suites."""
        yes: list[str] = []
        no: list[str] = []
        pairs = [
            (self.suites["one_shot_8x16"], self.one_shot_priors),
            (self.suites["four_shots_24x16"], self.many_shot_priors),
        ]
        best: dict[str, float] = {}
        for rows, prior in pairs:
            for name, (right, total) in rows.items():
                margin = right / total - prior.get(name, 1.0)
                best[name] = max(best.get(name, -1.0), margin)
        for name, margin in best.items():
            (yes if margin >= CLAIM_MARGIN else no).append(name)
        return sorted(yes), sorted(no)


def measure(
    embedder: SiglipModel,
    vlm: LlavaOnevisionForConditionalGeneration,
    heads: AnswerHeads,
    tokenizer: PreTrainedTokenizerFast,
    painter: Painter,
    num_films: int,
) -> Measured:
    """Measure exported models in every held-out condition, in float32."""
    embedder.train(False)
    vlm.train(False)
    vlm.set_attn_implementation("eager")
    suites = {
        name: accuracy_by_type(
            vlm, heads, tokenizer, painter, plan, num_films, seed=HELD_OUT_SEED + 7, exact=True
        )
        for name, plan in SUITES.items()
    }
    return Measured(
        suites=suites,
        one_shot_priors=priors(SUITES["one_shot_8x16"]),
        many_shot_priors=priors(SUITES["four_shots_24x16"]),
        retrieval={
            count: retrieval_recall(embedder, tokenizer, painter, HELD_OUT_SEED + 7, count)
            for count in (60, 600, 3600)
        },
    )


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
    yes, no = measured.claimed()
    lines = [
        "# longvid-mini",
        "",
        "A video question-answering model of 4.6 million weights, trained from nothing on films",
        "drawn by `benchmarks/world`. It understands nothing but that world: eight shapes in eight",
        "colours, six backgrounds, signs with one letter or digit, ten motions and four events.",
        "For real footage name a real checkpoint.",
        "",
        "| folder | model | tokens |",
        "|---|---|---|",
        "| `vlm/` | LlavaOnevisionForConditionalGeneration | 64 a frame, 192 wide |",
        "| `embedder/` | SiglipModel, the same vision tower | 128 wide |",
        "",
        "## Training",
        "",
        "`python -m pipelines.train_mini --out RUN`; the recipe's numbers:",
        "",
        "```json",
        json.dumps(asdict(recipe) if is_dataclass(recipe) else {}, indent=1),  # type: ignore[arg-type]
        "```",
        "",
        "| stage | steps | processor hours |",
        "|---|---|---|",
    ]
    for stage, (steps, seconds) in progress.items():
        lines.append(f"| {stage} | {steps:,} | {seconds / 3600:.2f} |")
    if notes:
        lines += ["", notes]
    lines += [
        "",
        "## Held-out accuracy",
        "",
        f"Films of seed {HELD_OUT_SEED + 7}, never drawn in training; an answer counts if every",
        "token of it is right. The prior is what the question's text alone gives. Columns are",
        "frames x tokens a frame, average-pooled unless said.",
        "",
    ]
    lines += _table(
        measured, [n for n in SUITES if n.startswith("one")], measured.one_shot_priors, "One shot"
    )
    lines += _table(
        measured,
        [n for n in SUITES if not n.startswith("one")],
        measured.many_shot_priors,
        "Films of several shots",
    )
    lines += [
        "Text-to-frame retrieval among clean frames of different shots (recall: one of the k best",
        "frames fits; there may be several that do):",
        "",
        "| frames | pair @1 | pair @8 | sign @1 | sign @8 | shape with sign @1 | @8 |",
        "|---|---|---|---|---|---|---|",
    ]
    for count, row in measured.retrieval.items():
        keys = ("pair_r1", "pair_r8", "sign_r1", "sign_r8", "sign_shape_r1", "sign_shape_r8")
        lines.append(f"| {count} | " + " | ".join(f"{row[key]:.2f}" for key in keys) + " |")
    lines += [
        "",
        "## What it claims",
        "",
        f"Types at least {CLAIM_MARGIN:.1f} above their prior: {', '.join(yes) or 'none'}.",
        "",
        f"Not claimed, do not judge a method by them: {', '.join(no) or 'none'}.",
        "",
    ]
    return "\n".join(lines)


def _table(measured: Measured, names: list[str], prior: dict[str, float], title: str) -> list[str]:
    types = sorted({kind for name in names for kind in measured.suites[name]})
    head = [name.split("_", 2 if "shot" in name else 1)[-1] for name in names]
    lines = [
        f"| {title} | prior | " + " | ".join(head) + " | n |",
        "|---|---|" + "---|" * (len(names) + 1),
    ]
    for kind in types:
        cells = []
        for name in names:
            right, total = measured.suites[name].get(kind, (0, 0))
            cells.append(f"{right / total:.2f}" if total else "-")
        count = measured.suites[names[0]].get(kind, (0, 0))[1]
        text = f"{prior[kind]:.2f}" if kind in prior else "-"
        lines.append(f"| {kind} | {text} | " + " | ".join(cells) + f" | {count} |")
    means = " | ".join(f"{mean_accuracy(measured.suites[name]):.2f}" for name in names)
    lines += [f"| mean over types |  | {means} |  |", ""]
    return lines


def write_measured(path: Path, measured: Measured) -> None:
    """Write the figures as JSON, for programs."""
    yes, no = measured.claimed()
    rows = asdict(measured) | {"claimed": yes, "not_claimed": no, "torch": torch.__version__}
    path.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
