"""Stage 1: the vision and text towers."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import (
    SiglipModel,
)

from longvid.models import mini
from longvid.world.draw import Painter
from pipelines.train_mini.measure import (
    HELD_OUT_SEED,
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
from pipelines.train_mini.tower import (
    PatchHeads,
    retrieval_recall,
    tower_batch,
    tower_losses,
    weighted,
)


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
    path = out / "tower.pt"
    parts = {"embedder": embedder, "heads": heads, "optimizer": optimizer, "average": average}
    start, seconds = restore(load_checkpoint(path), parts)
    painter = Painter(mini.IMAGE_SIZE, device)
    journal = Journal(out / "tower.jsonl", seconds)
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
        descend(loss, parameters, [optimizer], recipe.clip)
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
            save_checkpoint(path, parts, done, journal.seconds)
        if done % (4 * recipe.save_every) == 0 or done == recipe.tower_steps:
            twin = average.averaged(embedder)
            count = recipe.retrieval_frames
            row = retrieval_recall(twin, tokenizer, painter, HELD_OUT_SEED, count)
            journal.write(stage="tower", step=done, held_out_retrieval=row)
        if done == stop_at:
            break
    return embedder, average
