"""torch, imported when it is first used.

A configuration, a store's catalog and the driver of a cluster hold no tensors, and importing torch
costs a second and 200 MB. Modules that are read for their settings therefore take torch from here:

    from longvid.lazy_import import F, ops, torch

Modules that define layers or operations import it as usual, and are themselves imported late. The
`lazy import` of PEP 810 will make this file unnecessary.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

__all__ = ["F", "later", "no_grad", "ops", "torch"]

Function = TypeVar("Function", bound=Callable[..., Any])


class _Later:
    def __init__(self, name: str) -> None:
        self._name = name
        self._module: Any = None

    def __getattr__(self, attribute: str) -> Any:
        if self._module is None:
            self._module = importlib.import_module(self._name)
        return getattr(self._module, attribute)


def later(name: str) -> Any:
    """Return a stand-in for a module, which is imported when something of it is asked for."""
    return _Later(name)


if TYPE_CHECKING:
    import torch
    import torch.nn.functional as F

    from longvid import ops
else:
    torch, F, ops = later("torch"), later("torch.nn.functional"), later("longvid.ops")


def no_grad(function: Function) -> Function:
    """Call a function under `torch.no_grad`, which as a decorator would import torch."""

    @functools.wraps(function)
    def without_gradients(*arguments: Any, **named: Any) -> Any:
        with torch.no_grad():
            return function(*arguments, **named)

    return without_gradients  # type: ignore[return-value]  # it is called alike
