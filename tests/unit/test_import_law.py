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
    "longvid.lazy_import": 1,
    "longvid.ops": 1,
    "longvid.registry": 1,
    "longvid.config": 1,
    "longvid.protocols": 1,
    "longvid.laws": 1,
    "longvid.sample": 1,
    "longvid.remote_files": 1,
    "longvid.inputs": 1,
    "longvid.timed_text": 1,
    "longvid.methods": 2,
    "longvid.models": 3,
    "longvid.decode": 4,
    "longvid.reduce": 4,
    "longvid.encode": 4,
    "longvid.compress": 4,
    "longvid.select": 4,
    "longvid.llm": 4,
    "longvid.store": 4,
    "longvid.transcribe": 4,
    "longvid.world": 4,
    "longvid.systems": 5,
    "longvid.indexing": 6,
    "longvid.qa": 6,
    "longvid.capacity": 6,
    "longvid.model_inventory": 6,
    "longvid.cluster": 7,
    "longvid.api": 8,
    "longvid.cli": 8,
    "longvid.convert": 8,
    "longvid.demo": 8,
    "longvid.doctor": 8,
    "longvid.progress": 8,
    "longvid.testing": 8,
    "longvid.server": 8,
    "longvid.mcp": 8,
    "pipelines": 9,
    "benchmarks": 10,
}
# Types raise errors; the pieces of the first floor build on each other; faces call the API.
SHARED_FLOORS = {0, 1, 8}


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
    if module_name(path).startswith("longvid.") and "longvid.cluster" not in module_name(path):
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
        "import sys, longvid.indexing.local_runner, longvid.cli, pipelines.index\n"
        "import longvid.cluster.job\n"
        "from longvid.config import load_config\n"
        f"load_config({preset!r})\n"
        "print('torch' in sys.modules)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert result.stdout.strip() == "False"
