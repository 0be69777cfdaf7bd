"""Messages, help and README use plain technical English: the words in CONTRIBUTING.md's table."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]

#: Each stands for a row of the table of CONTRIBUTING.md.
BANNED = re.compile(
    r"\b(lies|stands(?! for)|told(?! apart)|says of itself|(?:what|who) is said|so (?:many|much)"
    r"|of the same make|in work|at hand|already there|mend(?:s|ed)?|alike|spoilt|is gone"
    r"|makes no sense|in the place of|must lie|can be had|nobody can|held to)\b"
)

#: Documents, pages and the tools of agents, whose docstrings are what an agent is shown.
READ = (
    "README.md",
    "docs/*.md",
    "skills/*/SKILL.md",
    "longvid/server/static/*.html",
    "longvid/server/static/*.js",
    "longvid/assets/*.html",
    "longvid/mcp/server.py",
    "benchmarks/report/templates/*.j2",
)


def texts(path: Path) -> Iterator[tuple[int, str]]:
    """Yield every string with a space in it that is no docstring, with its line."""
    tree = ast.parse(path.read_text())
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        string = isinstance(node, ast.Constant) and isinstance(node.value, str)
        if string and " " in node.value and id(node) not in docstrings:
            yield node.lineno, node.value


def test_words_that_people_read_are_plain() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line}: {found[0]!r} in {text[:60]!r}"
        for folder in ("longvid", "pipelines", "benchmarks")
        for path in sorted((ROOT / folder).rglob("*.py"))
        for line, text in texts(path)
        if (found := BANNED.search(text))
    ]
    wrong += [
        f"{path.relative_to(ROOT)}:{number}: {found[0]!r}"
        for pattern in READ
        for path in sorted(ROOT.glob(pattern))
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if (found := BANNED.search(line))
    ]
    assert not wrong, "\n".join(wrong)


def test_the_patterns_name_files() -> None:
    assert all(any(ROOT.glob(pattern)) for pattern in READ)
