"""Stage 1: the vision tower and the text tower of the embedder.

Patches learn what they show (shape, colour, glyph, place, turn) from auxiliary heads that are
thrown away; the pooled vector learns to match texts about the frame, with sign texts up-weighted,
since without that it finds "a sign" and not which one. Frames of a batch come from different shots,
and the match of every text with every frame is known, so a text may have several right frames.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from longvid.models.mini import TEXT_LENGTH
from longvid.models.mini_vocabulary import BACKGROUNDS, COLORS, SHAPES, SIGNS
from longvid.world.draw import Painter, Poses, pack, pose
from longvid.world.scene import Shot, generator, make_shot
from pipelines.train_mini.patches import PatchTargets, patch_targets

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast, SiglipModel


@dataclass(frozen=True, slots=True)
class TowerBatch:
    """Frames with their patch targets, and texts with the frames they fit.

    pixels (N, 3, H, W) f32 in [-1, 1] · sign, background (N,) · text_ids (M, L) · fits (M, N) bool
    · text_weight (M,).
    """

    pixels: Tensor
    targets: PatchTargets
    sign: Tensor
    background: Tensor
    text_ids: Tensor
    fits: Tensor
    text_weight: Tensor


class PatchHeads(nn.Module):
    """Linear readers of patches and of the pooled vector, used in training only."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.kind = nn.Linear(width, 3)
        self.shape = nn.Linear(width, len(SHAPES))
        self.color = nn.Linear(width, len(COLORS))
        self.glyph = nn.Linear(width, len(SIGNS))
        self.background = nn.Linear(width, len(BACKGROUNDS))
        self.offset = nn.Linear(width, 3)
        self.turn = nn.Linear(width, 2)
        self.pooled_sign = nn.Linear(width, len(SIGNS) + 1)
        self.norm = nn.LayerNorm(width)
        self.pooled_norm = nn.LayerNorm(width)


def to_pixels(frames: Tensor) -> Tensor:
    """Map uint8 frames to the tower's range: (N, 3, H, W) f32 in [-1, 1]."""
    return frames.float() / 127.5 - 1.0


def disturb(frames: Tensor, rng: np.random.Generator, *, blurred: float = 0.3) -> Tensor:
    """Disturb frames as a codec and a scaler would: light, grain and, on some batches, blur.

    Args:
        blurred: Share of the batches with blur.
    """
    pixels = to_pixels(frames)
    count = len(pixels)
    light = torch.from_numpy(rng.uniform(-0.08, 0.08, (count, 1, 1, 1)).astype(np.float32))
    gain = torch.from_numpy(rng.uniform(0.92, 1.08, (count, 1, 1, 1)).astype(np.float32))
    pixels = pixels * gain.to(pixels.device) + light.to(pixels.device)
    if rng.random() < blurred:
        soft = F.avg_pool2d(pixels, 3, stride=1, padding=1, count_include_pad=False)
        pixels = pixels.lerp(soft, float(rng.uniform(0.2, 0.8)))
    if rng.random() < 0.5:
        grain = rng.standard_normal(pixels.shape[-2:], dtype=np.float32) * rng.uniform(0, 0.05)
        pixels = pixels + torch.from_numpy(grain.astype(np.float32)).to(pixels.device)
    return pixels.clamp(-1, 1)


def tower_batch(
    seed: int,
    step: int,
    num_frames: int,
    painter: Painter,
    tokenizer: PreTrainedTokenizerFast,
    num_texts: int = 64,
    *,
    clean: bool = False,
) -> TowerBatch:
    """Draw the batch of one step: a function of (seed, step)."""
    rng = generator(seed, step)
    shots = [
        make_shot(
            rng,
            1 + int(rng.random() * 4),
            sign=int(rng.random() * len(SIGNS)) if rng.random() < 0.6 else -1,
        )
        for _ in range(num_frames)
    ]
    table = pack(shots, painter.device)
    index = torch.arange(num_frames, device=painter.device)
    fraction = torch.from_numpy(rng.random(num_frames, dtype=np.float32)).to(painter.device)
    frames = painter.draw(table, index, fraction)
    poses = pose(table, index, fraction)
    grid = painter.size // 8
    texts, fits, weight = draw_texts(rng, shots, poses, num_texts)
    ids = tokenizer(texts, padding="max_length", max_length=TEXT_LENGTH, truncation=True)
    return TowerBatch(
        pixels=to_pixels(frames) if clean else disturb(frames, rng),
        targets=patch_targets(poses, table.scenery, grid),
        sign=table.scenery[:, 4].long(),
        background=table.scenery[:, 0].long(),
        text_ids=torch.tensor(ids["input_ids"], device=painter.device),
        fits=fits.to(painter.device),
        text_weight=weight.to(painter.device),
    )


