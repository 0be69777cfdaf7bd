"""Ways to damage the bytes of one object."""

from __future__ import annotations

import random
from collections.abc import Callable


def _flip(data: bytes, draw: random.Random) -> bytes:
    changed = bytearray(data)
    changed[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    return bytes(changed)


def _overwrite(data: bytes, draw: random.Random) -> bytes:
    start = draw.randrange(len(data))
    return data[:start] + draw.randbytes(min(64, len(data) - start)) + data[start + 64 :]


def _larger_numbers(data: bytes, draw: random.Random) -> bytes:
    """Change digits, as a hand or a tool would; the text stays well-formed."""
    digits = [i for i, byte in enumerate(data) if byte in b"12345678"]
    changed = bytearray(data)
    for place in draw.sample(digits, min(8, len(digits))):
        changed[place] += 1
    return bytes(changed)


def _json_like(text: bytes) -> Callable[[bytes, random.Random], bytes]:
    return lambda data, draw: text


#: Damages of content, and (None) those that need the file system.
DAMAGES: dict[str, Callable[[bytes, random.Random], bytes] | None] = {
    "bit": _flip,
    "bytes": _overwrite,
    "digits": _larger_numbers,
    "cut": lambda data, draw: data[: draw.randrange(1, len(data))],
    "last byte cut": lambda data, draw: data[:-1],
    "appended": lambda data, draw: data + draw.randbytes(7),
    "zeros": lambda data, draw: bytes(len(data)),
    "empty": lambda data, draw: b"",
    "no numbers": _json_like(b'{"video": NaN, "parts": Infinity, "path": -Infinity}'),
    "deep": _json_like(b'{"a": ' + b"[" * 100_000),
    "doubled": lambda data, draw: data + data,
    "missing": None,
    "other": None,
    "link": None,
    "pipe": None,
    "sparse": None,
}
