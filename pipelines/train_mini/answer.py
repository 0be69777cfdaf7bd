"""Stage 4: the answering model on the frozen tower's features.

One row holds the visual tokens of a film and several questions about it; a question sees the film
and itself, not the other questions. Beside the answers, auxiliary heads (thrown away afterwards)
read from a middle layer what each visual token shows and how that thing has moved since the shot
began: a dense signal without which motion and counting need far more questions to be learned.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import LlavaOnevisionForConditionalGeneration

from longvid.models.mini_vocabulary import BACKGROUNDS, COLORS, SHAPES, SIGNS
from pipelines.train_mini.compression import Compressed, compress
from pipelines.train_mini.stream import FilmBatch

MIDDLE_LAYER = 3
LOOK_LAYER, LOOK_HEADS = 3, 2
"""The layer and the number of its heads that are shown where to look; it reads the middle layer."""
NUM_STATES = 14
_WHOLE_SHOT = 7
"""Stands for all tokens of a shot where a number of a thing is expected."""


class AnswerHeads(nn.Module):
    """Linear readers of the middle layer, used in training only."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.shape = nn.Linear(width, len(SHAPES))
        self.color = nn.Linear(width, len(COLORS))
        self.state = nn.Linear(width, NUM_STATES)
        self.path = nn.Linear(width, 5)
        self.count = nn.Linear(width, 5)
        self.present = nn.Linear(width, 16)
        self.sign = nn.Linear(width, len(SIGNS) + 1)
        self.background = nn.Linear(width, len(BACKGROUNDS))
        self.sign_before = nn.Linear(width, len(SIGNS) + 2)
        self.background_before = nn.Linear(width, len(BACKGROUNDS) + 1)
        self.shape_before = nn.Linear(width, len(SHAPES) + 2)
        self.tally = nn.Linear(width, 16 * 4)
        self.asked_norm = nn.LayerNorm(width)
        self.asked = nn.Linear(width, NUM_STATES)


@dataclass(frozen=True, slots=True)
class Outcome:
    """Losses of a step, and for every question whether all its answer tokens were right."""

    losses: dict[str, Tensor]
    right: list[list[bool]]
    state_accuracy: Tensor


@torch.no_grad()
def whiten_projector(model: LlavaOnevisionForConditionalGeneration, features: Tensor) -> None:
    """Set the projector so that its hidden layer starts from whitened features.

    The tower's features differ in scale by three orders between directions; folding the whitening
    into the first weight keeps the architecture as it is.

    Args:
        features: (N, W) samples of the tower's output.
    """
    first, second = (
        model.model.multi_modal_projector.linear_1,
        model.model.multi_modal_projector.linear_2,
    )
    sample = features.double()
    mean = sample.mean(0)
    values, vectors = torch.linalg.eigh(torch.cov(sample.T))
    whiten = vectors @ torch.diag((values + 1e-3 * values.mean()).rsqrt()) @ vectors.T
    width = first.in_features
    rotate = torch.empty(first.out_features, width, dtype=torch.double)
    generator = torch.Generator().manual_seed(0)
    rotate.normal_(0, width**-0.5, generator=generator)
    weight = rotate.to(mean.device) @ whiten
    first.weight.copy_(weight)
    first.bias.copy_(-weight @ mean)
    spread = torch.empty(second.weight.shape)  # drawn on the CPU: the same on every device
    spread.normal_(0, 0.6 * second.in_features**-0.5, generator=generator)
    second.weight.copy_(spread)
    second.bias.zero_()


@dataclass(frozen=True, slots=True)
class _Row:
    """Visual tokens in sequence: data (B, V, D), valid (B, V), source (B, V) flat index or -1."""

    data: Tensor
    valid: Tensor
    source: Tensor


