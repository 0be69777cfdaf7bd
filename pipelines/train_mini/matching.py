"""Stages 2 and 3: the embedder's pooling and text tower, on the frozen tower's patches.

Stage 1 asks that some frame that fits a text be near it. A needle asks more: that each frame which
fits be nearer than every frame which does not, among thousands with the same shapes and colours in
other pairs. With the tower frozen a step can compare many hundred frames, so the near misses are
all there. Texts that name no place ("which sign comes first ?") learn to be far from every frame,
so that a search can tell them by their best score.

Stage 2 trains the pooling head alone, which is quick. Pooling sums patches, and a sum cannot tell a
red star beside a blue ring from a blue star beside a red ring; so stage 3 adds a last layer that is
the search's own, to join what belongs together in every patch before the sum.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from longvid.models.mini import TEXT_LENGTH
from longvid.models.mini_vocabulary import SIGNS
from longvid.world.draw import Painter, Poses, pack, pose
from longvid.world.scene import Shot, generator, make_shot
from pipelines.train_mini.tower import disturb, draw_texts

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast, SiglipModel

PLACELESS_TEXTS = (
    *(
        template.format(x=noun, e=end)
        for template in ("which {x} comes {e} ?", "what is the {e} {x} ?")
        for noun in ("background", "sign", "shape")
        for end in ("first", "last")
    ),
    "what is the background ?",
    "what is in the background ?",
    "what does the sign say ?",
    "which letter or digit is on the sign ?",
    "what can you read on the sign ?",
    "how many objects are there ?",
    "how many things are in the video ?",
    "how many objects do you see ?",
)
"""Questions about a film that describe nothing in it."""

AWAY = 0.1
"""The cosine that frames stay below where a text names no place."""


@dataclass(frozen=True, slots=True)
class FramePool:
    """Frames of different shots: the frozen tower's patches (N, P, D), and what they show."""

    patches: Tensor
    shots: tuple[Shot, ...]
    poses: Poses


@dataclass(frozen=True, slots=True)
class MatchBatch:
    """Patches (N, P, D), text ids (M, L), and which frames each text fits (M, N), if any."""

    patches: Tensor
    text_ids: Tensor
    fits: Tensor


@torch.no_grad()
def draw_pool(
    seed: int, number: int, num_frames: int, painter: Painter, embedder: SiglipModel
) -> FramePool:
    """Draw a pool of frames: a function of (seed, number) and the tower."""
    rng = generator(seed, number)
    shots = tuple(
        make_shot(
            rng,
            (1, 2, 3, 3, 4, 4)[int(rng.random() * 6)],
            sign=int(rng.random() * len(SIGNS)) if rng.random() < 0.6 else -1,
            twin_rate=(0.0, 0.3, 0.9)[int(rng.random() * 3)],
        )
        for _ in range(num_frames)
    )
    table = pack(shots, painter.device)
    index = torch.arange(num_frames, device=painter.device)
    fraction = torch.from_numpy(rng.random(num_frames, dtype=np.float32)).to(painter.device)
    patches = []
    tower = embedder.vision_model
    for part in torch.split(index, 128):
        pixels = disturb(painter.draw(table, part, fraction[part]), rng)
        with torch.autocast(painter.device.type, torch.bfloat16):
            seen = tower(pixels, output_hidden_states=True).hidden_states[-2]
        patches.append(seen.to(torch.bfloat16))
    return FramePool(torch.cat(patches), shots, pose(table, index, fraction))


def match_batch(
    seed: int,
    step: int,
    pool: FramePool,
    num_frames: int,
    num_texts: int,
    tokenizer: PreTrainedTokenizerFast,
) -> MatchBatch:
    """Take frames of a pool and draw texts about them: a function of (seed, step) and the pool."""
    rng = generator(seed, step)
    chosen = torch.from_numpy(rng.permutation(len(pool.shots))[:num_frames])
    device = pool.patches.device
    at = chosen.to(device)
    poses = Poses(**{name: getattr(pool.poses, name)[at] for name in Poses.__slots__})
    shots = [pool.shots[i] for i in chosen.tolist()]
    texts, fits, _ = draw_texts(rng, shots, poses, num_texts)
    placeless = [PLACELESS_TEXTS[i] for i in rng.integers(0, len(PLACELESS_TEXTS), num_texts // 10)]
    texts += placeless
    fits = F.pad(fits, (0, 0, 0, len(placeless)))
    ids = tokenizer(texts, padding="max_length", max_length=TEXT_LENGTH, truncation=True)
    return MatchBatch(
        pool.patches[at], torch.tensor(ids["input_ids"], device=device), fits.to(device)
    )


def matched_parts(embedder: SiglipModel, *, bind: bool) -> list[nn.Parameter]:
    """Return what a stage trains: the pooling head, the text tower and the scale.

    Args:
        bind: And the tower's last layer with its norm.
    """
    vision = embedder.vision_model
    parts = [vision.head, embedder.text_model]
    if bind:
        parts += [vision.encoder.layers[-1], vision.post_layernorm]
    return [*(p for part in parts for p in part.parameters()), embedder.logit_scale]


def pool_patches(embedder: SiglipModel, patches: Tensor, *, bind: bool) -> Tensor:
    """Finish the tower: patches (N, P, D) of its last layer but one to unit vectors (N, E).

    Args:
        bind: Run the last layer too; before stage 3 it is the identity.
    """
    vision = embedder.vision_model
    if bind:
        patches = vision.encoder.layers[-1](patches, None)
    return F.normalize(vision.head(vision.post_layernorm(patches)).float(), dim=-1)


def match_loss(embedder: SiglipModel, batch: MatchBatch, *, bind: bool) -> tuple[Tensor, Tensor]:
    """Return the loss of a batch, and the share of right pairs nearer than every wrong frame.

    Each frame that fits a text is compared with all that do not; others that fit stay out of it.
    Where none fits, all are compared with a cosine of `AWAY`.
    """
    image = pool_patches(embedder, batch.patches.float(), bind=bind)
    text = F.normalize(embedder.text_model(batch.text_ids).pooler_output.float(), dim=-1)
    scale = embedder.logit_scale.exp().clamp(max=100.0)
    logits = (text @ image.T) * scale  # (M, N)
    far = torch.finfo(logits.dtype).min
    wrong = torch.logsumexp(logits.masked_fill(batch.fits, far), dim=1, keepdim=True)
    each = F.softplus(wrong - logits)
    count = batch.fits.sum(1).clamp(min=1)
    named = batch.fits.any(1)
    nothing = F.softplus(wrong[:, 0] - scale * AWAY)
    loss = torch.where(named, (each * batch.fits).sum(1) / count, nothing).mean()
    hardest = logits.masked_fill(batch.fits, far).max(dim=1, keepdim=True).values
    ahead = ((logits > hardest) & batch.fits).sum(1) / count
    return loss, ahead[named].mean()
