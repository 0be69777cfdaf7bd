"""Load a Hugging Face checkpoint, or only the part of it that is needed.

An encoder needs no language model, and an answer needs no vision tower. The parts that are left
out are taken off the model while it has no storage yet, so their weights are never read.
"""

from __future__ import annotations

import contextlib
import contextvars
import importlib.util
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from longvid.errors import ConfigError, ModelError, require_one_of
from longvid.lazy_import import torch
from longvid.models import checkpoint_files
from longvid.models.checkpoint_errors import first_line, foreign_errors
from longvid.models.free_memory import is_out_of_memory, require_room
from longvid.models.transformers_logging import quiet

_DTYPES = ("float32", "bfloat16", "float16")


@dataclass(frozen=True, slots=True)
class Placement:
    """How weights lie in memory, and by which kernel they attend.

    Args:
        attention: "auto", or a name that transformers knows ("sdpa", "eager",
            "flash_attention_2").
        device_map: "" for one device, or how Accelerate spreads a model ("auto", "balanced",
            "sequential").
        bits: 8 or 4 for bitsandbytes, 0 for none.
        experts: "auto", or how a mixture of experts multiplies ("eager", "batched_mm",
            "grouped_mm").

    Raises:
        ConfigError: A value is not one of these.
    """

    attention: str = "auto"
    device_map: str = ""
    bits: int = 0
    experts: str = "auto"

    def __post_init__(self) -> None:
        require_one_of("llm.experts", self.experts, ("auto", "eager", "batched_mm", "grouped_mm"))
        require_one_of(
            "llm.attention", self.attention, ("auto", "sdpa", "eager", "flash_attention_2")
        )
        require_one_of("llm.device_map", self.device_map, ("", "auto", "balanced", "sequential"))
        require_one_of("llm.bits", self.bits, (0, 8, 4))

    def arguments(self, dtype: torch.dtype, device: str) -> dict[str, Any]:
        """Return what `from_pretrained` takes.

        Raises:
            ConfigError: A package or a GPU that it needs is not there.
        """
        on_gpu = device.startswith("cuda")
        found: dict[str, Any] = {}
        attention = self.attention
        if attention == "auto":
            half = dtype in (torch.float16, torch.bfloat16)
            flash = on_gpu and half and importlib.util.find_spec("flash_attn") is not None
            # sdpa is what transformers takes by itself wherever the architecture has it.
            attention = "flash_attention_2" if flash else ""
        elif attention == "flash_attention_2":
            _require("flash_attn", "llm.attention = 'flash_attention_2'", "flash-attn")
            if not on_gpu:
                raise ConfigError(
                    "llm.attention = 'flash_attention_2' runs on a GPU only; leave it 'auto'."
                )
        if attention:
            found["attn_implementation"] = attention
        if self.experts != "auto":
            found["experts_implementation"] = self.experts
        if self.device_map:
            _require("accelerate", f"llm.device_map = {self.device_map!r}", "accelerate")
            found["device_map"] = self.device_map
        if self.bits:
            _require("accelerate", f"llm.bits = {self.bits}", "accelerate")
            _require("bitsandbytes", f"llm.bits = {self.bits}", "bitsandbytes")
            from transformers import BitsAndBytesConfig

            settings: Any = BitsAndBytesConfig
            found["quantization_config"] = settings(
                load_in_8bit=self.bits == 8,
                load_in_4bit=self.bits == 4,
                bnb_4bit_compute_dtype=dtype,
            )
            found.setdefault("device_map", {"": device})
        return found


def _require(module: str, setting: str, package: str) -> None:
    if importlib.util.find_spec(module) is None:
        raise ConfigError(
            f"{setting} needs the package {package}, which is not installed; run: pip install "
            f"{package}"
        )


_PLACEMENT: contextvars.ContextVar[Placement] = contextvars.ContextVar("placement")


@contextlib.contextmanager
def placed(placement: Placement) -> Iterator[None]:
    """Load what is loaded inside in this way.

    A context and no argument, because every family between would only hand it on.
    """
    token = _PLACEMENT.set(placement)
    try:
        yield
    finally:
        _PLACEMENT.reset(token)


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
    named: torch.dtype = getattr(torch, dtype)
    return named


