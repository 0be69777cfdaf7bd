"""Presets, TOML files and single settings, as plain tables.

Nothing here knows what a setting means; `tables` builds dataclasses of what is read here.
"""

from __future__ import annotations

import copy
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from longvid.config.renamed import current_name, current_names
from longvid.config.sections import PART_LISTS, SECTION_NAMES
from longvid.errors import ConfigError, shown

Tables = dict[str, Any]

_PRESETS = Path(__file__).parents[1] / "presets"
_MOST_BYTES = 1 << 20
#: The time that tomllib takes grows with the square of the parts of a dotted key.
_MOST_DOTS = 200
_MOST_STEPS = 8


def preset_names() -> tuple[str, ...]:
    """List the shipped presets."""
    return tuple(sorted(path.stem for path in _PRESETS.glob("*.toml")))


def read_tables(name: object) -> Tables:
    """Read a preset or a TOML file, merged with the preset that it starts from.

    Raises:
        ConfigError: There is no such file, it is no TOML, or it starts from itself.
    """
    if name is None:
        raise ConfigError("A configuration is named by a preset or a path, got None.")
    chain: list[Tables] = []
    seen: list[Path] = []
    base: Any = name
    while base is not None:
        if not isinstance(base, (str, Path)):
            raise ConfigError(f"A configuration is named by a preset or a path, got {shown(base)}.")
        path = Path(base)
        if path.suffix != ".toml":
            path = _PRESETS / f"{base}.toml"
        if path in seen:
            chained = " -> ".join(map(str, [*seen, path]))
            raise ConfigError(
                f"The configuration {str(name)!r} starts from itself ({chained}); name another "
                "preset in one of them."
            )
        seen.append(path)
        tables = current_names(_parse(_text(path, str(base)), str(path)))
        base = tables.pop("preset", None)
        chain.append(tables)
    merged = chain.pop()
    while chain:
        merged = merge(merged, chain.pop())
    return merged


def _text(path: Path, name: str) -> str:
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise ConfigError(f"{path} is larger than 1 MiB, which no configuration is.")
        data = path.read_bytes()
    except (OSError, ValueError) as error:  # a ValueError is a NUL in the name
        raise ConfigError(
            f"There is no configuration {shown(name)}; presets are "
            f"{', '.join(preset_names())}, and a file of your own must be there and end in .toml."
        ) from error
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{path} is not UTF-8 at byte {error.start}; save it as UTF-8."
        ) from error


def _parse(text: str, where: str) -> Tables:
    for number, line in enumerate(text.splitlines(), 1):
        if line.count(".") > _MOST_DOTS:
            raise ConfigError(
                f"{where} has more than {_MOST_DOTS} dots in line {number}; a setting is named by "
                "a section and a field."
            )
    try:
        return tomllib.loads(text)
    except RecursionError as error:
        raise ConfigError(f"{where} is nested too deeply; a setting is one value.") from error
    except ValueError as error:  # TOMLDecodeError, and Python's limit on the digits of an integer
        raise ConfigError(f"{where} is not valid TOML: {error}.") from error


def merge(base: Tables, change: Mapping[str, Any]) -> Tables:
    """Put a file on top of its preset: fields replace fields, another part replaces the whole."""
    merged = dict(base)
    for section, value in change.items():
        old = merged.get(section)
        same_part = (
            isinstance(value, dict)
            and isinstance(old, dict)
            and value.get("name", old.get("name")) == old.get("name")
        )
        merged[section] = {**old, **value} if same_part and isinstance(old, dict) else value
    return merged


def change(tables: Mapping[str, Any], overrides: Sequence[str]) -> Tables:
    """Return a copy of plain tables with single settings changed.

    Args:
        tables: As `Config.to_dict` returns them.
        overrides: "section.field=value", the value written as in TOML; a bare word is a string.

    Raises:
        ConfigError: A setting is not of that form, or names no section or part.
    """
    changed = copy.deepcopy(current_names(tables))
    for override in overrides:
        if not isinstance(override, str):
            raise ConfigError(f"A setting is text, section.field=value, got {shown(override)}.")
        _apply(changed, override)
    return changed


def _apply(tables: Tables, override: str) -> None:
    """Set one value given as `section.field=value`."""
    key, equals, text = override.partition("=")
    named = key[:80]
    steps = key.strip().split(".")
    if not equals or not 2 <= len(steps) <= _MOST_STEPS:
        raise ConfigError(f"--set takes section.field=value, got {override[:80]!r}.")
    if steps[0] not in SECTION_NAMES:
        raise ConfigError(
            f"Unknown section {shown(steps[0])}; known are {', '.join(SECTION_NAMES)}."
        )
    steps[-1] = current_name(steps[0], steps[-1])
    node: Any = tables.setdefault(steps[0], [] if steps[0] in PART_LISTS else {})
    parts = node
    for step in steps[1:-1]:
        if isinstance(node, list):
            if node is parts and step == str(len(parts)) and steps[2:] == ["name"]:
                parts.append({})
            if not (step.isascii() and step.isdigit() and int(step) < len(node)):
                raise ConfigError(
                    f"--set {named}: {steps[0]} has {len(node)} parts, numbered from 0; "
                    f"{steps[0]}.{len(node)}.name=... adds one."
                )
            node = node[int(step)]
        else:
            node = node.setdefault(step, {})
        if not isinstance(node, (dict, list)):
            raise ConfigError(f"--set {named}: {shown(step)} is a value, not a table.")
    if isinstance(node, list):
        raise ConfigError(
            f"--set {named}: name the part too, as in {steps[0]}.0.{steps[-1]}=value."
        )
    value = _value(text, named)
    if steps[-1] == "name" and node.get("name") != value:
        node.clear()  # the fields of one part mean nothing to another
    node[steps[-1]] = value


def _value(text: str, named: str) -> Any:
    """Read a value as TOML writes it; a bare word is a string."""
    if "\n" in text or text.count(".") > _MOST_DOTS:
        return text.strip()
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text.strip()
    except RecursionError as error:
        raise ConfigError(f"--set {named}: the value is nested too deeply.") from error
    except ValueError as error:  # Python's limit on the digits of an integer
        raise ConfigError(f"--set {named}: {error}.") from error
