"""A part is known in its own room and in the registry: nobody else asks for its name or fields."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from longvid.registry import PARTS

ROOT = Path(__file__).parents[2]
NAMES = {name for parts in PARTS.values() for name in parts}
#: The rooms of parts, which may name their own (`systems` is one), and that of their protocols.
ROOMS = {
    place.split(".")[1].partition(":")[0]
    for parts in PARTS.values()
    for place in parts.values()
    if place.startswith("longvid.")
} | {"protocols"}
#: What a variable that holds a part is called.
HELD = ("part", "encoder", "llm", "reducer", "compressor", "selector", "decoder", "grounder")


def asked(path: Path) -> Iterator[str]:
    """Yield every place where a file looks a part up by name, or asks what fields it has."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            constants = [one.value for one in node.args if isinstance(one, ast.Constant)]
            owner = node.args[0] if node.args else None
            word = getattr(owner, "attr", getattr(owner, "id", ""))
            by_field = name in ("hasattr", "getattr") and len(constants) > 0 and word in HELD
            by_name = name == "find" and len(constants) == 2 and constants[1] in NAMES
            if by_field or by_name:
                yield f"{path.relative_to(ROOT)}:{node.lineno}: {ast.unparse(node)}"
        elif isinstance(node, ast.Compare):
            for one in (node.left, *node.comparators):
                if isinstance(one, ast.Constant) and one.value in NAMES:
                    yield f"{path.relative_to(ROOT)}:{node.lineno}: {ast.unparse(node)}"


def test_no_other_room_knows_a_part_by_its_name_or_fields() -> None:
    found = [
        sentence
        for path in sorted((ROOT / "longvid").rglob("*.py"))
        if path.relative_to(ROOT).with_suffix("").parts[1] not in ROOMS
        for sentence in asked(path)
    ]
    assert not found, "\n".join(found)


def test_no_module_names_a_higher_room_in_a_string() -> None:
    from tests.unit.test_import_law import FLOORS, SHARED_FLOORS, room_of

    found = []
    for path in sorted((ROOT / "longvid").rglob("*.py")):
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        room = room_of(module)
        if room is None or room == "longvid.registry":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if not (isinstance(node, ast.Constant) and isinstance(node.value, str)):
                continue
            other = room_of(node.value.partition(":")[0]) if " " not in node.value else None
            if other is None or other == room:
                continue
            siblings = FLOORS[other] == FLOORS[room] and FLOORS[room] not in SHARED_FLOORS
            if FLOORS[other] > FLOORS[room] or siblings:
                found.append(f"{module}:{node.lineno}: {node.value}")
    assert not found, "\n".join(found)
