"""Dataclasses from plain tables, and plain tables from dataclasses."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping, Sequence
from typing import Any

from longvid import registry
from longvid.errors import ConfigError, shown

#: Beyond this a float cannot tell one whole number from the next, and no setting is that large.
_MOST = 2**53
#: An error that quotes a longer value is cut in its middle.
_MOST_CHARACTERS = 1000


def build_part(kind: str, table: Any, where: str) -> Any:
    """Build the part that a table names.

    Raises:
        ConfigError: It names none, or a setting is not known or of the wrong type.
    """
    if not isinstance(table, Mapping) or "name" not in table:
        raise ConfigError(
            f"[{where}] must name its {kind}: one of {', '.join(registry.names(kind))}."
        )
    name = table["name"]
    if not isinstance(name, str):
        raise ConfigError(f"{where}.name must be text, got {shown(name)}.")
    fields = {key: value for key, value in table.items() if key != "name"}
    return build(registry.find(kind, name), fields, where)


def build(cls: type[Any], table: Any, where: str) -> Any:
    """Build a dataclass from a table, refusing unknown fields and wrong types.

    Raises:
        ConfigError: The sentence names the field, what was given and what is allowed.
    """
    if not isinstance(table, Mapping):
        raise ConfigError(f"[{where}] must be a table of settings, got {shown(table)}.")
    fields = [item for item in dataclasses.fields(cls) if item.init]
    refuse_unknown(table, [item.name for item in fields], f"setting of [{where}]")
    for item in fields:
        has_default = item.default is not item.default_factory  # both are MISSING otherwise
        if not has_default and item.name not in table:
            raise ConfigError(f"[{where}] needs a value for {item.name}.")
    try:
        hints = typing.get_type_hints(cls)
    except NameError as error:
        raise ConfigError(
            f"The types of {cls.__module__}:{cls.__qualname__} cannot be read ({error}); import "
            "what its fields are typed with, outside of TYPE_CHECKING."
        ) from error
    values = {name: _typed(hints[name], value, f"{where}.{name}") for name, value in table.items()}
    try:
        return cls(**values)
    except ConfigError as error:
        sentence = str(error)
        if len(sentence) <= _MOST_CHARACTERS:
            raise
        cut = f"{sentence[: _MOST_CHARACTERS // 2]} ... {sentence[-_MOST_CHARACTERS // 2 :]}"
        raise ConfigError(cut) from error


def _typed(hint: Any, value: Any, where: str) -> Any:
    """Check a TOML value against a field's type; whole numbers may stand for floats."""
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return build(hint, value, where)
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            raise ConfigError(f"{where} must be a list, got {shown(value)}.")
        inner = arguments[0] if arguments else str
        return tuple(_typed(inner, item, where) for item in value)
    if origin is not None:  # a union or a literal: any of its members
        for member in arguments:
            if isinstance(member, type):
                try:
                    return _typed(member, value, where)
                except ConfigError:
                    continue
            elif member == value:
                return value
        raise ConfigError(f"{where} must be {hint}, got {shown(value)}.")
    if not isinstance(hint, type):
        raise ConfigError(f"{where} cannot be set in a file: its type is {hint}.")
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if number and not -_MOST <= value <= _MOST:  # NaN and infinity too
        raise ConfigError(f"{where} must be a number of at most 2**53, got {shown(value)}.")
    if hint is float and number:
        return float(value)
    if not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool):
        raise ConfigError(f"{where} must be {hint.__name__}, got {shown(value)}.")
    if isinstance(value, str) and "\0" in value:
        raise ConfigError(f"{where} holds a NUL character; leave it out.")
    return value


def plain(instance: Any, *, fingerprint: bool = False) -> dict[str, Any]:
    """Turn a dataclass into tables; under `fingerprint`, without what changes no result."""
    table: dict[str, Any] = {}
    for item in dataclasses.fields(instance):
        value = getattr(instance, item.name)
        counts = item.metadata.get("fingerprint", True)
        if fingerprint and (not counts or (counts == "if changed" and value == item.default)):
            continue
        if dataclasses.is_dataclass(value):
            value = plain(value, fingerprint=fingerprint)
        elif isinstance(value, tuple):
            value = list(value)
        table[item.name] = value
    return table


def part_table(kind: str, part: Any, *, fingerprint: bool = False) -> dict[str, Any]:
    """Turn a part into a table that names it."""
    return {"name": registry.name_of(kind, part), **plain(part, fingerprint=fingerprint)}


def refuse_unknown(given: Mapping[str, Any], known: Sequence[str], what: str) -> None:
    """Raise ConfigError for a name that is not known; the sentence lists the known ones."""
    for name in given:
        if name not in known:
            raise ConfigError(f"Unknown {what} {shown(name)}; known are {', '.join(known)}.")
