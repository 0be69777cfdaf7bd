"""Files: none is long, none shares its name with another, and the trees that list them are true."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDERS = ("longvid", "pipelines", "benchmarks", "tests", "cuda_ops", "scripts")
SOURCES = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]

#: The roles of a published system, and one engine as several kinds of part.
SHARED = {
    "checkpoint.py",
    "encoder.py",
    "language_model.py",
    "memory.py",
    "huggingface.py",
    "flashvid.py",
}


def docstring(path: Path) -> str:
    return ast.get_docstring(ast.parse(path.read_text()), clean=False) or ""


def test_no_file_is_longer_than_400_lines() -> None:
    lengths = {path: len(path.read_text().splitlines()) for path in SOURCES}
    long = [f"{path.relative_to(ROOT)}: {n}" for path, n in lengths.items() if n > 400]
    assert not long, "\n".join(long)


def test_no_two_files_of_the_library_share_a_name() -> None:
    places = defaultdict(list)
    for path in sorted((ROOT / "longvid").rglob("*.py")):
        if not path.name.startswith("__") and path.name not in SHARED:
            places[path.name].append(str(path.relative_to(ROOT)))
    assert not [found for found in places.values() if len(found) > 1]


def test_the_tree_of_the_readme_names_files_that_exist() -> None:
    [tree] = re.findall(r"```\n(longvid/\n.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    missing, room = [], ROOT / "longvid"
    for line in tree.splitlines()[1:]:
        indent = len(line) - len(line.lstrip())
        above = {0: ROOT, 2: ROOT / "longvid"}.get(indent, room)
        for name in re.findall(r"[\w./]+(?:\.py|/)", line[:30]):
            place = above / name
            missing += [] if place.exists() else [line]
            if indent == 2:
                room = place if place.is_dir() else place.parent
    assert not missing, "\n".join(missing)


def test_a_docstring_that_lists_files_lists_those_beside_it() -> None:
    wrong = []
    for path in SOURCES:
        listed = set(re.findall(r"^    (\w+\.py)  ", docstring(path), re.MULTILINE))
        there = {other.name for other in path.parent.glob("*.py")}
        left_out = there - listed - {path.name} if path.name == "__init__.py" else set()
        if listed and (listed - there or left_out):
            wrong.append(f"{path.relative_to(ROOT)}: {sorted(listed - there)}, {sorted(left_out)}")
    assert not wrong, "\n".join(wrong)
