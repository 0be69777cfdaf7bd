"""The import law: modules import downward only, and siblings leave each other alone."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from longvid.config import preset_names

ROOT = Path(__file__).parents[2]

# Room -> floor. A file names itself; a folder speaks for everything in it.
FLOORS = {
    "longvid.types": 0,
    "longvid.errors": 0,
    "longvid.lazy": 1,
    "longvid.ops": 1,
    "longvid.registry": 1,
    "longvid.config": 1,
    "longvid.parts": 1,
    "longvid.sample": 1,
    "longvid.fetching": 1,
    "longvid.listing": 1,
    "longvid.subtitles": 1,
    "longvid.models": 1.5,  # pure network definitions, which the rooms above may share
    "longvid.decode": 2,
    "longvid.reduce": 2,
    "longvid.encode": 2,
    "longvid.compress": 2,
    "longvid.select": 2,
    "longvid.llm": 2,
    "longvid.store": 2,
    # The generated world is a renderer: it knows words and pixels, so the demo, the trainer and
    # the benchmarks may all stand on it.
    "benchmarks.world": 2,
    "longvid.reader": 2.25,
    "longvid.decoding": 2.5,
    "longvid.spoken": 2.5,
    "longvid.indexing": 3,
    "longvid.answering": 3,
    "longvid.api": 4,
    "longvid.cli": 4,
    "longvid.convert": 4,
    "longvid.demo": 4,
    "longvid.capacity": 3,
    "longvid.inventory": 3,
    "longvid.doctor": 4,
    "longvid.progress": 4,
    "longvid.server": 4,
    "pipelines": 5,
    "benchmarks": 6,
}
# Types raise errors; the pieces of the first floor build on each other; faces call the API.
SHARED_FLOORS = {0, 1, 4}


def room_of(module: str) -> str | None:
    """Return the room a module belongs to, None for `longvid` itself and foreign modules."""
    parts = module.split(".")
    for length in (2, 1):
        name = ".".join(parts[:length])
        if name in FLOORS:
            return name
    return None


def imports(path: Path) -> Iterator[str]:
    """Yield every absolute module named in an import statement, lazy ones included."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} uses a relative import"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def sources() -> list[Path]:
    return sorted(
        path
        for folder in ("longvid", "pipelines", "benchmarks")
        for path in ROOT.glob(f"{folder}/**/*.py")
    )


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


@pytest.mark.parametrize("path", sources(), ids=module_name)
def test_imports_go_downward(path: Path) -> None:
    module = module_name(path)
    if module == "longvid":
        return
    room = room_of(module)
    assert room is not None, f"{module} stands in no room; add it to FLOORS"
    for target in imports(path):
        other = room_of(target)
        if other is None or other == room:
            continue
        if FLOORS[other] == FLOORS[room]:
            assert FLOORS[room] in SHARED_FLOORS, f"{module} imports its sibling {target}"
        else:
            assert FLOORS[other] < FLOORS[room], f"{module} imports {target}, which lies above it"


@pytest.mark.parametrize("path", sources(), ids=module_name)
def test_only_pipelines_and_benchmarks_know_ray(path: Path) -> None:
    if module_name(path).split(".")[0] == "longvid":
        assert not [name for name in imports(path) if name.split(".")[0] == "ray"]


def test_importing_longvid_is_cheap() -> None:
    heavy = ("torch", "ray", "transformers", "faiss", "fastapi", "av")
    code = f"import sys, longvid; print([m for m in {heavy!r} if m in sys.modules])"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert result.stdout.strip() == "[]"


@pytest.mark.parametrize("preset", preset_names())
def test_reading_a_configuration_does_not_import_torch(preset: str) -> None:
    code = (
        "import sys, longvid.indexing, longvid.cli, pipelines.index, pipelines.job\n"
        "from longvid.config import load_config\n"
        f"load_config({preset!r})\n"
        "print('torch' in sys.modules)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert result.stdout.strip() == "False"
