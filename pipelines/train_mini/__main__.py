"""Train longvid-mini from random weights to the shipped ones: one command, seeded, resumable.

    python -m pipelines.train_mini --out RUN                 train, or go on where RUN stopped
    python -m pipelines.train_mini --out RUN --export DIR    write RUN's weights so far

Four stages, each with its own checkpoint: tower (vision and text towers), match and bind (the
search vectors, on the frozen tower) and answer (the decoder). Films and questions come from the
CPU; frames and their targets are drawn on `--device`.

Every batch is a function of (seed, stage, step), so a run that is stopped anywhere and started
again ends with the same weights, bit for bit, on the same processor and number of threads.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from transformers import (
    LlavaOnevisionForConditionalGeneration,
    PreTrainedTokenizerFast,
    SiglipModel,
)

from longvid.errors import ConfigError
from longvid.models import mini
from longvid.world.draw import Painter
from longvid.world.scene import generator
from pipelines.train_mini import answer, card
from pipelines.train_mini.answer import AnswerHeads, answer_step, whiten_projector
from pipelines.train_mini.matching import (
    draw_pool,
    match_batch,
    match_loss,
    matched_parts,
)
from pipelines.train_mini.measure import (
    HELD_OUT_SEED,
    SUITES,
    accuracy_by_type,
    mean_accuracy,
)
from pipelines.train_mini.progress import (
    Average,
    Journal,
    cosine,
    decayed,
    load_checkpoint,
    save_checkpoint,
)
from pipelines.train_mini.stream import FilmBatch, draw_plan, film_batch
from pipelines.train_mini.tower import (
    PatchHeads,
    retrieval_recall,
    tower_batch,
    tower_losses,
    weighted,
)

__all__ = ["Recipe", "main", "train_tower"]


STAGES = ("tower", "match", "bind", "answer")


@dataclass(frozen=True, slots=True)
class Recipe:
    """Every number of a run."""

    seed: int = 7
    tower_steps: int = 2400
    tower_frames: int = 96
    tower_texts: int = 64
    retrieval_frames: int = 600
    tower_rate: float = 1.5e-3
    tower_warmup: int = 100
    weight_decay: float = 0.02
    clip: float = 1.0
    match_steps: int = 1500
    match_pool: int = 6144
    match_pool_steps: int = 125
    match_frames: int = 768
    match_texts: int = 160
    match_rate: float = 1.0e-3
    match_warmup: int = 50
    bind_steps: int = 1500
    bind_pool_steps: int = 32
    bind_rate: float = 6.0e-4
    answer_steps: int = 12_000
    answer_rate: float = 1.0e-3
    matrix_rate: float = 2.0e-3
    muon: bool = True
    answer_warmup: int = 200
    answer_hold: int = 4000
    answer_cooldown: int = 1200
    answer_questions: int = 12
    token_budget: int = 2400
    one_shot_steps: int = 2500
    few_shot_steps: int = 1500
    measure_every: int = 500
    log_every: int = 50
    save_every: int = 250


def train_tower(
    recipe: Recipe, out: Path, device: torch.device, *, stop_at: int | None = None
) -> tuple[SiglipModel, Average[SiglipModel]]:
    """Run stage 1, from its checkpoint if there is one.

    Args:
        stop_at: stop after this step as an interruption would (for the test of resuming).
    """
    embedder, _, tokenizer = mini.build(recipe.seed)
    torch.manual_seed(recipe.seed)
    heads = PatchHeads(mini.TOWER_WIDTH)
    for module in (embedder, heads):
        torch.nn.Module.to(module, device).train()
    embedder.set_attn_implementation("eager")  # on CPU faster to train than the fused kernel
    embedder.vision_model.encoder.layers[-1].requires_grad_(False)  # the next stage's
    parameters = [p for p in (*embedder.parameters(), *heads.parameters()) if p.requires_grad]
    optimizer = torch.optim.AdamW(
        parameters, lr=recipe.tower_rate, betas=(0.9, 0.98), weight_decay=recipe.weight_decay
    )
    average = Average(embedder, 0.995)
    path, start, seconds = out / "tower.pt", 0, 0.0
    state = load_checkpoint(path)
    if state is not None:
        embedder.load_state_dict(state["embedder"])
        heads.load_state_dict(state["heads"])
        optimizer.load_state_dict(state["optimizer"])
        average.load_state_dict(state["average"])
        start, seconds = state["step"], state["cpu_seconds"]
    painter = Painter(mini.IMAGE_SIZE, device)
    journal = Journal(out / "tower.jsonl", seconds)

    def checkpoint(step: int) -> None:
        save_checkpoint(
            path,
            {
                "embedder": embedder.state_dict(),
                "heads": heads.state_dict(),
                "optimizer": optimizer.state_dict(),
                "average": average.state_dict(),
                "step": step,
                "cpu_seconds": journal.seconds,
            },
        )

    for step in range(start, recipe.tower_steps):
        for group in optimizer.param_groups:
            group["lr"] = recipe.tower_rate * cosine(step, recipe.tower_steps, recipe.tower_warmup)
        batch = tower_batch(
            recipe.seed * 1000 + 1,
            step,
            recipe.tower_frames,
            painter,
            tokenizer,
            recipe.tower_texts,
        )
        with torch.autocast(device.type, torch.bfloat16):
            losses, accuracies = tower_losses(embedder, heads, batch)
            loss = weighted(losses, step / recipe.tower_steps)
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(parameters, recipe.clip)
        optimizer.step()
        average.update(embedder)
        done = step + 1
        if done % recipe.log_every == 0:
            journal.write(
                stage="tower",
                step=done,
                loss={name: value.detach() for name, value in losses.items()},
                accuracy=accuracies,
            )
        if done % recipe.save_every == 0 or done == recipe.tower_steps or done == stop_at:
            checkpoint(done)
        if done % (4 * recipe.save_every) == 0 or done == recipe.tower_steps:
            twin = average.averaged(embedder)
            count = recipe.retrieval_frames
            row = retrieval_recall(twin, tokenizer, painter, HELD_OUT_SEED, count)
            journal.write(stage="tower", step=done, held_out_retrieval=row)
        if done == stop_at:
            break
    return embedder, average


def train_matching(
    recipe: Recipe,
    out: Path,
    device: torch.device,
    embedder: SiglipModel,
    *,
    bind: bool,
    stop_at: int | None = None,
) -> SiglipModel:
    """Run stage 2 or 3 on the embedder of the stage before, from its checkpoint if there is one.

    Args:
        bind: Stage 3, which trains the tower's last layer too.
        stop_at: stop after this step as an interruption would.

    Returns:
        The embedder with averaged weights; its tower is the one that was given, but for the last
        layer after stage 3.
    """
    stage, number, num_steps = "match", 8, recipe.match_steps
    rate, pool_steps = recipe.match_rate, recipe.match_pool_steps
    if bind:
        stage, number, num_steps = "bind", 10, recipe.bind_steps
        rate, pool_steps = recipe.bind_rate, recipe.bind_pool_steps
        layers = embedder.vision_model.encoder.layers
        layers[-1] = mini.search_layer(layers[-2])
    tokenizer = mini.build_tokenizer(mini.TEXT_LENGTH)
    torch.nn.Module.to(embedder, device).train()
    parameters = matched_parts(embedder, bind=bind)
    optimizer = torch.optim.AdamW(
        parameters, lr=rate, betas=(0.9, 0.98), weight_decay=recipe.weight_decay
    )
    average = Average(embedder, 0.99)
    path, start, seconds = out / f"{stage}.pt", 0, 0.0
    state = load_checkpoint(path)
    if state is not None:
        embedder.load_state_dict(state["embedder"])
        optimizer.load_state_dict(state["optimizer"])
        average.load_state_dict(state["average"])
        start, seconds = state["step"], state["cpu_seconds"]
    painter = Painter(mini.IMAGE_SIZE, device)
    journal = Journal(out / f"{stage}.jsonl", seconds)
    seed, pool, pool_number = recipe.seed * 1000 + number, None, -1
    for step in range(start, num_steps):
        if pool is None or pool_number != step // pool_steps:
            pool_number = step // pool_steps
            pool = draw_pool(seed, pool_number, recipe.match_pool, painter, embedder)
        for group in optimizer.param_groups:
            group["lr"] = rate * cosine(step, num_steps, recipe.match_warmup)
        batch = match_batch(
            seed + 1, step, pool, recipe.match_frames, recipe.match_texts, tokenizer
        )
        with torch.autocast(device.type, torch.bfloat16):
            loss, ahead = match_loss(embedder, batch, bind=bind)
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(parameters, recipe.clip)
        optimizer.step()
        average.update(embedder)
        done = step + 1
        if done % recipe.log_every == 0:
            journal.write(stage=stage, step=done, loss=loss.detach(), ahead=ahead)
        if done % recipe.save_every == 0 or done in (num_steps, stop_at):
            save_checkpoint(
                path,
                {
                    "embedder": embedder.state_dict(),
                    "optimizer": optimizer.state_dict(),
                    "average": average.state_dict(),
                    "step": done,
                    "cpu_seconds": journal.seconds,
                },
            )
        if done == stop_at:
            break
    return average.averaged(embedder)


def curriculum(recipe: Recipe, step: int) -> float:
    """Return how far the films of a step have come: 0 to 1 one shot, to 2 a few, then all."""
    if step < recipe.one_shot_steps:
        return step / recipe.one_shot_steps
    return 1.0 + (step - recipe.one_shot_steps) / recipe.few_shot_steps


def film_batches(
    recipe: Recipe,
    start: int,
    painter: Painter,
    model: LlavaOnevisionForConditionalGeneration,
    tokenizer: PreTrainedTokenizerFast,
) -> Iterator[FilmBatch]:
    """Yield the batches from a step on; a second thread draws the next one meanwhile."""
    tower = model.model.vision_tower
    seed = recipe.seed * 1000 + 2

    def draw(step: int) -> FilmBatch:
        plan = draw_plan(generator(seed + 1, step), curriculum(recipe, step), recipe.token_budget)
        return film_batch(
            seed, step, plan, painter, tower, tokenizer, num_questions=recipe.answer_questions
        )

    with ThreadPoolExecutor(1, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        ahead = pool.submit(draw, start)
        for step in range(start, recipe.answer_steps):
            batch = ahead.result()
            ahead = pool.submit(draw, step + 1)
            yield batch


def answer_optimizers(
    recipe: Recipe, vlm: LlavaOnevisionForConditionalGeneration, heads: AnswerHeads
) -> list[torch.optim.Optimizer]:
    """Return AdamW for vectors, embeddings and heads, and Muon for the decoder's matrices."""
    matrices: list[torch.nn.Parameter] = []
    others: list[torch.nn.Parameter] = list(heads.parameters())
    for name, parameter in vlm.named_parameters():
        if parameter.requires_grad:
            hidden = parameter.ndim == 2 and ".layers." in name
            (matrices if hidden and recipe.muon else others).append(parameter)
    decay = recipe.weight_decay
    adam = torch.optim.AdamW(others, lr=recipe.answer_rate, betas=(0.9, 0.98), weight_decay=decay)
    if not matrices:
        return [adam]
    muon = torch.optim.Muon(
        matrices, lr=recipe.matrix_rate, weight_decay=decay, adjust_lr_fn="match_rms_adamw"
    )
    return [adam, muon]


