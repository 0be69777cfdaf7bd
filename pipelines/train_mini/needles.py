"""How well the embedder finds one place in an hour: segments as the store ranks them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from longvid.models.mini import TEXT_LENGTH
from longvid.models.mini_vocabulary import COLORS, SHAPES, SIGNS
from longvid.store.chunk_encoding import segment_vectors
from longvid.world.draw import Painter, Poses, pack, pose
from longvid.world.scene import Film, generator, make_film
from pipelines.train_mini.tower import PAIR_TEXTS, SIGN_TEXTS, to_pixels

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast, SiglipModel

FPS, SEGMENT_FRAMES, VECTORS = 1.0, 16, 4
"""As the presets sample and store: a segment is found by the best of its vectors."""


@torch.no_grad()
def needle_recall(
    embedder: SiglipModel,
    tokenizer: PreTrainedTokenizerFast,
    painter: Painter,
    seed: int,
    *,
    num_films: int = 4,
    seconds: float = 3600.0,
    per_film: int = 40,
) -> dict[str, float]:
    """Measure in how many searches a named shot is among the 1 and the 8 nearest segments.

    A shot is named by a shape with its colour, or by its sign. Other segments that the text fits
    too are left out of the ranking, as if the shot were the only one; all near misses stay.

    Returns:
        `pair_r1`, `pair_r8`, `sign_r1`, `sign_r8`.
    """
    found: dict[str, list[int]] = {"pair": [], "sign": []}
    for index in range(num_films):
        film = make_film(seed, index, duration_seconds=seconds)
        vectors, pairs, signs, shot_of = _segments(embedder, painter, film)
        rng = generator(seed + 1, index)
        for number in range(per_film):
            shot = int(rng.random() * len(film.shots))
            mine = (shot_of == shot).any(1)  # (S,)
            thing = film.shots[shot].things[int(rng.random() * len(film.shots[shot].things))]
            sign = film.shots[shot].sign
            kind, fits = "pair", pairs[:, thing.shape, thing.color]
            pool: tuple[str, ...] = PAIR_TEXTS
            if number % 2:
                kind, fits, pool = "sign", signs[:, sign], SIGN_TEXTS
            if (kind == "sign" and sign < 0) or not bool((mine & fits).any()):
                continue
            text = pool[int(rng.random() * len(pool))].format(
                s=SHAPES[thing.shape], c=COLORS[thing.color], k=SIGNS[sign]
            )
            score = (vectors @ _embed(embedder, tokenizer, text, painter)).max(1).values  # (S,)
            best = score[mine & fits].max()
            found[kind].append(int(((score > best) & ~fits).sum()))
    row: dict[str, float] = {}
    for kind, ranks in found.items():
        row[f"{kind}_r1"] = float(np.mean([rank < 1 for rank in ranks]))
        row[f"{kind}_r8"] = float(np.mean([rank < 8 for rank in ranks]))
        row[f"{kind}_n"] = len(ranks)
    return row


def _embed(
    embedder: SiglipModel, tokenizer: PreTrainedTokenizerFast, text: str, painter: Painter
) -> Tensor:
    ids = tokenizer([text], padding="max_length", max_length=TEXT_LENGTH, truncation=True)
    tokens = torch.tensor(ids["input_ids"], device=painter.device)
    return F.normalize(embedder.text_model(tokens).pooler_output.float(), dim=-1)[0]


def _segments(
    embedder: SiglipModel, painter: Painter, film: Film
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Index a film without files.

    Returns:
        Search vectors (S, V, E); which pairs (S, shapes, colours) and signs (S, signs) are seen in
        a segment; the shot of each of its frames (S, T).
    """
    count = int(film.duration_seconds * FPS) // SEGMENT_FRAMES * SEGMENT_FRAMES
    shot, fraction = film.locate(np.arange(count) / FPS)
    table = pack(film.shots, painter.device)
    index = torch.from_numpy(np.asarray(shot)).to(painter.device)
    passed = torch.from_numpy(np.asarray(fraction, dtype=np.float32)).to(painter.device)
    embedded = []
    for part in torch.split(torch.arange(count, device=painter.device), 128):
        pixels = to_pixels(painter.draw(table, index[part], passed[part]))
        with torch.autocast(painter.device.type, torch.bfloat16):
            embedded.append(embedder.vision_model(pixels).pooler_output.float())
    frames = torch.split(F.normalize(torch.cat(embedded), dim=-1).cpu(), SEGMENT_FRAMES)
    vectors = torch.stack([segment_vectors(segment, VECTORS) for segment in frames])
    shape = (-1, SEGMENT_FRAMES)
    pairs = _pairs(pose(table, index, passed)).reshape(*shape, len(SHAPES), len(COLORS)).any(1)
    sign = table.scenery[index, 4].long() + 1
    signs = F.one_hot(sign, len(SIGNS) + 1)[:, 1:].bool().reshape(*shape, len(SIGNS)).any(1)
    return vectors.to(painter.device), pairs, signs, index.reshape(shape)


def _pairs(poses: Poses) -> Tensor:
    """Return which pairs of shape and colour each frame shows, (N, shapes, colours)."""
    seen = torch.zeros(len(poses.shape), len(SHAPES), len(COLORS), dtype=torch.bool)
    seen = seen.to(poses.shape.device)
    frame, slot = poses.visible.nonzero(as_tuple=True)
    seen[frame, poses.shape[frame, slot], poses.color[frame, slot]] = True
    return seen
