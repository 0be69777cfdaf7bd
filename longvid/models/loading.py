"""Load a Hugging Face checkpoint, or only the part of it that is needed.

An encoder needs no language model, and an answer needs no vision tower. The parts that are left
out are taken off the model while it has no storage yet, so their weights are never read.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from longvid.errors import ModelError
from longvid.models import checkpoints
from longvid.models.quiet import quiet

__all__ = ["load", "resolve_dtype"]

_DTYPES = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}


def resolve_dtype(dtype: str, device: str) -> torch.dtype:
    """Turn a dtype's name into a dtype.

    "auto" is bfloat16 on GPUs that compute in it, float16 on older ones, and float32 on a CPU,
    where half precision is slower on most machines and differs between them.

    Raises:
        ModelError: The name is not known.
    """
    if dtype == "auto":
        if not device.startswith("cuda"):
            return torch.float32
        major, _ = torch.cuda.get_device_capability(device)
        return torch.bfloat16 if major >= 8 else torch.float16
    if dtype not in _DTYPES:
        raise ModelError(f"dtype is {dtype!r}; use auto, {', '.join(_DTYPES)}.")
    return _DTYPES[dtype]


def load(
    folder: Path,
    model_class: type[Any],
    *,
    drop: Sequence[str] = (),
    dtype: torch.dtype = torch.float32,
    device: str = "cpu",
) -> Any:
    """Load a model with `from_pretrained`, without the submodules named in `drop`.

    Args:
        folder: The checkpoint.
        model_class: A class of transformers.
        drop: Dotted names of submodules that are neither built nor read ("model.vision_tower").
        dtype: Of the weights in memory, whatever they are on disk.
        device: Where the weights go.

    Returns:
        The model in evaluation mode, its dropped submodules None.

    Raises:
        ModelError: The checkpoint is incomplete, of another architecture, or does not fit in
            memory.
    """
    checkpoints.weight_files(folder)
    partial = _without(model_class, tuple(drop)) if drop else model_class
    try:
        with quiet():
            model, info = partial.from_pretrained(
                folder, dtype=dtype, local_files_only=True, output_loading_info=True
            )
        missing = sorted(info["missing_keys"])
        if missing:
            raise ModelError(
                f"{folder} lacks {len(missing)} weights of {model_class.__name__}, the first is "
                f"{missing[0]!r}; the checkpoint is incomplete or of another architecture."
            )
        return model.to(device).requires_grad_(False).eval()
    except (OSError, ValueError, RuntimeError, MemoryError) as error:
        if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
            raise ModelError(
                f"{folder} does not fit into the memory of {device} as {dtype}; choose a smaller "
                "checkpoint, a smaller dtype, or another device."
            ) from error
        raise ModelError(
            f"{folder} could not be loaded as {model_class.__name__}: {_first_line(error)}"
        ) from error


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def _without(model_class: type[Any], drop: tuple[str, ...]) -> type[Any]:
    """Return the class with submodules taken off at the end of its `__init__`.

    `from_pretrained` builds a model without storage and then reads the weights that it names, so
    what is taken off here is never read. The subclass carries the name and the module of its
    base, by which transformers finds the renamings for checkpoints of older releases.
    """
    patterns = {"^" + re.escape(name) + r"\." for name in drop}

    def __init__(self: Any, config: Any, *args: Any, **kwargs: Any) -> None:
        model_class.__init__(self, config, *args, **kwargs)
        for name in drop:
            parent, _, attribute = name.rpartition(".")
            setattr(self.get_submodule(parent), attribute, None)
        self.all_tied_weights_keys = {
            target: source
            for target, source in self.all_tied_weights_keys.items()
            if not target.startswith(drop) and not source.startswith(drop)
        }
        self._keys_to_ignore_on_load_unexpected |= patterns

    body = {"__init__": __init__, "__module__": model_class.__module__}
    return type(model_class.__name__, (model_class,), body)