def train_answer(
    recipe: Recipe,
    out: Path,
    device: torch.device,
    embedder: SiglipModel,
    *,
    stop_at: int | None = None,
) -> LlavaOnevisionForConditionalGeneration:
    """Run stage 4 on the tower of the stages before, from its checkpoint if there is one."""
    _, vlm, tokenizer = mini.build(recipe.seed)
    mini.share_tower(embedder, vlm)
    torch.manual_seed(recipe.seed + 1)
    heads = AnswerHeads(mini.DECODER_WIDTH)
    for module in (vlm, heads):
        torch.nn.Module.to(module, device).train()
    vlm.set_attn_implementation("eager")
    vlm.model.vision_tower.eval().requires_grad_(False)
    vlm.model.image_newline.requires_grad_(False)
    painter = Painter(mini.IMAGE_SIZE, device)
    parameters = [p for p in (*vlm.parameters(), *heads.parameters()) if p.requires_grad]
    optimizers = answer_optimizers(recipe, vlm, heads)
    frame_token = tokenizer.get_vocab()[mini.FRAME_TOKEN]
    path, start, seconds = out / "answer.pt", 0, 0.0
    state = load_checkpoint(path)
    if state is None:
        plan = SUITES["one_shot_8x64"]
        tower = vlm.model.vision_tower
        sample = film_batch(recipe.seed * 1000 + 4, 0, plan, painter, tower, tokenizer)
        whiten_projector(vlm, sample.features.flatten(0, 2).float())
    average = Average(vlm, 0.998)
    if state is not None:
        vlm.load_state_dict(state["vlm"])
        heads.load_state_dict(state["heads"])
        for optimizer, saved in zip(optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        average.load_state_dict(state["average"])
        start, seconds = state["step"], state["cpu_seconds"]
    journal = Journal(out / "answer.jsonl", seconds)
    recent: dict[str, list[bool]] = {}
    batches = film_batches(recipe, start, painter, vlm, tokenizer)
    for step, batch in zip(range(start, recipe.answer_steps), batches, strict=False):
        share = decayed(
            step,
            recipe.answer_warmup,
            recipe.answer_hold,
            recipe.answer_steps,
            recipe.answer_cooldown,
        )
        for optimizer, peak in zip(
            optimizers, (recipe.answer_rate, recipe.matrix_rate), strict=False
        ):
            for group in optimizer.param_groups:
                group["lr"] = peak * share
        rng = generator(recipe.seed * 1000 + 5, step)
        with torch.autocast(device.type, torch.bfloat16):
            outcome = answer_step(vlm, heads, batch, rng, frame_token)
            loss = answer.weighted(outcome.losses)
        for optimizer in optimizers:
            optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(parameters, recipe.clip)
        for optimizer in optimizers:
            optimizer.step()
        average.update(vlm)
        done = step + 1
        for questions, marks in zip(batch.text.questions, outcome.right, strict=True):
            for question, mark in zip(questions, marks, strict=True):
                recent.setdefault(question.type, []).append(mark)
        if done % recipe.log_every == 0:
            losses = {name: value.detach() for name, value in outcome.losses.items()}
            journal.write(stage="answer", step=done, loss=losses, state=outcome.state_accuracy)
        if done % recipe.save_every == 0 or done in (recipe.answer_steps, stop_at):
            save_checkpoint(
                path,
                {
                    "vlm": vlm.state_dict(),
                    "heads": heads.state_dict(),
                    "optimizers": [optimizer.state_dict() for optimizer in optimizers],
                    "average": average.state_dict(),
                    "step": done,
                    "cpu_seconds": journal.seconds,
                },
            )
        if done % recipe.measure_every == 0:
            online = {name: sum(marks) / len(marks) for name, marks in sorted(recent.items())}
            recent.clear()
            journal.write(stage="answer", step=done, online=online)
            names = ["one_shot_8x16"]
            if done > recipe.one_shot_steps:
                names += ["four_shots_24x16", "two_windows_32x16", "place_16x16", "sparse_32x16"]
            twin = average.averaged(vlm)
            for name in names:
                rows = accuracy_by_type(twin, heads, tokenizer, painter, SUITES[name], 96)
                row = {key: right / total for key, (right, total) in rows.items()}
                mean = mean_accuracy(rows)
                journal.write(stage="answer", step=done, suite=name, mean=mean, held_out=row)
        if done == stop_at:
            break
    return vlm


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
    matched.load_state_dict(done["bind"]["average"])
    average.load_state_dict(done["answer"]["average"])
    mini.write_folders(directory, matched.averaged(embedder), average.averaged(vlm), "")
    heads = AnswerHeads(mini.DECODER_WIDTH)
    heads.load_state_dict(done["answer"]["heads"])
    embedder = SiglipModel.from_pretrained(directory / "embedder", dtype=torch.float32)
    vlm = LlavaOnevisionForConditionalGeneration.from_pretrained(
        directory / "vlm", dtype=torch.float32
    )
    painter = Painter(mini.IMAGE_SIZE)
    measured = card.measure(embedder, vlm, heads, tokenizer, painter, num_films)
    progress = {stage: (state["step"], state["cpu_seconds"]) for stage, state in done.items()}
    text = card.write_card(measured, recipe, progress, notes)
    (directory / "README.md").write_text(text, encoding="utf-8")
    card.write_measured(directory / "measured.json", measured)
    print(text)


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
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    if options.export is not None:
        export(Recipe(), options.out, options.export, options.films, options.notes)
        return 0
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "pid").write_text(f"{os.getpid()}\n", encoding="utf-8")
    recipe = replace(Recipe(), answer_steps=options.steps)
    device = torch.device(options.device)
    embedder, average = train_tower(recipe, options.out, device)
    if options.stage != "tower":
        matched = train_matching(
            recipe, options.out, device, average.averaged(embedder), bind=False
        )
        matched = train_matching(recipe, options.out, device, matched, bind=True)
    if options.stage == "all":
        train_answer(recipe, options.out, device, matched)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
