"""What a training run needs to stop anywhere and go on as if it had not stopped."""

from __future__ import annotations

import copy
import json
import math
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn


def cosine(step: int, num_steps: int, warmup: int) -> float:
    """Return the share of the peak learning rate: linear warm-up, then half a cosine to 1 %."""
    if step < warmup:
        return (step + 1) / warmup
    passed = min(1.0, (step - warmup) / max(1, num_steps - warmup))
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * passed))


def decayed(step: int, warmup: int, hold: int, num_steps: int, cooldown: int) -> float:
    """Return the share of the peak learning rate: warm-up, a plateau, 1 / sqrt(step), then to 0.

    Only the last `cooldown` steps know where the run ends, so a checkpoint from before them can be
    continued to any end.
    """
    if step < warmup:
        return (step + 1) / warmup
    share = min(1.0, math.sqrt(hold / (step + 1)))
    return share * min(1.0, (num_steps - step) / max(1, cooldown))


M = TypeVar("M", bound=nn.Module)


class Average(Generic[M]):
    """An exponential moving average of a model's weights: what is measured and exported."""

    def __init__(self, model: M, decay: float) -> None:
        self.decay = decay
        self.num_updates = 0
        self.shadow = {name: p.detach().clone() for name, p in model.named_parameters()}

    @torch.no_grad()
    def update(self, model: M) -> None:
        """Move the average towards the model; early on the window grows with the updates."""
        self.num_updates += 1
        decay = min(self.decay, self.num_updates / (self.num_updates + 10))
        for name, parameter in model.named_parameters():
            self.shadow[name].lerp_(parameter, 1 - decay)

    def state_dict(self) -> dict[str, Any]:
        """Return the average and its age."""
        return {"num_updates": self.num_updates, "shadow": self.shadow}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the average."""
        self.num_updates = state["num_updates"]
        for name, value in state["shadow"].items():
            self.shadow[name].copy_(value)

    def averaged(self, model: M) -> M:
        """Return a copy of the model that holds the average."""
        twin = copy.deepcopy(model)
        with torch.no_grad():
            for name, parameter in twin.named_parameters():
                parameter.copy_(self.shadow[name])
        return twin.eval()


#: What a checkpoint holds, by name: modules, averages, optimizers, or a list of such.
Parts = Mapping[str, Any]


def save_checkpoint(path: Path, parts: Parts, step: int, cpu_seconds: float) -> None:
    """Write a checkpoint so that a reader sees the old one or the new one, never a part."""
    state: dict[str, Any] = {
        name: [one.state_dict() for one in part] if isinstance(part, list) else part.state_dict()
        for name, part in parts.items()
    }
    state |= {"step": step, "cpu_seconds": cpu_seconds}
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    torch.save(state, partial)
    os.replace(partial, path)


def load_checkpoint(path: Path) -> dict[str, Any] | None:
    """Read a checkpoint; None where there is none."""
    if not path.exists():
        return None
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return state


def restore(state: dict[str, Any] | None, parts: Parts) -> tuple[int, float]:
    """Put the parts of a checkpoint back; return the steps done and the processor seconds spent.

    Args:
        state: Of `load_checkpoint`; None changes nothing.
        parts: As they were saved.
    """
    if state is None:
        return 0, 0.0
    for name, part in parts.items():
        if isinstance(part, list):
            for one, saved in zip(part, state[name], strict=True):
                one.load_state_dict(saved)
        else:
            part.load_state_dict(state[name])
    return state["step"], state["cpu_seconds"]


def descend(
    loss: Tensor,
    parameters: Sequence[nn.Parameter],
    optimizers: Sequence[torch.optim.Optimizer],
    clip: float,
) -> None:
    """Take one step of every optimizer down a loss, the gradient's norm at most `clip`."""
    for optimizer in optimizers:
        optimizer.zero_grad(set_to_none=True)
    torch.autograd.backward(loss)
    torch.nn.utils.clip_grad_norm_(parameters, clip)
    for optimizer in optimizers:
        optimizer.step()


class Journal:
    """A log of rows, one JSON object a line, with the seconds this run and earlier ones took."""

    def __init__(self, path: Path, seconds_before: float = 0.0) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._offset = seconds_before
        self._start = time.process_time()

    @property
    def seconds(self) -> float:
        """Return the processor seconds spent so far, over all resumptions."""
        return self._offset + time.process_time() - self._start

    def write(self, **row: Any) -> None:
        """Append one row and print it."""
        row = {"cpu_seconds": round(self.seconds, 1), **row}
        line = json.dumps({key: _plain(value) for key, value in row.items()})
        with self.path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
        print(line, flush=True)


def _plain(value: Any) -> Any:
    if isinstance(value, Tensor):
        return round(float(value), 4)
    if isinstance(value, float):
        return round(value, 4)
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value
