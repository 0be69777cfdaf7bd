"""What every carrier does: check its fields once, when it is made, and show shapes."""

from __future__ import annotations

import dataclasses
from typing import Any

from longvid.errors import LongvidError


def require(condition: bool, sentence: str) -> None:
    """Raise LongvidError with a sentence unless a condition holds."""
    if not condition:
        raise LongvidError(sentence)


class Tensors:
    """A carrier with tensors: checked by shape when made, shown by shape and never by value."""

    __slots__ = ()

    def require_shapes(self, **shapes: tuple[int, ...]) -> None:
        """Refuse fields whose tensors have other shapes than these."""
        for name, shape in shapes.items():
            got = tuple(getattr(self, name).shape)
            require(got == shape, f"{type(self).__name__}.{name} must be {shape}, got {got}.")

    def __repr__(self) -> str:
        import torch

        parts = []
        for field in dataclasses.fields(self):  # type: ignore[arg-type]  # subclasses are ones
            value: Any = getattr(self, field.name)
            if isinstance(value, torch.Tensor):
                value = f"{tuple(value.shape)} {str(value.dtype).removeprefix('torch.')}"
            elif isinstance(value, tuple) and len(value) > 6:
                value = f"<{len(value)} of {type(value[0]).__name__}>"
            parts.append(f"{field.name}={value}")
        return f"{type(self).__name__}({', '.join(parts)})"
