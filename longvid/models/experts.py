"""Mixtures of experts: which expert reads which token, and how a dense model becomes one.

Source of up-cycling: MoE-LLaVA, section 3.3 (formulas only).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from longvid.errors import ConfigError, ModelError, require_at_least


@dataclass(frozen=True, slots=True)
class ExpertShares:
    """How the tokens of one layer are shared out among its experts.

    Args:
        layer: Its name in the model.
        visual, text: (E,) float64, the share of choices that went to each expert; a token makes
            several choices. All 0 where there is no such token.
    """

    layer: str
    visual: Tensor
    text: Tensor


def router_shares(
    module: nn.Module, run: Callable[[], object], visual: Tensor
) -> list[ExpertShares]:
    """Watch the routers of a model while it reads a prompt.

    Args:
        module: The model.
        run: Reads the prompt, in one or several forward passes.
        visual: (L,) bool, which tokens of the prompt are visual.

    Raises:
        ModelError: The model has no routers, or they do not say what they chose.
    """
    with _watched(module) as chosen:
        run()
    if not chosen:
        raise ModelError(
            f"{type(module).__name__} has no mixture of experts; its tokens all take one way."
        )
    found = []
    for name, (num_experts, parts) in chosen.items():
        choices = torch.cat(parts)  # (L, k)
        if len(choices) != len(visual):
            raise ModelError(
                f"The router {name} chose for {len(choices)} tokens of a prompt of {len(visual)}."
            )
        found.append(
            ExpertShares(
                name, _shares(choices[visual], num_experts), _shares(choices[~visual], num_experts)
            )
        )
    return found


@contextmanager
def _watched(module: nn.Module) -> Iterator[dict[str, tuple[int, list[Tensor]]]]:
    """Collect the experts that each router chooses, by its name."""
    chosen: dict[str, tuple[int, list[Tensor]]] = {}
    hooks = []
    for name, router in module.named_modules():
        num_experts = getattr(router, "num_experts", None)
        if not type(router).__name__.lower().endswith("router") or num_experts is None:
            continue

        def hear(
            router: Any, inputs: Any, output: Any, name: str = name, count: int = int(num_experts)
        ) -> None:
            indices = [
                one for one in output if isinstance(one, Tensor) and one.dtype == torch.int64
            ]
            if len(indices) != 1:
                raise ModelError(f"The router {name} does not say which experts it chose.")
            chosen.setdefault(name, (count, []))[1].append(indices[0].cpu())

        hooks.append(router.register_forward_hook(hear))
    try:
        yield chosen
    finally:
        for hook in hooks:
            hook.remove()


def _shares(choices: Tensor, num_experts: int) -> Tensor:
    counts = torch.bincount(choices.flatten(), minlength=num_experts).double()
    return counts / counts.sum().clamp(min=1)


class UpcycledRouter(nn.Module):
    """Chooses experts for each token, with weights that sum to 1."""

    def __init__(self, width: int, num_experts: int, top_k: int) -> None:
        super().__init__()
        self.num_experts = num_experts
        self.top_k = top_k
        self.gate = nn.Linear(width, num_experts, bias=False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return logits (N, E) float32, weights (N, k) and experts (N, k) int64 of x (N, D)."""
        logits = self.gate(x).float()
        weights, indices = logits.softmax(-1).topk(self.top_k, dim=-1)
        return logits, (weights / weights.sum(-1, keepdim=True)).to(x.dtype), indices


class Experts(nn.Module):
    """Copies of a feed-forward block, and the router that chooses among them."""

    def __init__(self, dense: nn.Module, router: UpcycledRouter) -> None:
        super().__init__()
        self.router = router
        self.experts = nn.ModuleList(copy.deepcopy(dense) for _ in range(router.num_experts))

    def forward(self, x: Tensor) -> Tensor:
        """Return the weighted sum of what the chosen experts make of x (..., D)."""
        rows = x.flatten(0, -2)
        _, weights, indices = self.router(rows)
        out = torch.zeros_like(rows)
        for number, expert in enumerate(self.experts):
            token, place = (indices == number).nonzero(as_tuple=True)
            if len(token):
                part = expert(rows[token]) * weights[token, place].unsqueeze(1)
                out.index_add_(0, token, part)
        return out.view_as(x)


def upcycle(
    module: nn.Module, num_experts: int = 4, top_k: int = 2, every: int = 2, seed: int = 0
) -> list[str]:
    """Turn feed-forward blocks of a dense language model into mixtures of copies of themselves.

    Before any training the model computes what it did: the weights of the chosen experts sum to 1,
    and the experts are equal.

    Args:
        module: Changed in place. Its blocks are its layers' `mlp`.
        num_experts, top_k: Experts of a block, and those that read a token.
        every: Of so many layers, the last is turned; 2 as published.
        seed: Of the routers.

    Returns:
        The names of the blocks that were turned.

    Raises:
        ConfigError: A number is out of range.
        ModelError: The model has no layers with such a block, or is a mixture already.
    """
    if not 1 <= top_k <= num_experts:
        raise ConfigError(
            f"upcycle needs 1 <= top_k <= num_experts, got top_k {top_k} of {num_experts}."
        )
    require_at_least("upcycle.every", every, 1)
    layers = next(
        (
            (name, part)
            for name, part in module.named_modules()
            if isinstance(part, nn.ModuleList)
            and len(part)
            and hasattr(part[0], "self_attn")
            and hasattr(part[0], "mlp")
            and "vision" not in name
            and "visual" not in name
        ),
        None,
    )
    if layers is None:
        raise ModelError(f"{type(module).__name__} has no layers whose feed-forward can be copied.")
    prefix, blocks = layers
    generator = torch.Generator().manual_seed(seed)
    turned = []
    for number in range(every - 1, len(blocks), every):
        dense = getattr(blocks[number], "mlp")  # noqa: B009  # an attribute that mypy cannot know
        if any(type(part).__name__.lower().endswith("router") for part in dense.modules()):
            raise ModelError(f"{prefix}.{number}.mlp is a mixture of experts already.")
        weight = next(dense.parameters())
        router = UpcycledRouter(dense.gate_proj.in_features, num_experts, top_k)
        with torch.no_grad():
            drawn = torch.randn(router.gate.weight.shape, generator=generator)
            router.gate.weight.copy_(0.02 * drawn)
        blocks[number].mlp = Experts(dense, router.to(weight))
        turned.append(f"{prefix}.{number}.mlp")
    return turned
