"""Train longvid-mini from random weights to the shipped ones: one command, seeded, resumable.

    python -m pipelines.train_mini --out RUN                 train, or go on where RUN stopped
    python -m pipelines.train_mini --out RUN --export DIR    write RUN's weights
    python -m pipelines.train_mini --out RUN --search-of MINI [--export DIR]
                                                             train the search of MINI alone

Four stages, each with its own checkpoint: tower (vision and text towers), text and search (the
search vectors, on the frozen tower) and answer (the decoder). Films and questions come from the
CPU; frames and their targets are drawn on `--device`.

Every batch is a function of (seed, stage, step), so a run that is stopped anywhere and started
again ends with the same weights, bit for bit, on the same processor and number of threads.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from transformers import (
    LlavaOnevisionForConditionalGeneration,
    SiglipModel,
)

from longvid.errors import ConfigError
from longvid.models import mini
from longvid.world.draw import Painter
from pipelines.train_mini import card
from pipelines.train_mini.answer import AnswerHeads
from pipelines.train_mini.answer_stage import (
    train_answer,
)
from pipelines.train_mini.progress import (
    Average,
    load_checkpoint,
)
from pipelines.train_mini.recipe import STAGES, Recipe
from pipelines.train_mini.search_stage import train_search, train_texts
from pipelines.train_mini.tower_stage import train_tower


def export(recipe: Recipe, out: Path, directory: Path, num_films: int, notes: str) -> None:
    """Write a run's averaged weights, measured after reading them back, with their card."""
    states = {stage: load_checkpoint(out / f"{stage}.pt") for stage in STAGES}
    done = {stage: state for stage, state in states.items() if state is not None}
    if len(done) < len(STAGES):
        raise ConfigError(
            f"{out} holds no finished run to export: it needs "
            f"{', '.join(f'{stage}.pt' for stage in STAGES)}; train first with "
            "`python -m pipelines.train_mini --out`."
        )
    embedder, vlm, tokenizer = mini.build(recipe.seed)
    matched, average = Average(embedder, 0.0), Average(vlm, 0.0)
    matched.load_state_dict(done["search"]["average"])
    average.load_state_dict(done["answer"]["average"])
    mini.write_folders(directory, matched.averaged(embedder), average.averaged(vlm), "")
    heads = AnswerHeads(mini.DECODER_WIDTH)
    heads.load_state_dict(done["answer"]["heads"])
    embedder, vlm = _read(directory)
    painter = Painter(mini.IMAGE_SIZE)
    measured = card.measure(embedder, vlm, heads, tokenizer, painter, num_films)
    progress = {stage: (state["step"], state["cpu_seconds"]) for stage, state in done.items()}
    text = card.write_card(measured, recipe, progress, notes)
    (directory / "README.md").write_text(text, encoding="utf-8")
    card.write_measured(directory / "measured.json", measured)
    print(text)


def export_search(out: Path, source: Path, directory: Path) -> None:
    """Write other weights with a run's search, measured after reading it back.

    Args:
        out: The run.
        source: The weights that its search was trained for; their answering model is kept.
        directory: Where to.
    """
    state = load_checkpoint(out / "search.pt")
    if state is None:
        raise ConfigError(f"{out} holds no search.pt; train first without --export.")
    embedder, vlm = _read(source)
    average = Average(embedder, 0.0)
    average.load_state_dict(state["average"])
    text = (source / "README.md").read_text(encoding="utf-8")
    mini.write_folders(directory, average.averaged(embedder), vlm, text)
    embedder, _ = _read(directory)
    retrieval, needles = card.measure_search(embedder, Painter(mini.IMAGE_SIZE))
    measured = json.loads((source / "measured.json").read_text(encoding="utf-8"))
    measured |= {"retrieval": retrieval, "needles": needles}
    (directory / "measured.json").write_text(
        json.dumps(measured, indent=1) + "\n", encoding="utf-8"
    )
    print("\n".join(card.search_section(retrieval, needles)))


def _read(folder: Path) -> tuple[SiglipModel, LlavaOnevisionForConditionalGeneration]:
    return (
        SiglipModel.from_pretrained(folder / "embedder", dtype=torch.float32),
        LlavaOnevisionForConditionalGeneration.from_pretrained(folder / "vlm", dtype=torch.float32),
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m pipelines.train_mini", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of checkpoints and logs")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of torch")
    parser.add_argument("--export", type=Path, help="write the weights of --out here and stop")
    parser.add_argument("--films", type=int, default=256, help="films a held-out condition")
    parser.add_argument("--notes", default="", help="a paragraph for the model card")
    parser.add_argument(
        "--steps", type=int, default=Recipe().answer_steps, help="where the answering stage ends"
    )
    parser.add_argument("--stage", choices=("tower", "search", "all"), default="all")
    parser.add_argument("--search-of", type=Path, help="folder of weights to train the search of")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    if options.export is not None:
        if options.search_of is None:
            export(Recipe(), options.out, options.export, options.films, options.notes)
        else:
            export_search(options.out, options.search_of, options.export)
        return 0
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "pid").write_text(f"{os.getpid()}\n", encoding="utf-8")
    recipe = replace(Recipe(), answer_steps=options.steps)
    device = torch.device(options.device)
    if options.search_of is not None:
        embedder, _ = _read(options.search_of)
        train_search(
            recipe, options.out, device, train_texts(recipe, options.out, device, embedder)
        )
        return 0
    embedder, average = train_tower(recipe, options.out, device)
    if options.stage != "tower":
        embedder = train_texts(recipe, options.out, device, average.averaged(embedder))
        matched = train_search(recipe, options.out, device, embedder)
    if options.stage == "all":
        train_answer(recipe, options.out, device, matched)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
