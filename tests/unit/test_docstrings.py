"""Examples in docstrings are run; every public name and every option says what it is."""

from __future__ import annotations

import argparse
import ast
import doctest
import importlib
from collections.abc import Iterator
from pathlib import Path

from longvid.cli import _parser

ROOT = Path(__file__).parents[2]


def modules() -> dict[str, Path]:
    """Return the file of every module of the library by name."""
    return {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
        for path in sorted(ROOT.glob("longvid/**/*.py"))
    }


def undocumented(name: str, path: Path) -> Iterator[str]:
    tree = ast.parse(path.read_text())
    if not ast.get_docstring(tree):
        yield name
    if name == "longvid.ops.shapes":  # each is the shape of what the operation of its name returns
        return
    for node in tree.body:
        public = isinstance(node, (ast.FunctionDef, ast.ClassDef)) and node.name[0] != "_"
        if public and not ast.get_docstring(node):
            yield f"{name}.{node.name}"


def test_examples_hold() -> None:
    names = [name for name, path in modules().items() if ">>> " in path.read_text()]
    assert names
    failed = [name for name in names if doctest.testmod(importlib.import_module(name)).failed]
    assert not failed, "examples fail in " + ", ".join(failed)


def test_public_names_are_documented() -> None:
    lacking = [one for name, path in modules().items() for one in undocumented(name, path)]
    assert not lacking, "no docstring: " + ", ".join(lacking)


def options(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from options(command)
        else:
            yield action


def test_every_option_of_the_command_line_has_help() -> None:
    lacking = [str(one.option_strings or one.dest) for one in options(_parser()) if not one.help]
    assert not lacking, "no help: " + ", ".join(lacking)
