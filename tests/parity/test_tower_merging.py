"""Merging inside a tower, against a plain reading of the paper: one picture and token at a time."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from transformers import CLIPVisionConfig, CLIPVisionModel, SiglipVisionConfig, SiglipVisionModel

from longvid.errors import ConfigError, ModelError
from longvid.methods.tome_tower import MergeSchedule, merge_inside

SHAPE = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "image_size": 24,
    "patch_size": 4,
}


def build(kind: str) -> Any:
    torch.manual_seed(2)
    if kind == "clip":
        return CLIPVisionModel(CLIPVisionConfig(initializer_range=0.3, **SHAPE)).eval()
    model = SiglipVisionModel(SiglipVisionConfig(**SHAPE)).eval()
    for weight in model.parameters():
        weight.data += 0.05 * torch.randn(weight.shape)
    return model


def pixels() -> torch.Tensor:
    return torch.randn(3, 3, 24, 24, generator=torch.Generator().manual_seed(5))


def attend(layer: Any, x: torch.Tensor, size: list[float], proportional: bool) -> Any:
    """softmax(q k / sqrt(d) + log s) v, head by head; returns it with the mean of keys."""
    attention = layer.self_attn
    heads, width = 4, x.shape[1] // 4
    q, k, v = (
        getattr(attention, f"{name}_proj")(x).view(-1, heads, width).transpose(0, 1)
        for name in "qkv"
    )
    scores = q @ k.transpose(1, 2) / math.sqrt(width)
    if proportional:
        scores = scores + torch.tensor(size).log()
    mixed = (scores.softmax(-1) @ v).transpose(0, 1).flatten(1)
    return attention.out_proj(mixed), k.mean(0)


def merge_slowly(
    x: torch.Tensor,
    keys: torch.Tensor,
    size: list[float],
    patches: list[list[int]],
    r: int,
    protected: int,
) -> tuple[torch.Tensor, list[float], list[list[int]]]:
    """Join the r even tokens that are most like an odd one to it, in ToMe's order."""
    unit = keys / keys.norm(dim=1, keepdim=True)
    even, odd = range(0, len(x), 2), range(1, len(x), 2)
    r = min(r, (len(x) - protected) // 2)
    best = []
    for a in even:
        if a < protected:
            continue
        score, b = max((float(unit[a] @ unit[b]), -b) for b in odd)
        best.append((score, a, -b))
    best.sort(key=lambda entry: (-entry[0], entry[1]))
    joins = {a: b for _, a, b in best[:r]}
    stay = [a for _, a, _ in best[r:]]
    stay = [a for a in even if a < protected] + (sorted(stay) if protected else stay)
    rows, sizes, stands_for = [], [], []
    for n in [*stay, *odd]:
        group = [n, *sorted(a for a, b in joins.items() if b == n)]
        total = sum(size[m] for m in group)
        rows.append(sum(size[m] * x[m] for m in group) / total)
        sizes.append(total)
        stands_for.append([p for m in group for p in patches[m]])
    return torch.stack(rows), sizes, stands_for


@torch.no_grad()
def slowly(model: Any, kind: str, schedule: MergeSchedule) -> list[torch.Tensor]:
    """Return the state after every layer, (B, N, C), each patch with its merged token."""
    embedded = model.embeddings(pixels())
    if kind == "clip":
        embedded = model.pre_layrnorm(embedded)
    amounts = schedule.by_layer(4)
    states: list[list[torch.Tensor]] = [[] for _ in amounts]
    for x in embedded:
        num_patches = len(x)
        size, patches = [1.0] * num_patches, [[n] for n in range(num_patches)]
        for index, (layer, r) in enumerate(zip(model.encoder.layers, amounts, strict=True)):
            mixed, keys = attend(layer, layer.layer_norm1(x), size, schedule.proportional)
            x = x + mixed
            if r:
                x, size, patches = merge_slowly(x, keys, size, patches, r, int(kind == "clip"))
            x = x + layer.mlp(layer.layer_norm2(x))
            whole = torch.empty(num_patches, x.shape[1])
            for row, members in zip(x, patches, strict=True):
                whole[members] = row
            states[index].append(whole)
    return [torch.stack(state) for state in states]


@pytest.mark.parametrize("kind", ["siglip", "clip"])
@pytest.mark.parametrize(
    "schedule",
    [MergeSchedule(5), MergeSchedule(4, -1.0), MergeSchedule(5, proportional=False)],
    ids=str,
)
@torch.no_grad()
def test_equal_to_the_paper_token_by_token(kind: str, schedule: MergeSchedule) -> None:
    model = build(kind)
    expected = slowly(model, kind, schedule)
    merge_inside(model, schedule)
    for _ in range(2):  # a second pass begins anew
        output = model(pixel_values=pixels(), output_hidden_states=True)
        for state, wanted in zip(output.hidden_states[1:], expected, strict=True):
            torch.testing.assert_close(state, wanted, atol=2e-5, rtol=1e-4)
    last = expected[-1]
    if kind == "clip":
        torch.testing.assert_close(output.last_hidden_state, last, atol=2e-5, rtol=1e-4)
    else:
        wanted = model.post_layernorm(last)
        torch.testing.assert_close(output.last_hidden_state, wanted, atol=1e-4, rtol=1e-4)
        # The pooling head sees every patch, so a merged token weighs what it stands for.
        torch.testing.assert_close(output.pooler_output, model.head(wanted), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", ["siglip", "clip"])
@torch.no_grad()
def test_merging_nothing_changes_nothing(kind: str) -> None:
    model = build(kind)
    before = model(pixel_values=pixels())
    merge_inside(model, MergeSchedule(0))
    after = model(pixel_values=pixels())
    torch.testing.assert_close(after.last_hidden_state, before.last_hidden_state)
    torch.testing.assert_close(after.pooler_output, before.pooler_output)


@torch.no_grad()
def test_pictures_do_not_mix() -> None:
    model = build("siglip")
    merge_inside(model, MergeSchedule(6))
    together = model(pixel_values=pixels()).last_hidden_state
    for index, one in enumerate(pixels()):
        alone = model(pixel_values=one[None]).last_hidden_state[0]
        torch.testing.assert_close(together[index], alone, atol=1e-5, rtol=1e-4)


def test_schedules() -> None:
    assert MergeSchedule(8).by_layer(4) == (8, 8, 8, 8)
    assert MergeSchedule(8, 1.0).by_layer(5) == (0, 4, 8, 12, 16)
    assert sum(MergeSchedule(7, -0.5).by_layer(7)) <= 49
    with pytest.raises(ConfigError):
        MergeSchedule(-1)
    with pytest.raises(ConfigError):
        MergeSchedule(1, 2.0)


def test_a_tower_of_another_make_is_refused() -> None:
    with pytest.raises(ModelError, match=r"siglip_vision_model.*merge_r = 0"):
        merge_inside(torch.nn.Linear(2, 2), MergeSchedule(2))
