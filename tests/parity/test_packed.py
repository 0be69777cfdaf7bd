"""Packed linear layers give what torch's own give, and stand only where they may."""

from __future__ import annotations

import pytest
import torch

from longvid.models import checkpoint_files
from longvid.models.families import family_of
from longvid.models.onednn_linear import PackedLinear, pack_linears


def linear(width: int, height: int, *, bias: bool = True) -> torch.nn.Linear:
    return torch.nn.Linear(width, height, bias=bias).requires_grad_(False)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(0, 24), (24,), (1, 24), (7, 24), (2, 3, 24), (401, 24)])
def test_a_packed_layer_equals_its_twin(shape: tuple[int, ...], bias: bool) -> None:
    torch.manual_seed(0)
    twin = linear(24, 40, bias=bias)
    inputs = torch.randn(shape)
    torch.testing.assert_close(PackedLinear(twin)(inputs), twin(inputs), rtol=1e-5, atol=1e-5)


def test_inputs_may_be_strided() -> None:
    torch.manual_seed(0)
    twin = linear(24, 40)
    for inputs in (torch.randn(2, 24, 9).transpose(1, 2), torch.randn(3, 8, 48)[:, ::2, ::2]):
        torch.testing.assert_close(PackedLinear(twin)(inputs), twin(inputs), rtol=1e-5, atol=1e-5)


def test_what_cannot_be_packed_stays() -> None:
    module = torch.nn.ModuleDict(
        {
            "embedding": torch.nn.Embedding(40, 24),
            "tied": linear(24, 40),
            "halved": linear(8, 8).bfloat16(),
            "trained": torch.nn.Linear(8, 8),
            "elsewhere": linear(8, 8).to("meta"),
            "moved_about": linear(8, 8),
            "free": torch.nn.Sequential(linear(8, 8)),
        }
    )
    module["tied"].weight = module["embedding"].weight
    setattr(module["moved_about"], "_hf_hook", object())  # noqa: B010  # typed as a submodule
    module.requires_grad_(False)["trained"].requires_grad_(True)
    pack_linears(module)
    packed = {name for name, child in module.named_modules() if isinstance(child, PackedLinear)}
    assert packed == {"free.0"}


def test_a_language_model_reads_the_same() -> None:
    folder = checkpoint_files.part_of(
        checkpoint_files.locate(checkpoint_files.MINI), checkpoint_files.VLM
    )
    decoder = family_of(folder).load_decoder(folder, torch.float32, "cpu")
    inputs = decoder.embed([index % 140 for index in range(300)])[None]
    with torch.no_grad():
        twin = decoder.module(inputs_embeds=inputs).logits
        pack_linears(decoder.module)
        packed = decoder.module(inputs_embeds=inputs).logits
    assert sum(isinstance(child, PackedLinear) for child in decoder.module.modules()) == 5 * 7
    torch.testing.assert_close(packed, twin, rtol=1e-5, atol=1e-5)
