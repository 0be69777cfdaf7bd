"""Stages 2 and 3: the text tower, then the search vectors on the frozen tower's patches.

Both learn the codes of `search_codes`. The tower that the answering model reads stays as it is: a
last layer, which is the search's own, joins in every patch what belongs together, and the pooling
head sums the patches. With the tower frozen a step sees many hundred frames.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import SiglipModel

from longvid.models import mini, mini_vocabulary
from longvid.models.mini_vocabulary import COLORS, SHAPES, SIGNS
from longvid.world.draw import Painter, pack, pose
from longvid.world.scene import Shot, generator, make_shot
from pipelines.train_mini.patches import patch_targets
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
from pipelines.train_mini.search_codes import Codes, draw_coded_texts
from pipelines.train_mini.tower import disturb

_SCALE = 30.0
"""Of cosines in the ranking loss."""
_COSINE_WEIGHT, _RANK_WEIGHT, _PATCH_WEIGHT = 3.0, 0.3, 0.3
_BLURRED = 0.1
"""Share of blurred frames: less than the tower's, which has learned to read them."""


@dataclass(frozen=True, slots=True)
class FramePool:
    """N frames of different shots, as the frozen tower sees them.

    patches (N, P, D) · pairs (N, P), shape and colour of each patch, -1 for none · wanted (N, E),
    what their search vectors shall be · shown (N, codes).
    """

    patches: Tensor
    pairs: Tensor
    wanted: Tensor
    shown: Tensor


