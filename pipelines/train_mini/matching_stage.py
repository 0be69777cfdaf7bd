"""Stages 2 and 3: the search vectors, on the frozen tower, then with the tower's last layer."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import (
    SiglipModel,
)

from longvid.models import mini, mini_vocabulary
from longvid.world.draw import Painter
from pipelines.train_mini.matching import (
    draw_pool,
    match_batch,
    match_loss,
    matched_parts,
)
from pipelines.train_mini.progress import (
    Average,
    Journal,
    cosine,
    descend,
    load_checkpoint,
    restore,
    save_checkpoint,
)
from pipelines.train_mini.recipe import Recipe


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
    tokenizer = mini_vocabulary.build_tokenizer(mini.TEXT_LENGTH)
    torch.nn.Module.to(embedder, device).train()
    parameters = matched_parts(embedder, bind=bind)
    optimizer = torch.optim.AdamW(
        parameters, lr=rate, betas=(0.9, 0.98), weight_decay=recipe.weight_decay
    )
    average = Average(embedder, 0.99)
    path = out / f"{stage}.pt"
    parts = {"embedder": embedder, "optimizer": optimizer, "average": average}
    start, seconds = restore(load_checkpoint(path), parts)
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
        descend(loss, parameters, [optimizer], recipe.clip)
        average.update(embedder)
        done = step + 1
        if done % recipe.log_every == 0:
            journal.write(stage=stage, step=done, loss=loss.detach(), ahead=ahead)
        if done % recipe.save_every == 0 or done in (num_steps, stop_at):
            save_checkpoint(path, parts, done, journal.seconds)
        if done == stop_at:
            break
    return average.averaged(embedder)
