"""The first object of a store: which configuration made it, and how its segments are kept."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from longvid.config import StoreOptions
from longvid.errors import ConfigError, StoreError
from longvid.store.layout import FORMAT, HEADER, dump_json

__all__ = ["Header"]


@dataclass(frozen=True, slots=True)
class Header:
    """The content of store.json: what every object of the store has in common."""

    fingerprint: str
    space: str
    embedding_width: int
    options: StoreOptions = field(default_factory=StoreOptions)
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
