"""Stage 4: the decoder, on the tower of the stages before."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from transformers import (
    LlavaOnevisionForConditionalGeneration,
    PreTrainedTokenizerFast,
    SiglipModel,
)

from longvid.models import mini, mini_vocabulary
from longvid.world.draw import Painter
from longvid.world.scene import generator
from pipelines.train_mini import answer
from pipelines.train_mini.answer import AnswerHeads, answer_step, whiten_projector
from pipelines.train_mini.film_plan import draw_plan
from pipelines.train_mini.measure import (
    SUITES,
    accuracy_by_type,
    mean_accuracy,
)
from pipelines.train_mini.progress import (
    Average,
    Journal,
    decayed,
    descend,
    load_checkpoint,
    restore,
    save_checkpoint,
)
from pipelines.train_mini.recipe import Recipe
from pipelines.train_mini.stream import FilmBatch, film_batch

#: What is measured on the way: while films have one shot, and in addition from then on.
_ONE_SHOT = ("one_shot_8x16",)
_SEVERAL_SHOTS = ("four_shots_24x16", "two_windows_32x16", "place_16x16", "sparse_32x16")


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


def _set_rates(optimizers: list[torch.optim.Optimizer], recipe: Recipe, step: int) -> None:
    """Give the optimizers of `answer_optimizers` their learning rates of a step."""
    share = decayed(
        step,
        recipe.answer_warmup,
        recipe.answer_hold,
        recipe.answer_steps,
        recipe.answer_cooldown,
    )
    for optimizer, peak in zip(optimizers, (recipe.answer_rate, recipe.matrix_rate), strict=False):
        for group in optimizer.param_groups:
            group["lr"] = peak * share


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
    frame_token = tokenizer.get_vocab()[mini_vocabulary.FRAME_TOKEN]
    path = out / "answer.pt"
    state = load_checkpoint(path)
    if state is None:
        plan = SUITES["one_shot_8x64"]
        tower = vlm.model.vision_tower
        sample = film_batch(recipe.seed * 1000 + 4, 0, plan, painter, tower, tokenizer)
        whiten_projector(vlm, sample.features.flatten(0, 2).float())
    average = Average(vlm, 0.998)
    parts = {"vlm": vlm, "heads": heads, "optimizers": optimizers, "average": average}
    start, seconds = restore(state, parts)
    journal = Journal(out / "answer.jsonl", seconds)
    recent: dict[str, list[bool]] = {}
    batches = film_batches(recipe, start, painter, vlm, tokenizer)
    for step, batch in zip(range(start, recipe.answer_steps), batches, strict=False):
        _set_rates(optimizers, recipe, step)
        rng = generator(recipe.seed * 1000 + 5, step)
        with torch.autocast(device.type, torch.bfloat16):
            outcome = answer_step(vlm, heads, batch, rng, frame_token)
            loss = answer.weighted(outcome.losses)
        descend(loss, parameters, optimizers, recipe.clip)
        average.update(vlm)
        done = step + 1
        for questions, marks in zip(batch.text.questions, outcome.right, strict=True):
            for question, mark in zip(questions, marks, strict=True):
                recent.setdefault(question.type, []).append(mark)
        if done % recipe.log_every == 0:
            losses = {name: value.detach() for name, value in outcome.losses.items()}
            journal.write(stage="answer", step=done, loss=losses, state=outcome.state_accuracy)
        if done % recipe.save_every == 0 or done in (recipe.answer_steps, stop_at):
            save_checkpoint(path, parts, done, journal.seconds)
        if done % recipe.measure_every == 0:
            online = {name: sum(marks) / len(marks) for name, marks in sorted(recent.items())}
            recent.clear()
            journal.write(stage="answer", step=done, online=online)
            names = _ONE_SHOT if done <= recipe.one_shot_steps else _ONE_SHOT + _SEVERAL_SHOTS
            twin = average.averaged(vlm)
            for name in names:
                rows = accuracy_by_type(twin, heads, tokenizer, painter, SUITES[name], 96)
                row = {key: right / total for key, (right, total) in rows.items()}
                mean = mean_accuracy(rows)
                journal.write(stage="answer", step=done, suite=name, mean=mean, held_out=row)
        if done == stop_at:
            break
    return vlm
