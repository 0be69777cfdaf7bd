"""A tiny random MG-LLaVA under its authors' names: both towers, and their file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import (
    CLIPModel,
    ConvNextConfig,
    ConvNextModel,
)

from longvid.systems.mg_llava.checkpoint import Connector, ConnectorSizes
from tests.parity import published_checkpoints as tiny

LOW, WIDTHS, LLM = 16, (6, 8, 10, 12), 20
SIDE, GRID = 32, 4
HIGH_SIDE = 32 * GRID
SIZES = ConnectorSizes(LOW, WIDTHS[-1], "gate_sum", LLM, sum(WIDTHS))


def randomize(module: torch.nn.Module, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in module.parameters():
            weight.copy_(0.3 * torch.randn(weight.shape, generator=generator))


def timm_name(name: str) -> str:
    """Return timm's name of a tensor of transformers' ConvNeXt, as the official table has it."""
    parts = name.split(".")
    if parts[0] == "embeddings":
        return f"stem.{0 if parts[1] == 'patch_embeddings' else 1}.{parts[2]}"
    stage, kind = parts[2], parts[3]
    if kind == "downsampling_layer":
        return f"stages.{stage}.downsample.{parts[4]}.{parts[5]}"
    inner = {
        "dwconv": "conv_dw",
        "layernorm": "norm",
        "pwconv1": "mlp.fc1",
        "pwconv2": "mlp.fc2",
        "layer_scale_parameter": "gamma",
    }[parts[5]]
    return ".".join(["stages", stage, "blocks", parts[4], inner, *parts[6:]])


def write_connector(
    file: Path, sizes: ConnectorSizes = SIZES, llm: dict[str, torch.Tensor] | None = None
) -> Connector:
    """Write the authors' file: a table inside what mmengine saves.

    Args:
        file: Written.
        sizes: Of fusion and projectors.
        llm: Weights of the language model by its own names; one that nobody reads stands for None.
    """
    connector = Connector(sizes)
    randomize(connector, 5)
    state = {name.removeprefix("levels."): w for name, w in connector.state_dict().items()}
    llm = llm or {"model.norm.weight": torch.ones(LLM)}
    state |= {f"llm.{name}": weight for name, weight in llm.items()}
    torch.save({"meta": {"epoch": 1, "cfg": "model = dict()"}, "state_dict": state}, file)
    return connector.eval()


def write_towers(root: Path) -> dict[str, Any]:
    """Write both towers, the second as transformers and as open_clip have it."""
    tiny.write_embedder(root / "clip", SIDE, LOW, vision_layers=3)
    clip = CLIPModel.from_pretrained(root / "clip").eval()
    high = ConvNextModel(ConvNextConfig(hidden_sizes=list(WIDTHS), depths=[1, 1, 2, 1])).eval()
    randomize(high, 2)
    high.save_pretrained(root / "convnext")
    (root / "open_clip").mkdir()
    state = {
        f"visual.trunk.{timm_name(name)}": value
        for name, value in high.state_dict().items()
        if not name.startswith("layernorm.")
    }
    state |= {"visual.trunk.head.norm.weight": torch.ones(12), "logit_scale": torch.ones(())}
    torch.save(state, root / "open_clip" / "open_clip_pytorch_model.bin")
    write_connector(root / "mg_llava.pth")
    return {"root": root, "clip": clip, "high": high}
