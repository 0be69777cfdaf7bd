"""Checksums that are compared whenever an object is read, and JSON documents that carry theirs.

A seal is XXH3-64 of some bytes, 16 hexadecimal digits: it runs at memory speed and finds damage,
not forgery. A sealed document is a JSON object whose first line holds the seal of the rest, so it
is compared before anything is parsed, and other JSON readers see one more key.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import xxhash

from longvid.store.layout import dump_json

_BLOCK_BYTES = 1 << 20
_FIRST_LINE = re.compile(rb'\{"seal": "([0-9a-f]{16})",\n')
_FIRST_LINE_BYTES = len(b'{"seal": "0123456789abcdef",\n')


def seal(*buffers: bytes | bytearray | memoryview) -> str:
    """Return the seal of some bytes, end to end.

    >>> seal(b"ab") == seal(b"a", b"b")
    True
    """
    total = xxhash.xxh3_64()
    for buffer in buffers:
        total.update(buffer)
    return total.hexdigest()


def seal_file(path: str) -> tuple[int, str]:
    """Return the size of a local file and the seal of its content."""
    total, num_bytes = xxhash.xxh3_64(), 0
    buffer = bytearray(_BLOCK_BYTES)
    view = memoryview(buffer)
    with open(path, "rb", buffering=0) as file:
        while count := file.readinto(buffer):
            total.update(view[:count])
            num_bytes += count
    return num_bytes, total.hexdigest()


def sealed_json(document: Mapping[str, object]) -> bytes:
    """Serialise a document of at least one key, equal documents to equal bytes."""
    body = dump_json(document)
    return b'{"seal": "' + seal(body).encode() + b'",\n' + body.removeprefix(b"{\n")


def unsealed(data: bytes) -> tuple[bytes, bool]:
    """Return a document without its seal, and whether it had one.

    Raises:
        ValueError: The document does not fit its seal.
    """
    match = _FIRST_LINE.match(data)
    if match is None:
        return data, False
    body = b"{\n" + data[_FIRST_LINE_BYTES:]
    if seal(body).encode() != match[1]:
        raise ValueError("its content does not fit its checksum")
    return body, True


def parse_json(data: bytes, *, must_be_sealed: bool = False) -> dict[str, Any]:
    """Read a JSON object, sealed or from before there were seals.

    Raises:
        ValueError: It does not fit its seal, lacks one, or is no strict JSON object.
    """
    body, was_sealed = unsealed(data)
    if must_be_sealed and not was_sealed:
        raise ValueError("its checksum is missing")
    try:
        document = json.loads(body, parse_constant=_refuse_constant)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    if not isinstance(document, dict):
        raise ValueError("it is no JSON object")  # damage, not a caller's mistake
    return document


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON number")