def load(
    folder: Path,
    model_class: type[Any],
    *,
    drop: Sequence[str] = (),
    state: dict[str, torch.Tensor] | None = None,
    dtype: torch.dtype,
    device: str = "cpu",
) -> Any:
    """Load a model with `from_pretrained`, without the submodules named in `drop`.

    Args:
        folder: The checkpoint.
        model_class: A class of transformers.
        drop: Dotted names of submodules that are neither built nor read ("model.vision_tower").
        state: Weights by name that were read elsewhere; those of the folder stay on disk then.
        dtype: Of the weights in memory, whatever they are on disk.
        device: Where the weights go.

    Returns:
        The model in evaluation mode, its dropped submodules None.

    Raises:
        ModelError: The checkpoint is incomplete, of another architecture, or does not fit in
            memory.
    """
    if state is None:
        checkpoint_files.weight_files(folder)
    arguments = _PLACEMENT.get(Placement()).arguments(dtype, device)
    one_place = "device_map" not in arguments

    def check(num_weights: int) -> None:
        if one_place:
            require_room(str(folder), num_weights * dtype.itemsize, dtype, device)

    partial = _without(model_class, tuple(drop), check)
    try:
        with quiet():
            model, info = partial.from_pretrained(
                folder if state is None else None,
                state_dict=state,
                dtype=dtype,
                local_files_only=True,
                output_loading_info=True,
                **arguments,
            )
        require_fitting(folder, model, info["missing_keys"], info["unexpected_keys"])
        if one_place:
            model = model.to(device)
        return model.requires_grad_(False).eval()
    except foreign_errors() as error:
        if is_out_of_memory(error):
            name = str(dtype).removeprefix("torch.")
            raise ModelError(
                f"{folder} does not fit into the memory of {device} as {name}; choose a smaller "
                "checkpoint, a smaller dtype, or another device."
            ) from error
        raise ModelError(
            f"{folder} could not be loaded as {model_class.__name__}: {first_line(error)}"
        ) from error


def require_fitting(
    folder: Path, model: torch.nn.Module, missing: Iterable[str], unexpected: Iterable[str]
) -> None:
    """Refuse a model that was loaded from weights of another.

    Args:
        folder: The checkpoint.
        model: As loaded.
        missing: Names of its weights that the checkpoint does not have.
        unexpected: Names in the checkpoint that the model has no place for.

    Raises:
        ModelError: A weight is missing, or one continues a list of layers of the model. Other
            weights without a place are usual (heads of other tasks); these say that the
            configuration is of a smaller model, which would answer wrongly in silence.
    """
    missing = sorted(missing)
    if missing:
        raise ModelError(
            f"{folder} lacks {len(missing)} weights of {type(model).__name__}, the first is "
            f"{missing[0]!r}; the checkpoint is incomplete or of another architecture."
        )
    beyond = _beyond_layers(model, unexpected)
    if beyond:
        raise ModelError(
            f"{folder} holds {len(beyond)} weights of layers that its config.json does not "
            f"count, the first is {beyond[0]!r}; a part of the model would be left out."
        )


def _beyond_layers(model: torch.nn.Module, unexpected: Iterable[str]) -> list[str]:
    """Return which of the names continue one of the model's lists of layers."""
    lists = {
        name: len(part)
        for name, part in model.named_modules()
        if isinstance(part, torch.nn.ModuleList)
    }
    return sorted(
        key
        for key in unexpected
        for found in re.finditer(r"(?<=\.)\d+(?=\.)", key)
        if int(found.group()) >= lists.get(key[: found.start() - 1], 1 << 62)
    )


def _without(
    model_class: type[Any], drop: tuple[str, ...], check: Callable[[int], None]
) -> type[Any]:
    """Return the class with submodules taken off at the end of its `__init__`.

    What is left is counted then, before anything of it is read, and `check` may refuse it.

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
        check(sum(weight.numel() for weight in self.parameters()))

    body = {"__init__": __init__, "__module__": model_class.__module__}
    return type(model_class.__name__, (model_class,), body)
