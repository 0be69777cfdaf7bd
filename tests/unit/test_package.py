"""The package as others import it: every public name is there, and a typo is an error of types."""

from __future__ import annotations

import ast
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import longvid
from longvid import errors

ROOT = Path(__file__).parents[2]


def test_every_public_name_is_there() -> None:
    assert longvid.__all__ == sorted(longvid.__all__)
    for name in longvid.__all__:
        assert getattr(longvid, name) is not None
    assert {name for name in vars(errors) if name.endswith("Error")} <= set(longvid.__all__)
    assert set(dir(longvid)) == {*longvid.__all__, "__version__"}


def test_names_that_load_late_are_those_that_a_checker_sees() -> None:
    tree = ast.parse((ROOT / "longvid" / "__init__.py").read_text())
    typed = {
        alias.name: node.module
        for block in tree.body
        if isinstance(block, ast.If) and isinstance(block.test, ast.Name)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert typed == longvid._HOMES


@pytest.mark.skipif(importlib.util.find_spec("mypy") is None, reason="mypy is not installed")
def test_a_misspelled_name_is_an_error_of_types(tmp_path: Path) -> None:
    # The front page and the errors alone: the rest of the library would take a minute to check.
    (tmp_path / "longvid").mkdir()
    for name in ("__init__.py", "errors.py", "py.typed"):
        shutil.copy(ROOT / "longvid" / name, tmp_path / "longvid")
    (tmp_path / "typo.py").write_text(
        "from longvid import VideoQA, LongvidError, aks\nimport longvid\nlongvid.indx\n"
    )
    command = [sys.executable, "-m", "mypy", "--no-error-summary", "--ignore-missing-imports"]
    command += ["--cache-dir=cache", "typo.py"]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    result = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=tmp_path, env=environment
    )
    first, second = result.stdout.splitlines()
    assert first.startswith("typo.py:1: error: Module ")
    assert 'no attribute "aks"' in first
    assert second.startswith("typo.py:3: error: Module ")
    assert 'no attribute "indx"' in second
