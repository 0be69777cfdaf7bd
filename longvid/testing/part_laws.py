"""Laws of every part, whatever its kind."""

from __future__ import annotations

import dataclasses
import pickle

from longvid.config.tables import build_part, part_table
from longvid.laws import require_law
from longvid.protocols import PROTOCOLS, Part, members


def check_part(kind: str, part: Part) -> None:
    """Check that a part is a configuration: frozen, comparable, hashable, and readable from TOML.

    Args:
        kind: A kind of `longvid.registry.KINDS`.
        part: With settings of your choice.

    Raises:
        LawError: It breaks a law.
        ConfigError: It cannot be found by its name.
    """
    for law, holds in (
        ("is a dataclass", dataclasses.is_dataclass(part)),
        ("is frozen", part.__dataclass_params__.frozen),  # type: ignore[attr-defined]
    ):
        require_law(holds, part, law)
    lacking = min(
        ([n for n in members(protocol) if not hasattr(part, n)] for protocol in PROTOCOLS[kind]),
        key=len,
    )
    require_law(not lacking, part, f"does what its kind, {kind}, must", f"{lacking} are missing")
    table = part_table(kind, part)
    again = build_part(kind, table, kind)
    require_law(again == part, part, "is the same when it is read from its table", repr(again))
    require_law(hash(again) == hash(part), part, "is hashed by its settings")
    require_law(pickle.loads(pickle.dumps(part)) == part, part, "can be sent to another process")
