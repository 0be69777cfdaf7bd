"""Settings that once had another name: stores and files that were written then stay readable."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from longvid.errors import ConfigError

#: Section -> old name -> today's name.
_RENAMED = {
    "ask": {
        "neighbours": "context_segments",
        "least_score": "min_score",
        "shot_frames": "max_shot_frames",
        "beside_frames": "max_neighbor_shot_frames",
    },
}


def current_name(section: str, setting: str) -> str:
    """Return today's name of a setting.

    >>> current_name("ask", "least_score"), current_name("ask", "budget")
    ('min_score', 'budget')
    """
    return _RENAMED.get(section, {}).get(setting, setting)


def current_names(tables: Mapping[str, Any]) -> dict[str, Any]:
    """Return tables with today's names; everything else stays as it is, checked by nobody yet.

    Raises:
        ConfigError: A section has a setting by both of its names.
    """
    current = dict(tables)
    for section, names in _RENAMED.items():
        table = current.get(section)
        if not isinstance(table, Mapping):
            continue
        for old, new in names.items():
            if old in table and new in table:
                raise ConfigError(f"[{section}] sets {new} twice: {old} is its old name.")
        current[section] = {names.get(key, key): value for key, value in table.items()}
    return current
