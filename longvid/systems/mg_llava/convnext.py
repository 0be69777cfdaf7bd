"""ConvNeXt as a pyramid of maps, from a folder of transformers or the file of open_clip.

Source: MG-LLaVA, `OpenCLIPVisionTower`: the stem and four stages, without the norm and the head
behind them; the names of timm's ConvNeXt.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from longvid.errors import ModelError
from longvid.lazy_import import no_grad
from longvid.models import checkpoint_files
from longvid.models.checkpoint_errors import checkpoint_errors
from longvid.models.free_memory import require_room
from longvid.models.from_pretrained import load
from longvid.models.weight_count import count_built
from longvid.models.weights import read_file

#: Pixels of a side of a cell of the last map.
STRIDE = 32

_OPEN_CLIP_FILES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
_TRUNK = "visual.trunk."
#: Names of timm and of transformers.
_RENAMED = (
    (r"^stem\.0\.", "embeddings.patch_embeddings."),
    (r"^stem\.1\.", "embeddings.layernorm."),
    (r"^stages\.(\d+)\.downsample\.", r"encoder.stages.\1.downsampling_layer."),
    (r"^stages\.(\d+)\.blocks\.(\d+)\.", r"encoder.stages.\1.layers.\2."),
    (r"\.conv_dw\.", ".dwconv."),
    (r"\.norm\.", ".layernorm."),
    (r"\.mlp\.fc(\d)\.", r".pwconv\1."),
    (r"\.gamma$", ".layer_scale_parameter"),
)


def convnext_identity(name: str) -> str:
    """Name the weights of a checkpoint.

    Raises:
        ModelError: It is not on this machine.
    """
    folder = checkpoint_files.locate(name)
    file = _open_clip_file(folder)
    if file is not None:
        return checkpoint_files.file_identity([file])
    return checkpoint_files.identity(folder)


def convnext_config(name: str) -> Any:
    """Return the configuration of transformers, read off open_clip's file where there is one.

    Raises:
        ModelError: It is not on this machine, or no ConvNeXt.
    """
    from transformers import ConvNextConfig

    folder = checkpoint_files.locate(name)
    file = _open_clip_file(folder)
    if file is not None:
        return _sizes(file, _open_clip_state(file, data=False))
    family = checkpoint_files.read_config(folder).get("model_type")
    if family != "convnext":
        raise ModelError(
            f"{folder} is of architecture {family!r}; the high-resolution tower is a ConvNeXt, "
            "such as laion/CLIP-convnext_large_d_320.laion2B-s29B-b131K-ft-soup."
        )
    with checkpoint_errors(folder, "The configuration"):
        return ConvNextConfig.from_pretrained(folder)


def count_convnext(name: str) -> int:
    """Count the weights that are used, without loading them."""
    from transformers import ConvNextModel

    config = convnext_config(name)
    weights = count_built(lambda: ConvNextModel(config))
    return sum(size for key, size in weights.items() if not key.startswith("layernorm."))


def load_convnext(
    name: str, dtype: torch.dtype, device: str
) -> Callable[[Tensor], tuple[Tensor, ...]]:
    """Load the tower.

    Returns:
        From pixels (T, 3, S, S) to four maps (T, C_i, S / 4, S / 4) ... (T, C, S / 32, S / 32).

    Raises:
        ModelError: It is missing, incomplete, or no ConvNeXt.
    """
    from transformers import ConvNextModel

    folder = checkpoint_files.locate(name)
    config = convnext_config(name)
    file = _open_clip_file(folder)
    model: Any
    if file is None:
        model = load(folder, ConvNextModel, drop=("layernorm",), dtype=dtype, device=device)
        model.layernorm = torch.nn.Identity()  # takes the mean that nobody reads
    else:
        require_room(str(file), count_convnext(name) * dtype.itemsize, dtype, device)
        model = ConvNextModel(config)
        model.layernorm = torch.nn.Identity()
        try:
            model.load_state_dict(_open_clip_state(file, data=True))
        except RuntimeError as error:
            raise ModelError(
                f"{file} is no ConvNeXt of open_clip: {str(error).splitlines()[-1].strip()}"
            ) from error
        model = model.to(device=device, dtype=dtype).requires_grad_(False).eval()

    @no_grad
    def run(pixels: Tensor) -> tuple[Tensor, ...]:
        states = model(pixels.to(device, dtype), output_hidden_states=True).hidden_states
        # The stages themselves: a backbone's feature maps pass one norm more.
        return tuple(states[1:])

    return run


def _open_clip_file(folder: Path) -> Path | None:
    return next((folder / file for file in _OPEN_CLIP_FILES if (folder / file).is_file()), None)


def _open_clip_state(file: Path, *, data: bool) -> dict[str, Tensor]:
    """Return the tower's tensors by the names of transformers."""
    state = {}
    for name, value in read_file(file, data=data).items():
        inner = name.removeprefix(_TRUNK)
        if inner == name or not inner.startswith(("stem.", "stages.")):
            continue
        for pattern, replacement in _RENAMED:
            inner = re.sub(pattern, replacement, inner)
        state[inner] = value
    return state


def _sizes(file: Path, state: dict[str, Tensor]) -> Any:
    from transformers import ConvNextConfig

    stages: dict[int, set[int]] = {}
    for name in state:
        found = re.match(r"encoder\.stages\.(\d+)\.layers\.(\d+)\.", name)
        if found:
            stages.setdefault(int(found[1]), set()).add(int(found[2]))
    stem = state.get("embeddings.patch_embeddings.weight")
    if stem is None or not stages:
        raise ModelError(
            f"{file} holds no {_TRUNK}stem and stages; it is no ConvNeXt of open_clip."
        )
    return ConvNextConfig(
        patch_size=stem.shape[-1],
        hidden_sizes=[
            state[f"encoder.stages.{stage}.layers.0.dwconv.weight"].shape[0]
            for stage in sorted(stages)
        ],
        depths=[len(stages[stage]) for stage in sorted(stages)],
        num_stages=len(stages),
    )
