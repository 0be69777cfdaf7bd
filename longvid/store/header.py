"""The first object of a store: which configuration made it, and how its segments are kept."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from longvid.errors import ConfigError, StoreError
from longvid.store.layout import FORMAT, HEADER, dump_json
from longvid.store.quantization import KINDS

__all__ = ["Header", "StoreOptions"]

_EMBEDDING_KINDS = ("float32", "float16", "int8")


@dataclass(frozen=True, slots=True)
class StoreOptions:
    """How segments are kept.

    Args:
        tokens: Type of stored tokens. "int8" keeps one scale a token and halves float16; an
            element is then off by at most half its token's scale, max(abs(token)) / 254. "int4"
            keeps a scale for 64 elements, which are off by at most a 14th of their greatest, and
            takes 0.53 of int8.
        embeddings: Type of frame embeddings and search vectors: "float32", "float16" or "int8".
            They are read back with unit norm; int8 moves a cosine by about 0.0005.
        vectors_per_segment: How many search vectors stand for one segment: the means of equal
            consecutive groups of its frame embeddings. More find short events better.
    """

    tokens: str = "float16"
    embeddings: str = "float32"
    vectors_per_segment: int = 4

    def __post_init__(self) -> None:
        if self.tokens not in KINDS:
            raise ConfigError(f"store.tokens is {self.tokens!r}; use one of {', '.join(KINDS)}.")
        if self.embeddings not in _EMBEDDING_KINDS:
            raise ConfigError(
                f"store.embeddings is {self.embeddings!r}; use one of "
                f"{', '.join(_EMBEDDING_KINDS)}."
            )
        if self.vectors_per_segment < 1:
            raise ConfigError(
                f"store.vectors_per_segment is {self.vectors_per_segment}; use 1 or more."
            )


@dataclass(frozen=True, slots=True)
class Header:
    """The content of store.json: what every object of the store has in common."""

    fingerprint: str
    space: str
    embedding_width: int
    options: StoreOptions = StoreOptions()
    config: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> bytes:
        """Serialise, equal headers to equal bytes."""
        return dump_json({"format": FORMAT, **dataclasses.asdict(self)})

    @classmethod
    def from_json(cls, data: bytes, uri: str) -> Header:
        """Read store.json.

        Raises:
            StoreError: It is not a store's, or of a newer format.
        """
        try:
            document = json.loads(data)
            made_by = int(document.pop("format"))
            if made_by > FORMAT:
                raise StoreError(
                    f"The store {uri} has format {made_by} and this longvid reads up to {FORMAT}; "
                    "upgrade longvid to use it."
                )
            options = StoreOptions(**document.pop("options"))
            header = cls(options=options, **document)
        except (ValueError, KeyError, TypeError, AttributeError, ConfigError) as error:
            raise StoreError(
                f"{HEADER} of the store {uri} is damaged ({error}); restore it from a copy, or "
                "index into another folder."
            ) from error
        return header
