"""What a language model remembers of a prompt: keys and values by layer, written in place.

The dynamic cache of transformers copies itself at every token, which for 64K visual tokens moves
tens of gigabytes a word. Here room is taken once and a token is written into it. This module knows
tensors; it does not know what was read.
"""

from __future__ import annotations

from typing import Any

__all__ = ["new_cache", "new_rows", "take_row", "truncate"]


def new_cache(config: Any, room: int) -> Any:
    """Return an empty cache for one prompt.

    Args:
        config: The language model's configuration, of attention that sees everything before it.
        room: Tokens expected.
    """
    return _cache(int(config.num_hidden_layers), room)


def new_rows(like: Any, num_rows: int, length: int, room: int) -> Any:
    """Return a cache of several prompts that end at the same place, all places still zero.

    Args:
        like: A cache of one of them, for shapes and devices.
        num_rows: B.
        length: Of the longest.
        room: Tokens expected in all.
    """
    rows = _cache(len(like.layers), room)
    for layer, given in zip(rows.layers, like.layers, strict=True):
        layer.allot(given, num_rows, length)
    return rows


def take_row(rows: Any, row: int, cache: Any) -> None:
    """Copy a prompt into one row, its last token where the longest prompt's last token is."""
    for layer, given in zip(rows.layers, cache.layers, strict=True):
        first = layer.get_seq_length() - given.get_seq_length()
        layer.fill(row, first, *given.held())


def truncate(cache: Any, length: int) -> None:
    """Forget every token of a cache after the first `length`."""
    for layer in cache.layers:
        layer.crop(length - layer.get_seq_length())


def _cache(num_layers: int, room: int) -> Any:
    from transformers.cache_utils import Cache

    from longvid.llm.growing import GrowingLayer

    return Cache(layers=[GrowingLayer(room) for _ in range(num_layers)])
