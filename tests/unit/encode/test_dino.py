"""DINO features: patches only, one vector each, whatever the generation of the checkpoint."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from longvid.errors import ModelError
from longvid.models import dino

SIZES = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 7,
}
KINDS = {
    "dinov2": (transformers.Dinov2Config, transformers.Dinov2Model, {}, 1),
    "dinov2_with_registers": (
        transformers.Dinov2WithRegistersConfig,
        transformers.Dinov2WithRegistersModel,
        {"num_register_tokens": 4},
        5,
    ),
    "dinov3_vit": (
        transformers.DINOv3ViTConfig,
        transformers.DINOv3ViTModel,
        {"num_register_tokens": 4, "intermediate_size": 32},
        5,
    ),
}


@pytest.fixture(params=list(KINDS))
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    config_class, model_class, extra, _ = KINDS[request.param]
    torch.manual_seed(0)
    model_class(config_class(**SIZES, **extra)).save_pretrained(tmp_path)
    table: dict[str, Any] = {
        "size": {"height": 28, "width": 28},
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
    }
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(table))
    return tmp_path


def test_features_are_the_models_own_patches(folder: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    frames = torch.randint(0, 256, (3, 3, 28, 28), generator=generator).to(torch.uint8)
    got = dino.load(str(folder), batch_frames=2)(frames)

    kind = json.loads((folder / "config.json").read_text())["model_type"]
    _, model_class, _, num_prefix = KINDS[kind]
    model = model_class.from_pretrained(folder).eval()
    with torch.no_grad():
        hidden = model(pixel_values=frames.float() / 127.5 - 1).last_hidden_state

    assert got.shape == (3, 16, 16)
    assert got.dtype == torch.float32
    torch.testing.assert_close(got, hidden[:, num_prefix:], atol=1e-5, rtol=0)


def test_another_side_gives_another_grid(folder: Path) -> None:
    frames = torch.zeros(1, 3, 50, 40, dtype=torch.uint8)
    assert dino.load(str(folder), side=42)(frames).shape == (1, 36, 16)


def test_another_architecture_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "vit"}')
    with pytest.raises(ModelError, match=r"'vit'.*dinov2"):
        dino.load(str(tmp_path))