PAIR_TEXTS = (
    "a {c} {s}",
    "the {c} {s}",
    "where is the {c} {s} ?",
    "how does the {c} {s} move ?",
    "is the {c} {s} big or small ?",
    "what happens to the {c} {s} ?",
    "is there a {c} {s} ?",
    "what is behind the {c} {s} ?",
    "what does the sign with the {c} {s} say ?",
    "which shape comes after the {c} {s} ?",
)
_SHAPE_TEXTS = (
    "a {s}",
    "what color is the {s} ?",
    "where is the {s} ?",
    "how does the {s} move ?",
    "what colour does the {s} become ?",
    "which sign is with the {s} ?",
)
_COLOR_TEXTS = ("a {c} object", "what shape is the {c} object ?", "where is the {c} object ?")
SIGN_TEXTS = (
    "sign {k}",
    "the sign {k}",
    "what shape is with sign {k} ?",
    "what is behind sign {k} ?",
    "which shape comes after sign {k} ?",
    "what background comes right before sign {k} ?",
    "what comes right after the shot with sign {k} ?",
    "how many objects are with sign {k} ?",
    "which shape is in the shot with sign {k} ?",
)
_SIGN_SHAPE_TEXTS = ("what color is the {s} with sign {k} ?", "a {s} with sign {k}")
_PLACE_TEXTS = ("{b}", "{b} background", "which background is {b} ?")
_PLACE_PAIR_TEXTS = ("a {c} {s} on {b}", "the {c} {s} on {b}")


def draw_texts(
    rng: np.random.Generator, shots: list[Shot], poses: Poses, num_texts: int
) -> tuple[list[str], Tensor, Tensor]:
    """Draw texts about the frames: the texts, which frames each fits (M, N), their weights."""
    shape, color, visible = poses.shape.cpu(), poses.color.cpu(), poses.visible.cpu()
    sign = torch.tensor([shot.sign for shot in shots])
    place = torch.tensor([shot.background for shot in shots])
    texts: list[str] = []
    fits: list[Tensor] = []
    weights: list[float] = []
    seen = visible.numpy()
    while len(texts) < num_texts:
        at = int(rng.random() * len(shots))
        slots = np.flatnonzero(seen[at])
        kind = rng.random()
        s = c = -1
        if len(slots):
            slot = int(slots[int(rng.random() * len(slots))])
            s, c = int(shape[at, slot]), int(color[at, slot])
        k, b = shots[at].sign, shots[at].background
        weight = 1.0
        pool: tuple[str, ...]
        if kind < 0.40 and s >= 0:
            pool, k, b = PAIR_TEXTS, -1, -1
        elif kind < 0.70 and k >= 0:
            pool, s, c, b, weight = SIGN_TEXTS, -1, -1, -1, 2.0
        elif kind < 0.80 and s >= 0 and k >= 0:
            pool, c, b, weight = _SIGN_SHAPE_TEXTS, -1, -1, 1.5
        elif kind < 0.86 and s >= 0:
            pool, c, k, b = _SHAPE_TEXTS, -1, -1, -1
        elif kind < 0.91 and s >= 0:
            pool, s, k, b = _COLOR_TEXTS, -1, -1, -1
        elif kind < 0.95:
            pool, s, c, k = _PLACE_TEXTS, -1, -1, -1
        elif s >= 0:
            pool, k = _PLACE_PAIR_TEXTS, -1
        else:
            continue
        template = pool[0] if rng.random() < 0.3 else pool[int(rng.random() * len(pool))]
        texts.append(template.format(s=SHAPES[s], c=COLORS[c], k=SIGNS[k], b=BACKGROUNDS[b]))
        fit = torch.ones(len(shots), dtype=torch.bool)
        if s >= 0 or c >= 0:
            thing = visible.clone()
            if s >= 0:
                thing &= shape == s
            if c >= 0:
                thing &= color == c
            fit &= thing.any(dim=1)
        if k >= 0:
            fit &= sign == k
        if b >= 0:
            fit &= place == b
        fits.append(fit)
        weights.append(weight)
    return texts, torch.stack(fits), torch.tensor(weights)


