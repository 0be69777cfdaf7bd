"""The cache layer of transformers, kept in a buffer with room for more.

A module of its own because its class is made from one of transformers', which takes a second to
import: who only indexes, or lists a store, never pays for it.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers.cache_utils import DynamicLayer

_GROWTH = 1.25


class GrowingLayer(DynamicLayer):  # type: ignore[no-untyped-call]  # transformers is untyped
    """Keys and values of one layer, (B, heads, L, width), in a buffer with room for more.

    Args:
        room: Tokens for which room is taken at first; it grows when they are exceeded.
    """

    def __init__(self, room: int = 0) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # transformers is untyped
        self._room = room
        self._buffers: tuple[torch.Tensor, torch.Tensor] | None = None
        self._length = 0

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append the keys and values of new tokens; return all of both, as views."""
        end = self._length + key_states.shape[-2]
        if self._buffers is None or end > self._room:
            self._grow(end, key_states, value_states)
        for buffer, given in zip(self._buffers or (), (key_states, value_states), strict=True):
            buffer[..., self._length : end, :] = given
        self._show(end)
        return self.held()

    def held(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the keys and values of all tokens, as views."""
        if self._buffers is None:
            raise RuntimeError("A layer is asked for what it holds before it holds anything.")
        keys, values = (buffer[..., : self._length, :] for buffer in self._buffers)
        return keys, values

    def crop(self, tokens_to_remove: int) -> None:
        """Forget the last `-tokens_to_remove` tokens; what they occupied is written again."""
        if self._buffers is not None:
            self._show(self._length - abs(tokens_to_remove))

    def fill(self, row: int, first: int, keys: torch.Tensor, values: torch.Tensor) -> None:
        """Copy one row's keys and values (1, heads, n, width) to the places from `first` on."""
        if self._buffers is None:
            raise RuntimeError("A layer is filled before it has rows.")
        for buffer, given in zip(self._buffers, (keys, values), strict=True):
            buffer[row : row + 1, :, first : first + given.shape[-2]] = given

    def allot(self, like: GrowingLayer, num_rows: int, length: int) -> None:
        """Take zeroed room for `num_rows` rows of `length` tokens with the shape of another."""
        made = []
        for given in like.held():
            shape = (num_rows, given.shape[1], max(self._room, length), given.shape[3])
            made.append(given.new_zeros(shape))
        self._buffers = (made[0], made[1])
        self._room = max(self._room, length)
        self.dtype, self.device = made[0].dtype, made[0].device
        self.is_initialized = True
        self._show(length)

    def _grow(self, least: int, keys: torch.Tensor, values: torch.Tensor) -> None:
        room = least if self._buffers is None else round(least * _GROWTH)
        self._room = max(self._room, room)
        made = []
        for i, given in enumerate((keys, values)):
            buffer = given.new_empty((*given.shape[:2], self._room, given.shape[3]))
            if self._buffers is not None:
                buffer[..., : self._length, :] = self._buffers[i][..., : self._length, :]
            made.append(buffer)
        self._buffers = (made[0], made[1])
        self.dtype, self.device = keys.dtype, keys.device
        self.is_initialized = True

    def _show(self, length: int) -> None:
        self._length = length
        if self._buffers is not None:
            self.keys, self.values = self.held()
