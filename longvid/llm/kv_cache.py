"""What a language model remembers of a prompt: keys and values by layer, written in place.

The dynamic cache of transformers copies itself at every token, which for 64K visual tokens moves
tens of gigabytes a word. Here room is taken once and a token is written into it. This module knows
tensors; it does not know what was read.
"""

from __future__ import annotations

from typing import Any

from longvid.lazy_import import torch
from longvid.models.free_memory import free_bytes


def elements_per_token(config: Any) -> int:
    """Return how many numbers the keys and values of one token are."""
    # Where layers differ, only the configuration of each says its own.
    layers = getattr(config, "per_layer_config", None) or [config] * config.num_hidden_layers
    return sum(_elements_of_layer(layer) for layer in layers)


def _elements_of_layer(config: Any) -> int:
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return int(2 * heads * width)


def require_room(num_elements: int, like: torch.Tensor) -> None:
    """Refuse keys and values that the machine cannot hold, before any is computed.

    A GPU refuses by itself; on a CPU the system would end the process.

    Args:
        num_elements: Of all keys and values.
        like: Anything of their type and device.

    Raises:
        MemoryError: There is less left.
    """
    free = free_bytes("cpu") if like.device.type == "cpu" else None
    num_bytes = num_elements * like.element_size()
    if free is not None and num_bytes > free:
        raise MemoryError(f"{num_bytes / 1e9:.1f} GB wanted, {free / 1e9:.1f} GB left")


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

    Raises:
        MemoryError: There is no room for them.
    """
    held = [layer.held()[0] for layer in like.layers]  # keys (1, heads, L, width)
    of_token = sum(2 * keys.shape[1] * keys.shape[3] for keys in held)
    require_room(num_rows * room * of_token, held[0])
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

    from longvid.llm.kv_cache_layer import GrowingLayer

    return Cache(layers=[GrowingLayer(room) for _ in range(num_layers)])