def tower_losses(
    embedder: SiglipModel, heads: PatchHeads, batch: TowerBatch
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return the named losses of a batch and the named accuracies."""
    vision = embedder.vision_model(batch.pixels, output_hidden_states=True)
    # (N, P, D), what the answering model reads; the layer after it is the identity in this stage
    patches = heads.norm(vision.hidden_states[-2].float())
    pooled = vision.pooler_output.float()
    target = batch.targets
    thing = target.shape >= 0
    kind = torch.where(thing, 1, torch.where(target.glyph >= 0, 2, 0))
    on_thing, on_sign, on_turn = (
        patches[thing],
        patches[target.glyph >= 0],
        patches[target.has_turn],
    )
    shape_logits, glyph_logits = heads.shape(on_thing), heads.glyph(on_sign)
    color_logits = heads.color(on_thing)
    sign_logits = heads.pooled_sign(heads.pooled_norm(pooled))
    shape, color = target.shape[thing], target.color[thing]
    glyph = target.glyph[target.glyph >= 0]
    background = batch.background[:, None].expand_as(kind)[kind == 0]
    background_logits = heads.background(patches[kind == 0])
    image = F.normalize(pooled, dim=-1)
    text = F.normalize(embedder.text_model(batch.text_ids).pooler_output.float(), dim=-1)
    cosine = text @ image.T  # (M, N)
    logits = cosine * embedder.logit_scale.exp().clamp(max=100.0)
    fits = batch.fits
    weight = batch.text_weight / batch.text_weight.sum()
    far = torch.finfo(logits.dtype).min
    right = torch.logsumexp(logits.masked_fill(~fits, far), dim=1)
    contrast = (weight * (torch.logsumexp(logits, dim=1) - right)).sum()
    both = logits.detach() + embedder.logit_bias
    sigmoid = F.binary_cross_entropy_with_logits(both, fits.float())
    losses = {
        "shape": F.cross_entropy(shape_logits, shape),
        "color": F.cross_entropy(color_logits, color),
        "glyph": F.cross_entropy(glyph_logits, glyph),
        "kind": F.cross_entropy(heads.kind(patches).flatten(0, 1), kind.flatten()),
        "background": F.cross_entropy(background_logits, background),
        "offset": F.smooth_l1_loss(heads.offset(on_thing), target.offset[thing], beta=0.3),
        "turn": F.smooth_l1_loss(heads.turn(on_turn), target.turn[target.has_turn], beta=0.3),
        "sign": F.cross_entropy(sign_logits, batch.sign + 1),
        "contrast": contrast,
        "sigmoid": sigmoid,
    }
    top = logits.argmax(dim=1)
    hit = fits.gather(1, top[:, None])[:, 0].float()
    is_sign = batch.text_weight == 2.0
    accuracies = {
        "shape": (shape_logits.argmax(-1) == shape).float().mean(),
        "color": (color_logits.argmax(-1) == color).float().mean(),
        "glyph": (glyph_logits.argmax(-1) == glyph).float().mean(),
        "sign": (sign_logits.argmax(-1) == batch.sign + 1).float().mean(),
        "match": hit[~is_sign].mean(),
        "match_sign": hit[is_sign].mean(),
    }
    return losses, accuracies


WEIGHTS = {
    "shape": 1.0,
    "color": 0.5,
    "glyph": 0.6,
    "kind": 0.5,
    "background": 0.2,
    "offset": 0.5,
    "turn": 0.3,
    "sign": 0.5,
    "contrast": 1.0,
    "sigmoid": 0.1,
}


def weighted(losses: dict[str, Tensor], progress: float) -> Tensor:
    """Sum the losses; matching starts at a fifth of its weight, while patches learn to see."""
    ramp = min(1.0, 0.2 + 2.4 * progress)
    total = torch.zeros((), device=losses["shape"].device)
    for name, loss in losses.items():
        total = total + WEIGHTS[name] * loss * (ramp if name in ("contrast", "sign") else 1.0)
    return total


@torch.no_grad()
def retrieval_recall(
    embedder: SiglipModel,
    tokenizer: PreTrainedTokenizerFast,
    painter: Painter,
    seed: int,
    num_frames: int,
) -> dict[str, float]:
    """Measure text-to-frame recall among clean frames of different shots.

    Texts of one kind at a time; a text counts as found at k if one of its k best frames fits it.
    """
    batch = tower_batch(seed, 0, num_frames, painter, tokenizer, num_texts=400, clean=True)
    image = F.normalize(embedder.vision_model(batch.pixels).pooler_output.float(), dim=-1)
    text = F.normalize(embedder.text_model(batch.text_ids).pooler_output.float(), dim=-1)
    order = (text @ image.T).topk(8, dim=1).indices
    hit = batch.fits.gather(1, order)
    row: dict[str, float] = {}
    for name, mask in (
        ("pair", batch.text_weight == 1.0),
        ("sign", batch.text_weight == 2.0),
        ("sign_shape", batch.text_weight == 1.5),
    ):
        row[f"{name}_r1"] = float(hit[mask, :1].any(1).float().mean())
        row[f"{name}_r8"] = float(hit[mask].any(1).float().mean())
        row[f"{name}_p8"] = float(hit[mask].float().mean())
    return row
