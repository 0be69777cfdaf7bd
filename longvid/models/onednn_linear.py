"""Lay the weights of linear layers out as a processor multiplies them fastest, once.

In float32 torch multiplies on a CPU with MKL, which uses half of what processors of other makers
than Intel can do. oneDNN, which torch carries too and takes for half precision, does not, and reads
its weights in blocks of its own order. This module knows layers, not models; the readable twin is
`torch.nn.Linear`, whose sums it gives in another order.
"""

from __future__ import annotations

from typing import TypeGuard

import torch


class PackedLinear(torch.nn.Module):
    """A linear layer on the CPU in float32, its weight in oneDNN's order.

    Args:
        linear: Its weight is copied, its bias shared.
    """

    def __init__(self, linear: torch.nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.bias = linear.bias
        # Models ask for the type and the place of a weight; this has both, and no elements.
        self.weight = linear.weight.new_empty(0)
        # Opaque to torch, so neither a parameter nor a buffer that could be moved or saved.
        self._weight = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach(), None)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Multiply and add, (..., in) to (..., out)."""
        outputs: torch.Tensor = torch.ops.mkldnn._linear_pointwise(
            inputs, self._weight, self.bias, "none", [], ""
        )
        return outputs


def pack_linears(module: torch.nn.Module) -> None:
    """Replace every linear layer of a module that can be packed, in place.

    Those on a GPU, in half precision, quantised, hooked (as Accelerate moves layers about) or
    sharing their weight with an embedding stay as they are; so do all where torch was built without
    oneDNN.
    """
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return
    embeddings = {
        id(child.weight) for child in module.modules() if isinstance(child, torch.nn.Embedding)
    }
    for parent in module.modules():
        for name, child in list(parent.named_children()):
            if _can_be_packed(child) and id(child.weight) not in embeddings:
                setattr(parent, name, PackedLinear(child))


def _can_be_packed(child: torch.nn.Module) -> TypeGuard[torch.nn.Linear]:
    return (
        type(child) is torch.nn.Linear
        and child.weight.device.type == "cpu"
        and child.weight.dtype == torch.float32
        and not child.weight.requires_grad
        and not (child._forward_hooks or child._forward_pre_hooks or hasattr(child, "_hf_hook"))
    )