def _sequence(tokens: Compressed, separator: Tensor, prefix: bool) -> _Row:
    """Lay each film's kept tokens in a row, a separator before each frame, padding at the end."""
    b, f, n, d = tokens.data.shape
    device = tokens.data.device
    source = torch.arange(b * f * n, device=device).reshape(b, f, n)
    data, keep = tokens.data, tokens.keep
    if prefix:
        data = torch.cat([separator.to(data.dtype).expand(b, f, 1, d), data], dim=2)
        one = torch.ones(b, f, 1, dtype=torch.bool, device=device)
        keep = torch.cat([one, keep], dim=2)
        source = torch.cat([torch.full_like(source[..., :1], -1), source], dim=2)
    flat, keep, source = data.flatten(1, 2), keep.flatten(1), source.flatten(1)
    if bool(keep.all()):
        return _Row(flat, keep, source)
    length = min(-(-int(keep.sum(1).max()) // 32) * 32, keep.shape[1])
    order = (~keep).long().argsort(dim=1, stable=True)[:, :length]
    valid = keep.gather(1, order)
    return _Row(
        flat.gather(1, order[..., None].expand(-1, -1, d)),
        valid,
        torch.where(valid, source.gather(1, order), -1),
    )


def answer_step(
    model: LlavaOnevisionForConditionalGeneration,
    heads: AnswerHeads,
    batch: FilmBatch,
    rng: np.random.Generator,
    frame_token: int,
) -> Outcome:
    """Run the answering model on a batch; `rng` draws the compression."""
    projected = model.model.multi_modal_projector(batch.features)
    tokens = compress(projected, batch.plan, rng)
    embed = model.model.language_model.embed_tokens
    row = _sequence(tokens, embed.weight[frame_token], batch.plan.prefix)
    text = batch.text
    dtype = row.data.dtype
    embeds = torch.cat([row.data, embed(text.ids).to(dtype)], dim=1)
    num_visual = row.valid.sum(1, keepdim=True)
    position = torch.cat([row.valid.long().cumsum(1) - 1, num_visual + text.place], dim=1).clamp(
        min=0
    )
    group = torch.cat([torch.zeros_like(row.source), text.group], dim=1)
    valid = torch.cat([row.valid, text.group > 0], dim=1)
    length = embeds.shape[1]
    index = torch.arange(length, device=embeds.device)
    allowed = (index[None, :] <= index[:, None])[None] & valid[:, None, :]
    allowed = allowed & ((group[:, None, :] == 0) | (group[:, None, :] == group[:, :, None]))
    allowed = allowed | torch.eye(length, dtype=torch.bool, device=embeds.device)
    mask = torch.zeros(allowed.shape, dtype=dtype, device=embeds.device)
    mask = mask.masked_fill(~allowed, torch.finfo(dtype).min)[:, None]
    output = model.model.language_model(
        inputs_embeds=embeds,
        attention_mask=mask,
        position_ids=position,
        use_cache=False,
        output_hidden_states=True,
        output_attentions=True,
    )
    num = row.data.shape[1]
    answering = text.label >= 0
    logits = model.lm_head(output.last_hidden_state[:, num:]).float()
    entropy = F.cross_entropy(logits.flatten(0, 1), text.label.flatten(), reduction="sum")
    losses = {"answer": entropy / answering.sum().clamp(min=1)}
    middle = heads.norm(output.hidden_states[MIDDLE_LAYER][:, :num].float())
    state_accuracy = _auxiliary(losses, heads, batch, tokens, row, middle)
    if output.attentions:  # empty under a fused kernel, which keeps no weights
        losses["look"] = _look_loss(output.attentions[LOOK_LAYER], batch, tokens, row)
    asked = heads.asked(heads.asked_norm(output.hidden_states[LOOK_LAYER + 1][:, num:].float()))
    total = F.cross_entropy(asked.flatten(0, 1).float(), text.state.flatten(), reduction="sum")
    losses["asked"] = total / (text.state >= 0).sum().clamp(min=1)
    wrong = (logits.argmax(-1) != text.label) & answering
    right = [[True] * len(questions) for questions in text.questions]
    for film, at in wrong.nonzero().tolist():
        right[film][int(text.group[film, at]) - 1] = False
    return Outcome(losses, right, state_accuracy)


def _look_loss(attention: Tensor, batch: FilmBatch, tokens: Compressed, row: _Row) -> Tensor:
    """Return how little the first heads look, before answering, at the things asked about.

    Without it the model finds early what a thing is and late which thing is meant. What comes after
    a shot is told by the tokens of the next one, which have seen both.

    Args:
        attention: (B, heads, L, L) weights of one layer.
    """
    num, n = row.data.shape[1], tokens.data.shape[2]
    at = row.source.clamp(min=0)
    patch = torch.where(row.source >= 0, tokens.patch.flatten()[at], -1)
    slot = torch.where(patch >= 0, batch.targets.owner[at // n, patch.clamp(min=0)], -1)
    code = torch.where(slot >= 0, batch.frame_shot[at // n] * 8 + slot, -1)  # (B, V)
    text = batch.text
    first = torch.ones_like(text.group, dtype=torch.bool)
    first[:, 1:] = (text.label[:, :-1] < 0) | (text.group[:, 1:] != text.group[:, :-1])
    film, position = ((text.label >= 0) & first).nonzero(as_tuple=True)
    in_shot = torch.where(row.source >= 0, batch.frame_shot[at // n] * 8 + _WHOLE_SHOT, -1)
    wanted = [
        [question.shots[-1] * 8 + _WHOLE_SHOT]
        if question.type == "after"
        else [shot * 8 + slot for shot, slot in question.things]
        for questions in text.questions
        for question in questions
    ]
    width = max((len(codes) for codes in wanted), default=1) or 1
    rows = [codes + [-2] * (width - len(codes)) for codes in wanted]
    padded = torch.tensor(rows, device=code.device).reshape(len(rows), width)  # one row an answer
    target = (code[film][:, :, None] == padded[:, None, :]).any(-1)  # (Q, V)
    target = target | (in_shot[film][:, :, None] == padded[:, None, :]).any(-1)
    shown = target.any(-1)
    weights = attention[:, :LOOK_HEADS, num:, :num].float()[film, :, position]  # (Q, heads, V)
    mass = (weights * target[:, None]).sum(-1)
    loss = -mass.clamp(min=1e-4).log().mean(-1)
    return (loss * shown).sum() / shown.sum().clamp(min=1)


def _auxiliary(
    losses: dict[str, Tensor],
    heads: AnswerHeads,
    batch: FilmBatch,
    tokens: Compressed,
    row: _Row,
    middle: Tensor,
) -> Tensor:
    """Add the losses of the middle layer; return the accuracy of the motion head.

    The heads read every position and the targets are masked: shapes that stay the same from step to
    step spare the compilation of new kernels.
    """
    n = tokens.data.shape[2]
    at = row.source.clamp(min=0)
    frame = at // n  # (B, V) frame of the batch
    patch = torch.where(row.source >= 0, tokens.patch.flatten()[at], -1)
    slot = batch.targets.owner[frame, patch.clamp(min=0)]
    thing = (patch >= 0) & (slot >= 0) & (slot < 4)
    slot = slot.clamp(0, 3)

    def masked(values: Tensor, mask: Tensor) -> Tensor:
        return torch.where(mask, values, -100).flatten()

    def entropy(head: nn.Linear, values: Tensor, mask: Tensor) -> Tensor:
        scores = head(middle).float().flatten(0, 1)
        total = F.cross_entropy(scores, masked(values, mask), reduction="sum")
        return total / mask.sum().clamp(min=1)

    shown = patch.clamp(min=0)
    losses["shape"] = entropy(heads.shape, batch.targets.shape[frame, shown], thing)
    losses["color"] = entropy(heads.color, batch.targets.color[frame, shown], thing)
    path = F.smooth_l1_loss(
        heads.path(middle).float(), batch.path[frame, slot], beta=0.1, reduction="none"
    )
    losses["path"] = (path.mean(-1) * thing).sum() / thing.sum().clamp(min=1)
    state = batch.state[frame, slot]
    told = thing & (state >= 0)
    losses["state"] = entropy(heads.state, state, told)
    hit = (heads.state(middle.detach()).argmax(-1) == state) & told
    blank = torch.full_like(frame[:, :1], -1)
    following = torch.cat([row.source[:, 1:], blank], dim=1)  # -1: a separator, padding or the end
    next_frame = torch.cat([frame[:, 1:], blank], dim=1)
    last = (row.source >= 0) & ((following < 0) | (next_frame != frame))
    losses["count"] = entropy(heads.count, batch.count[frame], last)
    every = row.source >= 0
    losses["sign"] = entropy(heads.sign, batch.sign[frame], every)
    losses["background"] = entropy(heads.background, batch.background[frame], every)
    if batch.plan.num_shots > 1:
        losses["sign_before"] = entropy(heads.sign_before, batch.sign_before[frame], every)
        before = batch.background_before[frame]
        losses["background_before"] = entropy(heads.background_before, before, every)
        losses["shape_before"] = entropy(heads.shape_before, batch.shape_before[frame], every)
    present = F.binary_cross_entropy_with_logits(
        heads.present(middle).float(), batch.present[frame], reduction="none"
    )
    losses["present"] = (present.mean(-1) * last).sum() / last.sum().clamp(min=1)
    tally = heads.tally(middle).float().unflatten(-1, (16, 4))  # (B, V, 16, 4)
    each = F.cross_entropy(tally.movedim(-1, 1), batch.tally[frame], reduction="none")
    losses["tally"] = (each.mean(-1) * last).sum() / last.sum().clamp(min=1)
    accuracy: Tensor = hit.sum() / told.sum().clamp(min=1)
    return accuracy


WEIGHTS = {
    "answer": 1.0,
    "shape": 0.15,
    "color": 0.1,
    "path": 2.0,
    "state": 0.3,
    "count": 0.1,
    "present": 0.2,
    "sign": 0.1,
    "background": 0.05,
    "tally": 0.5,
    "sign_before": 0.25,
    "background_before": 0.12,
    "shape_before": 0.25,
    "asked": 0.2,
    "look": 0.1,
}


def weighted(losses: dict[str, Tensor]) -> Tensor:
    """Sum the losses by their weights."""
    total = torch.zeros((), device=losses["answer"].device)
    for name, loss in losses.items():
        total = total + WEIGHTS[name] * loss
    return total
