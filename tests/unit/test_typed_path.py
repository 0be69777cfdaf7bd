"""Names that travel between rooms have types: no `Any` in protocols, messages, queues and wings."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
#: What travels, and the rooms that it travels through.
ROOMS = ("protocols", "types", "indexing", "qa", "select", "compress", "testing", "cluster")
FILES = ("api.py", "reduce.py", "sample.py", "laws.py", "capacity.py", "model_inventory.py")
#: JSON, pickles, metadata of dataclass fields, options of Ray and its classes of actors: what these
#: hold is checked where it is read.
OPEN = {
    ("protocols/index_side.py", "ADDED_LATER"),
    ("protocols/part.py", "RUN_ONLY"),
    ("protocols/part.py", "__dataclass_fields__"),
    ("types/carrier.py", "value"),
    ("indexing/ledger.py", "summary"),
    ("qa/video_qa.py", "__reduce__"),
    ("cluster/actor_pool.py", "options"),
    ("cluster/health.py", "nodes"),
    ("cluster/lister.py", "lister"),
    ("cluster/search_shards.py", "actor"),
    ("cluster/session.py", "options"),
    ("cluster/session.py", "share"),
}


def annotations(tree: ast.AST) -> Iterator[tuple[str, ast.expr | None]]:
    """Yield each annotation with the name that carries it; a return has its function's."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node.name, node.returns
        elif isinstance(node, ast.arg):
            yield node.arg, node.annotation
        elif isinstance(node, ast.AnnAssign):
            yield ast.unparse(node.target), node.annotation


def test_no_name_that_travels_is_any() -> None:
    library = ROOT / "longvid"
    paths = [path for room in ROOMS for path in (library / room).rglob("*.py")]
    found = {
        (str(path.relative_to(library)), name)
        for path in [*paths, *(library / name for name in FILES)]
        for name, annotation in annotations(ast.parse(path.read_text()))
        if annotation is not None
        and any(isinstance(n, ast.Name) and n.id == "Any" for n in ast.walk(annotation))
    }
    assert found - OPEN == set(), "give these a protocol or a dataclass"
    assert OPEN - found == set(), "these carry no Any any more"