@torch.no_grad()
def draw_pool(
    seed: int, number: int, num_frames: int, painter: Painter, embedder: SiglipModel, codes: Codes
) -> FramePool:
    """Draw a pool of frames: a function of (seed, number) and the tower."""
    rng = generator(seed, number)
    shots = [_shot(rng) for _ in range(num_frames)]
    table = pack(shots, painter.device)
    index = torch.arange(num_frames, device=painter.device)
    fraction = torch.from_numpy(rng.random(num_frames, dtype=np.float32)).to(painter.device)
    patches = []
    for part in torch.split(index, 128):
        pixels = disturb(painter.draw(table, part, fraction[part]), rng, blurred=_BLURRED)
        with torch.autocast(painter.device.type, torch.bfloat16):
            seen = embedder.vision_model(pixels, output_hidden_states=True).hidden_states[-2]
        patches.append(seen.to(torch.bfloat16))
    poses = pose(table, index, fraction)
    target = patch_targets(poses, table.scenery, painter.size // mini.PATCH_SIZE)
    pairs = torch.where(target.shape >= 0, target.shape * len(COLORS) + target.color, -1)
    return FramePool(torch.cat(patches), pairs, *codes.frames(poses, table.scenery))


def _shot(rng: np.random.Generator) -> Shot:
    return make_shot(
        rng,
        (1, 2, 3, 3, 4, 4)[int(rng.random() * 6)],
        sign=int(rng.random() * len(SIGNS)) if rng.random() < 0.6 else -1,
        twin_rate=(0.0, 0.3, 0.9)[int(rng.random() * 3)],
    )


def search_losses(
    embedder: SiglipModel, reader: nn.Linear, pool: FramePool, codes: Codes
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the loss of frames and its parts.

    The vectors shall equal their codes; each frame with a pair or a sign shall be nearer to its
    code than all without it; and the pair of every patch shall be read from the last layer, which
    is how the layer learns to join shapes and colours in the first place.

    Args:
        reader: Reads pairs from patches, (D) to (pairs), in training only.
    """
    vision = embedder.vision_model
    patches = vision.encoder.layers[-1](pool.patches.float(), None)
    patches = vision.post_layernorm(patches)
    image = F.normalize(vision.head(patches).float(), dim=-1)
    on_thing = pool.pairs >= 0
    patch = F.cross_entropy(reader(patches[on_thing]).float(), pool.pairs[on_thing])
    apart = (1 - (image * pool.wanted).sum(1)).mean()
    logits = (codes.bank @ image.T) * _SCALE  # (codes, N)
    fits = pool.shown.T
    far = torch.finfo(logits.dtype).min
    others = logits.masked_fill(fits, far)
    wrong = torch.logsumexp(others, dim=1, keepdim=True)
    count = fits.sum(1)
    named = count > 0
    each = (F.softplus(wrong - logits) * fits).sum(1)[named] / count[named]
    ahead = ((logits > others.max(1, keepdim=True).values) & fits).sum(1)[named] / count[named]
    loss = _COSINE_WEIGHT * apart + _RANK_WEIGHT * each.mean() + _PATCH_WEIGHT * patch
    return loss, {"apart": apart, "rank": each.mean(), "patch": patch, "ahead": ahead.mean()}


def train_texts(
    recipe: Recipe, out: Path, device: torch.device, embedder: SiglipModel, *, stop_at: int = 0
) -> SiglipModel:
    """Run stage 2, from its checkpoint if there is one: the text tower learns the codes of texts.

    Args:
        embedder: Of stage 1.
        stop_at: Stop after this step as an interruption would; 0 for the end.

    Returns:
        The embedder with another text tower.
    """
    codes = Codes.drawn(recipe.seed, device)
    tokenizer = mini_vocabulary.build_tokenizer(mini.TEXT_LENGTH)
    torch.nn.Module.to(embedder, device).train()
    text = embedder.text_model
    parameters = list(text.parameters())
    optimizer = torch.optim.AdamW(parameters, lr=recipe.text_rate, betas=(0.9, 0.98))
    path = out / "text.pt"
    parts = {"embedder": embedder, "optimizer": optimizer}
    start, seconds = restore(load_checkpoint(path), parts)
    journal = Journal(out / "text.jsonl", seconds)
    for step in range(start, recipe.text_steps):
        for group in optimizer.param_groups:
            group["lr"] = recipe.text_rate * cosine(step, recipe.text_steps, recipe.search_warmup)
        rng = generator(recipe.seed * 1000 + 8, step)
        texts, wanted = draw_coded_texts(rng, recipe.text_texts, codes)
        ids = tokenizer(texts, padding="max_length", max_length=mini.TEXT_LENGTH, truncation=True)
        given = text(torch.tensor(ids["input_ids"], device=device)).pooler_output
        loss = (1 - F.cosine_similarity(given, wanted, dim=-1)).mean()
        descend(loss, parameters, [optimizer], recipe.clip)
        done = step + 1
        if done % recipe.log_every == 0:
            journal.write(stage="text", step=done, apart=loss.detach())
        if done % recipe.save_every == 0 or done in (recipe.text_steps, stop_at):
            save_checkpoint(path, parts, done, journal.seconds)
        if done == stop_at:
            break
    embedder.train(False)
    return embedder


def train_search(
    recipe: Recipe, out: Path, device: torch.device, embedder: SiglipModel, *, stop_at: int = 0
) -> SiglipModel:
    """Run stage 3, from its checkpoint if there is one: frames learn the codes of what they show.

    Args:
        embedder: Of stage 2.
        stop_at: Stop after this step as an interruption would; 0 for the end.

    Returns:
        The embedder with averaged weights; its tower is the one that was given, but for the last
        layer.
    """
    codes = Codes.drawn(recipe.seed, device)
    vision = embedder.vision_model
    layers = vision.encoder.layers
    layers[-1] = mini.search_layer(layers[-2])
    torch.manual_seed(recipe.seed)
    reader = nn.Linear(mini.TOWER_WIDTH, len(SHAPES) * len(COLORS))
    for module in (embedder, reader):
        torch.nn.Module.to(module, device).train()
    trained = [layers[-1], vision.head, vision.post_layernorm]
    parameters = [p for module in trained for p in module.parameters()]
    matrices = [p for m in (layers[-1], vision.head.mlp) for p in m.parameters() if p.ndim == 2]
    others = [p for p in parameters if all(p is not one for one in matrices)]
    adam = torch.optim.AdamW(
        [*others, *reader.parameters()], betas=(0.9, 0.98), weight_decay=recipe.weight_decay
    )
    muon = torch.optim.Muon(
        matrices, weight_decay=recipe.weight_decay, adjust_lr_fn="match_rms_adamw"
    )
    rates = ((adam, recipe.search_rate), (muon, recipe.search_matrix_rate))
    average = Average(embedder, 0.99)
    path = out / "search.pt"
    parts = {
        "embedder": embedder, "reader": reader, "optimizers": [adam, muon], "average": average,
    }  # fmt: skip
    start, seconds = restore(load_checkpoint(path), parts)
    painter = Painter(mini.IMAGE_SIZE, device)
    journal = Journal(out / "search.jsonl", seconds)
    seed, pool, pool_number = recipe.seed * 1000 + 10, None, -1
    for step in range(start, recipe.search_steps):
        if pool is None or pool_number != step // recipe.search_pool_steps:
            pool_number = step // recipe.search_pool_steps
            pool = draw_pool(seed, pool_number, recipe.search_pool, painter, embedder, codes)
        for optimizer, rate in rates:
            for group in optimizer.param_groups:
                group["lr"] = rate * cosine(step, recipe.search_steps, recipe.search_warmup)
        chosen = generator(seed + 1, step).permutation(recipe.search_pool)[: recipe.search_frames]
        at = torch.from_numpy(chosen).to(device)
        batch = FramePool(pool.patches[at], pool.pairs[at], pool.wanted[at], pool.shown[at])
        with torch.autocast(device.type, torch.bfloat16):
            loss, told = search_losses(embedder, reader, batch, codes)
        descend(loss, [*parameters, *reader.parameters()], [adam, muon], recipe.clip)
        average.update(embedder)
        done = step + 1
        if done % recipe.log_every == 0:
            journal.write(
                stage="search", step=done, **{name: value.detach() for name, value in told.items()}
            )
        if done % recipe.save_every == 0 or done in (recipe.search_steps, stop_at):
            save_checkpoint(path, parts, done, journal.seconds)
        if done == stop_at:
            break
    return average.averaged(embedder)
