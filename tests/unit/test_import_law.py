"""The import law: modules import downward only, and siblings leave each other alone.

The table of floors in CONTRIBUTING.md is made of FLOORS and KNOWS: after a change here, run
`LONGVID_WRITE=1 scripts/test tests/unit/test_import_law.py`.
"""

from __future__ import annotations

import ast
import functools
import graphlib
import os
import subprocess
import sys
from collections.abc import Collection, Iterator
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
    "longvid.fetch_guard": 1,
    "longvid.paths": 1,
    "longvid.remote_files": 1,
    "longvid.inputs": 1,
    "longvid.timed_text": 1,
    "longvid.question_form": 1,
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
    "longvid.ground": 4,
    "longvid.rerank": 4,
    "longvid.world": 4,
    "longvid.systems": 5,
    "longvid.indexing": 6,
    "longvid.qa": 6,
    "longvid.capacity": 6,
    "longvid.model_inventory": 6,
    "longvid.handoff": 6,
    "longvid.cluster": 7,
    "longvid.api": 8,
    "longvid.cli": 8,
    "longvid.safetensors_conversion": 8,
    "longvid.demo": 8,
    "longvid.__main__": 8,
    "longvid.doctor": 8,
    "longvid.gguf": 8,
    "longvid.text_demo": 8,
    "longvid.progress": 8,
    "longvid.testing": 8,
    "longvid.server": 8,
    "longvid.store_report": 8,
    "longvid.mcp": 8,
    "pipelines": 9,
    "benchmarks": 10,
}
# Types raise errors; the pieces of the first floor build on each other; faces call the API.
SHARED_FLOORS = {0, 1, 8}
KNOWS = (
    "what travels along the path, what can go wrong",
    "tensors, times, names, settings, text",
    "published formulas: tensors in, tensors out",
    "Hugging Face models and how they are loaded; no published system by name",
    "one kind of part each, or the store; none of the others",
    "one folder for each published system",
    "the two wings: a video into a store, a question out of it",
    "the index wing on Ray; nothing else in the library imports ray",
    "people and programs: commands, Python, checks",
    "entry points for `ray job submit`, training",
    "every figure that the documents print",
)

BEGIN, END = "<!-- floors -->", "<!-- /floors -->"


def room_of(module: str) -> str | None:
    """Return the room a module belongs to, None for `longvid` itself and foreign modules."""
    parts = module.split(".")
    for length in (2, 1):
        name = ".".join(parts[:length])
        if name in FLOORS:
            return name
    return None


@functools.cache
def imports(path: Path) -> list[str]:
    """Return every module named in an import statement, lazy ones included."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found.append(f"{'.' * node.level}{node.module or ''}")
            found += [f"{node.module}.{alias.name}" for alias in node.names]
    return found


def sources() -> list[Path]:
    return sorted(
        path
        for folder in ("longvid", "pipelines", "benchmarks")
        for path in ROOT.glob(f"{folder}/**/*.py")
    )


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def wrong_imports(path: Path) -> Iterator[str]:
    module = module_name(path)
    room = room_of(module)
    if module == "longvid":
        return
    if room is None:
        yield f"{module} is in no room; add it to FLOORS"
        return
    for target in imports(path):
        other = room_of(target)
        if target.startswith("."):
            yield f"{module} uses a relative import"
        elif other is None or other == room:
            continue
        elif FLOORS[other] > FLOORS[room]:
            yield f"{module} imports {target}, which is above it"
        elif FLOORS[other] == FLOORS[room] and FLOORS[room] not in SHARED_FLOORS:
            yield f"{module} imports its sibling {target}"


def test_imports_go_downward() -> None:
    wrong = [sentence for path in sources() for sentence in wrong_imports(path)]
    assert not wrong, "\n".join(wrong)


def imported_at_once(path: Path, modules: Collection[str]) -> Iterator[str]:
    """Yield which modules are imported with this one: neither in functions nor for types alone."""
    nodes: list[ast.AST] = [ast.parse(path.read_text())]
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in modules)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield from {whole if whole in modules else str(node.module)} & {*modules}
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            nodes += node.orelse
        elif not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.expr)):
            nodes += ast.iter_child_nodes(node)


def test_no_module_imports_itself_in_a_circle() -> None:
    paths = {module_name(path): path for path in sources()}
    graph = {
        name: {other for other in imported_at_once(path, paths) if other != name}
        for name, path in paths.items()
    }
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        pytest.fail(" imports ".join(error.args[1]))


def test_only_the_cluster_knows_ray() -> None:
    wrong = [
        module_name(path)
        for path in sources()
        if module_name(path).startswith("longvid.")
        and room_of(module_name(path)) != "longvid.cluster"
        and any(name.split(".")[0] == "ray" for name in imports(path))
    ]
    assert not wrong, "these import ray: " + ", ".join(wrong)


def floors_table() -> str:
    """Return the table of floors as CONTRIBUTING.md prints it."""
    rows = ["| floor | rooms | know |", "|---|---|---|"]
    for floor, knows in enumerate(KNOWS):
        rooms = []
        for name, at in FLOORS.items():
            if at == floor:
                place = Path(*name.split("."))
                folder = (ROOT / place).is_dir()
                rooms.append(f"`{place.name}/`" if folder else f"`{place.name}.py`")
        rows.append(f"| {floor} | {' '.join(rooms)} | {knows} |")
    return "\n".join(rows)


def test_contributing_prints_these_floors() -> None:
    assert set(FLOORS.values()) == set(range(len(KNOWS)))
    page = ROOT / "CONTRIBUTING.md"
    before, _, rest = page.read_text().partition(BEGIN)
    printed, _, after = rest.partition(END)
    if os.environ.get("LONGVID_WRITE"):
        page.write_text(f"{before}{BEGIN}\n{floors_table()}\n{END}{after}")
        return
    assert printed.strip() == floors_table(), (
        "CONTRIBUTING.md prints other floors; write them with LONGVID_WRITE=1 scripts/test "
        "tests/unit/test_import_law.py"
    )


def test_importing_longvid_is_cheap() -> None:
    heavy = ("torch", "ray", "transformers", "faiss", "fastapi", "av")
    code = f"import sys, longvid; print([m for m in {heavy!r} if m in sys.modules])"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert result.stdout.strip() == "[]"


def test_reading_a_configuration_does_not_import_torch() -> None:
    code = (
        "import sys, longvid.indexing.local_runner, longvid.cli, pipelines.index\n"
        "import longvid.cluster.job\n"
        "from longvid.config import load_config\n"
        f"for preset in {preset_names()!r}:\n"
        "    load_config(preset)\n"
        "    assert 'torch' not in sys.modules, preset"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert result.returncode == 0, result.stderr
