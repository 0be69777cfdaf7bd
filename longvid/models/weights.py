"""Read the weights of checkpoints that no class of transformers describes as a whole.

Names are compared before anything is loaded. A pickle is read as tensors only: whatever else it
holds is refused and never run. This module knows names and tensors, and no architecture.
"""

from __future__ import annotations

import json
import pickle
import re
import struct
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from longvid.errors import ModelError
from longvid.lazy_import import torch
from longvid.models import checkpoint_files
from longvid.models.from_pretrained import load

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

#: Tables that older libraries saved and newer ones compute.
COMPUTED = re.compile(r"(rotary_emb\.inv_freq|embeddings\.position_ids)$")

_SHOWN = 3


def load_parameters(module: Module, state: dict[str, Tensor], checkpoint: str, hint: str) -> None:
    """Load every parameter of a module; what else a checkpoint holds is left out.

    Args:
        module: Changed in place.
        state: Parameters by name, with or without the leading `model.`.
        checkpoint: Its name in errors.
        hint: Said where a parameter is missing.

    Raises:
        ModelError: A parameter is missing or has another shape.
    """
    wanted = module.state_dict()
    plain = {name.removeprefix("model."): value for name, value in state.items()}
    missing = sorted(wanted.keys() - plain.keys())
    if missing:
        raise ModelError(
            f"The {checkpoint} checkpoint lacks {len(missing)} of {len(wanted)} parameters, first "
            f"{missing[0]}; {hint}."
        )
    for name, tensor in wanted.items():
        if plain[name].shape != tensor.shape:
            raise ModelError(
                f"{name} has shape {tuple(plain[name].shape)} in the {checkpoint} checkpoint, the "
                f"configuration asks for {tuple(tensor.shape)}."
            )
    module.load_state_dict({name: plain[name] for name in wanted})


#: What torch raises for a file that is no pickle: its letters are read as instructions.
_NO_PICKLE = (
    *(pickle.UnpicklingError, struct.error, RuntimeError, EOFError, ValueError),
    *(LookupError, TypeError, AttributeError),
)


def read_pickle(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a `.bin` or `.pth` file, without running what else it may hold.

    Raises:
        ModelError: The file is missing, damaged, or holds something besides tensors.
    """
    try:
        try:
            found = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        except RuntimeError:  # the format before torch 1.6 cannot be mapped
            found = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise ModelError(f"{path} cannot be read ({error.strerror}).") from error
    except _NO_PICKLE as error:
        raise ModelError(
            f"{path} is damaged or holds more than tensors, and what else it holds is not run; "
            "download it again from its authors."
        ) from error
    for key in ("model", "state_dict"):  # what training loops save stands around the table
        if isinstance(found, dict) and isinstance(found.get(key), dict):
            found = found[key]
    if not isinstance(found, dict) or not all(isinstance(x, torch.Tensor) for x in found.values()):
        raise ModelError(f"{path} is no table of tensors by name.")
    return found


def tensor_names(folder: Path) -> frozenset[str]:
    """List the names of a checkpoint's tensors, without reading their data.

    Raises:
        ModelError: The checkpoint is missing a file, or a file is damaged.
    """
    files = checkpoint_files.weight_files(folder)
    for index in (folder / "model.safetensors.index.json", folder / "pytorch_model.bin.index.json"):
        if index.is_file() and files[0].suffix == Path(index.name.split(".index")[0]).suffix:
            weight_map = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
            return frozenset(weight_map)
    return frozenset(read_tensors(folder, lambda name: True, data=False))


def iterate_tensors(folder: Path) -> Iterator[tuple[Path, dict[str, Tensor]]]:
    """Yield the weight files of a checkpoint with their tensors, one file at a time.

    Raises:
        ModelError: See `tensor_names`.
    """
    for file in checkpoint_files.weight_files(folder):
        yield file, read_file(file)


def read_file(file: Path, *, data: bool = True) -> dict[str, Tensor]:
    """Read all tensors of one weight file.

    Args:
        file: Of safetensors or a pickle.
        data: See `read_tensors`.

    Raises:
        ModelError: It is damaged, or holds something besides tensors.
    """
    return dict(_tensors_of(file, lambda name: data))


def read_tensors(
    folder: Path, wanted: Callable[[str], bool], *, data: bool = True
) -> dict[str, Tensor]:
    """Read the tensors of a checkpoint whose names are wanted.

    Args:
        folder: The checkpoint.
        wanted: Says of a name whether it is.
        data: Whether to read what they hold. Otherwise only the heads of the files are read, and
            the tensors are on the device "meta": they have a shape and nothing else.

    Raises:
        ModelError: See `tensor_names`.
    """
    return {
        name: tensor
        for file in checkpoint_files.weight_files(folder)
        for name, tensor in _tensors_of(file, lambda name: data and wanted(name))
        if wanted(name)
    }


def check_names(
    folder: Path, expected: Iterable[str], *, optional: Iterable[str] = (), beside: str = "(?!)"
) -> None:
    """Refuse a checkpoint that lacks a tensor or holds one that is not known.

    Args:
        folder: The checkpoint.
        expected: Names that must be there.
        optional: Names that may be.
        beside: Pattern at the start of names that are of no concern here.

    Raises:
        ModelError: The sentence names the first tensors.
    """
    found = tensor_names(folder)
    needed = frozenset(expected)
    missing = sorted(needed - found)
    if missing:
        raise ModelError(
            f"{folder} lacks {len(missing)} of {len(needed)} tensors: {_listed(missing)}; the "
            "checkpoint is incomplete, or config.json is of another one."
        )
    allowed = needed | frozenset(optional)
    strange = sorted(
        name for name in found - allowed if not COMPUTED.search(name) and not re.match(beside, name)
    )
    if strange:
        raise ModelError(
            f"{folder} holds {len(strange)} tensors that its config.json does not account for: "
            f"{_listed(strange)}; it is of another architecture or size."
        )


def load_text_model(
    folder: Path,
    model_class: type[Any],
    config: Any,
    beside: str,
    dtype: torch.dtype,
    device: str,
    state: dict[str, Tensor] | None = None,
) -> Any:
    """Load the language model of a checkpoint that holds other tensors too.

    Args:
        folder: The checkpoint.
        model_class: A causal language model of transformers.
        config: Its configuration.
        beside: Pattern of the names of the other tensors.
        dtype, device: Of the weights.
        state: Weights by name that were read elsewhere.

    Raises:
        ModelError: See `models.loading.load`.
    """

    def from_pretrained(cls: Any, path: Path | None, /, **settings: Any) -> Any:
        return model_class.from_pretrained.__func__(cls, path, config=config, **settings)

    body = {
        "__module__": model_class.__module__,
        "from_pretrained": classmethod(from_pretrained),
        "_keys_to_ignore_on_load_unexpected": [beside, COMPUTED.pattern],
    }
    # The name and module of the base are those by which transformers finds its renamings.
    text_class = type(model_class.__name__, (model_class,), body)
    return load(folder, text_class, state=state, dtype=dtype, device=device)


def _tensors_of(file: Path, wanted: Callable[[str], bool]) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors of a file; those that are not wanted have no data."""
    if file.suffix == ".safetensors":
        from safetensors import safe_open

        with safe_open(file, framework="pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118 - not a mapping
                if wanted(name):
                    yield name, tensors.get_tensor(name)
                else:
                    yield name, torch.empty(tensors.get_slice(name).get_shape(), device="meta")
    else:
        for name, tensor in read_pickle(file).items():
            yield name, tensor if wanted(name) else tensor.to("meta")


def _listed(names: list[str]) -> str:
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
