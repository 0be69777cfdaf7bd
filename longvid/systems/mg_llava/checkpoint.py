"""Load what MG-LLaVA's authors published: fusion, projectors and the language model's weights.

A file of mmengine holds `fuse_module.*`, `projector.model.*`, `bbox_projector.model.*` and `llm.*`,
which each side reads its part of; both towers are checkpoints of their own, and so is what the
language model began as, with its sizes and its tokenizer. The variant of the fusion is not written
down, and is read off the shapes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from longvid.errors import ModelError
from longvid.methods.roi_pooling import join_levels, pool_boxes
from longvid.models import checkpoint_files
from longvid.models.families.hf_family import TokenProjector
from longvid.models.families.protocol import PROJECTED
from longvid.models.free_memory import require_room
from longvid.models.weights import read_file
from longvid.systems.mg_llava.conv_gate import ConvGateFusion, Variant, fused_width
from longvid.systems.mg_llava.object_tokens import BoxProjector, MultiLevelPooling

_WANTED = re.compile(r"(fuse_module|projector|bbox_projector|multi_level_linear)\.")
_LLM = "llm."
_SUFFIXES = (".pth", ".safetensors", ".bin")
_LEVELS = "multi_level_linear."
#: Bins of the RoI grid: of the joined map, and of the last stage alone.
_BINS, _LAST_BINS = 56, 7


@dataclass(frozen=True, slots=True)
class ConnectorSizes:
    """What a file holds.

    Args:
        low_width, high_width: Of the towers' tokens.
        variant: Of the fusion.
        llm_width: D.
        box_width: Of what is pooled of a box.
        levels: Channels of each level that has a layer of its own; () for none.
    """

    low_width: int
    high_width: int
    variant: Variant
    llm_width: int
    box_width: int
    levels: tuple[int, ...] = ()

    @property
    def fused_width(self) -> int:
        return fused_width(self.low_width, self.high_width, self.variant)


class Connector(nn.Module):
    """Fusion, projector of tokens, projector of boxes, by the names of the file."""

    def __init__(self, sizes: ConnectorSizes) -> None:
        super().__init__()
        self.sizes = sizes
        self.fuse_module = ConvGateFusion(sizes.low_width, sizes.high_width, sizes.variant)
        self.projector = BoxProjector(sizes.fused_width, sizes.llm_width)
        self.bbox_projector = BoxProjector(sizes.box_width, sizes.llm_width)
        self.levels = MultiLevelPooling(sizes.levels, sizes.box_width) if sizes.levels else None

    def object_tokens(self, stages: tuple[Tensor, ...], boxes: Tensor, side: int) -> Tensor:
        """Return a token a box of one frame, (n, D) float32.

        Args:
            stages: (C_i, H_i, W_i) maps of the high-resolution tower, finest first.
            boxes: (n, 4) in pixels of its input.
            side: Of that input.
        """
        weight = next(self.bbox_projector.parameters())
        boxes = boxes.to(weight.device)
        last_only = self.levels is None and self.sizes.box_width == stages[-1].shape[0]
        joined = stages[-1:] if last_only else tuple(stages)
        features = join_levels([stage[None] for stage in joined])[0].float()
        scale = features.shape[1] / side
        if self.levels is not None:
            # As in the original, levels are pooled at the size of the finest.
            levels = torch.split(features.to(weight.dtype), list(self.sizes.levels))
            pooled = self.levels(levels, boxes, [scale] * len(levels), bins=_BINS)
        else:
            pooled = pool_boxes(features, boxes, scale, _LAST_BINS if last_only else _BINS)
        projected: Tensor = self.bbox_projector(pooled.to(weight.dtype)).float()
        return projected


def connector_file(name: str) -> Path:
    """Find the authors' file.

    Args:
        name: The file, its folder, or a hub name.

    Raises:
        ModelError: There is none, or a folder holds several.
    """
    path = Path(name).expanduser()
    if path.is_file():
        return path
    folder = checkpoint_files.locate(name)
    found = sorted(file for file in folder.iterdir() if file.suffix in _SUFFIXES)
    if len(found) != 1:
        listed = ", ".join(file.name for file in found[:4]) or "none"
        raise ModelError(
            f"{folder} must hold one file of MG-LLaVA ({', '.join(_SUFFIXES)}), and holds "
            f"{listed}; name the file itself in encoder.model."
        )
    return found[0]


def connector_sizes(file: Path, low_width: int = 0) -> ConnectorSizes:
    """Read sizes and the variant off the heads of a file.

    Args:
        file: As found.
        low_width: Of the low-resolution tower's tokens; 0 where it is not known, and then not
            compared with what the file was trained with.

    Raises:
        ModelError: A tensor that says a size is missing, or it was trained with another tower.
    """
    return _sizes(file, _state(file, data=False), low_width)


def token_space(file: Path, keep: str) -> str:
    """Name the space of the tokens that a file makes of frames, and its language model reads.

    Args:
        file: As found.
        keep: PROJECTED, or TOWER for fused tokens before the projector.

    Raises:
        ModelError: See `connector_sizes`.
    """
    sizes = connector_sizes(file)
    width = sizes.llm_width if keep == PROJECTED else sizes.fused_width
    return f"mg_llava/{sizes.variant}-{keep}-{width}@{checkpoint_files.file_identity([file])}"


def load_token_projector(file: Path, dtype: torch.dtype, device: str) -> TokenProjector:
    """Load the projector of tokens alone, for fused tokens that were kept before it.

    Raises:
        ModelError: See `connector_sizes`.
    """
    sizes = connector_sizes(file)
    projector = BoxProjector(sizes.fused_width, sizes.llm_width)
    own = "projector."
    state = {k.removeprefix(own): v for k, v in read_file(file).items() if k.startswith(own)}
    projector.load_state_dict(state)
    module = projector.to(device=device, dtype=dtype).requires_grad_(False).eval()
    return TokenProjector(module, sizes.fused_width)


def language_model_state(file: Path) -> dict[str, Tensor] | None:
    """Return the weights of the language model by its own names, None where it was not trained.

    Raises:
        ModelError: They are those of an adapter, which must be merged first.
    """
    state = {k.removeprefix(_LLM): v for k, v in read_file(file).items() if k.startswith(_LLM)}
    if any("lora_" in name for name in state):
        raise ModelError(
            f"{file} holds a LoRA adapter of its language model; merge it into the weights first, "
            "and name the merged file."
        )
    return state or None


def load_connector(file: Path, low_width: int, dtype: torch.dtype, device: str) -> Connector:
    """Load fusion and projectors.

    Raises:
        ModelError: A tensor is missing, not known, or of another shape, or there is no room.
    """
    state = _state(file, data=True)
    connector = Connector(_sizes(file, state, low_width))
    num_bytes = sum(value.numel() for value in state.values()) * dtype.itemsize
    require_room(f"The connector of {file}", num_bytes, dtype, device)
    try:
        connector.load_state_dict(state)
    except RuntimeError as error:
        raise ModelError(
            f"{file} does not fit MG-LLaVA: {str(error).splitlines()[-1].strip()}"
        ) from error
    return connector.to(device=device, dtype=dtype).requires_grad_(False).eval()


def _state(file: Path, *, data: bool) -> dict[str, Tensor]:
    found = read_file(file, data=data)
    return {
        f"levels.{name}" if name.startswith(_LEVELS) else name: value
        for name, value in found.items()
        if _WANTED.match(name)
    }


def _sizes(file: Path, state: dict[str, Tensor], low_width: int) -> ConnectorSizes:
    try:
        llm_width, width = state["projector.model.0.weight"].shape
        box_width = state["bbox_projector.model.0.weight"].shape[1]
        levels = sorted(name for name in state if re.match(rf"levels\.{_LEVELS}\d\.weight", name))
        variant: Variant = "raw_concat"
        trained, high_width = low_width, width - low_width
        if any(name.startswith("fuse_module.") for name in state):
            trained, high_width = state["fuse_module.slow_proj.weight"].shape[:2]
            gated = "fuse_module.gate.0.weight" in state
            variant = "gate_concat" if gated else "concat"
            variant = "gate_sum" if width == trained else variant
    except KeyError as error:
        raise ModelError(
            f"{file} lacks {error.args[0]}; name MG-LLaVA's .pth file, such as one of "
            "PhoenixZ/MG-LLaVA."
        ) from error
    low_width = low_width or trained
    if trained != low_width or high_width < 1:
        raise ModelError(
            f"{file} was trained with a low-resolution tower of width {trained}, and encoder.clip "
            f"has {low_width}; name the tower that it was trained with."
        )
    widths = tuple(state[name].shape[1] for name in levels)
    return ConnectorSizes(low_width, high_width, variant, llm_width, box_width, widths)
